"""The map of a run in its file: every minute, at the end, and what is kept when tracking is lost."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from spark3r_core.memory.config import MemoryConfig
from spark3r_stream.engine.local_mapper import LocalMapper
from spark3r_stream.engine.map_saver import MapSaver
from spark3r_stream.engine.results import StepOutput
from spark3r_stream.errors import MapFileError
from spark3r_stream.map_file.reading import read_map
from spark3r_stream.map_file.saved_map import MapFacts
from tests.core.attention.tiny_da3 import tiny_da3
from tests.helpers import FakeClock, make_frame
from tests.helpers_map import FACTS, orbit_map


class Run:
    """A mapper whose map is what a test says, and that writes when it is told to."""

    def __init__(self) -> None:
        self.host = LocalMapper(tiny_da3(), MemoryConfig(max_new_frames=1))
        self.thread: ThreadPoolExecutor = ThreadPoolExecutor(1)
        self.saved: list[Future[int]] = []

    def save_map(self, path: Path, facts: MapFacts, overwrite: bool) -> Future[int]:
        self.saved.append(self.thread.submit(self.host.save_map, path, facts, overwrite))
        return self.saved[-1]


def facts_of(captured_ns: int) -> MapFacts:
    return replace(FACTS, captured_ns=captured_ns)


def saver_of(path: Path, run: Run, clock: FakeClock, **options: object) -> tuple[MapSaver, list[MapFileError]]:
    errors: list[MapFileError] = []
    return MapSaver(path, run, facts_of, clock, overwrite=False, on_error=errors.append, **options), errors


def step(saver: MapSaver, run: Run, ids: tuple[int, ...], frame: int = 3) -> None:
    run.host._mapper.world = orbit_map(ids)
    saver.window([make_frame(frame)], StepOutput([]))


def wait(run: Run) -> None:
    run.saved[-1].exception()


def test_it_is_written_every_minute_and_at_the_end(tmp_path: Path) -> None:
    path, run, clock = tmp_path / "room.s3rmap", Run(), FakeClock()
    saver, errors = saver_of(path, run, clock)
    step(saver, run, (0, 8))
    clock.advance_s(59)
    step(saver, run, (0, 8))
    assert not path.exists()
    clock.advance_s(2)
    saver.window([make_frame(9)], StepOutput([]))
    wait(run)
    assert read_map(path).world.order == [0, 8]
    step(saver, run, (0, 8, 16), 20)
    assert read_map(path).world.order == [0, 8], "and not again before the next minute"
    clock.advance_s(61)
    saver.window([make_frame(21)], StepOutput([]))
    wait(run)
    assert read_map(path).world.order == [0, 8, 16]
    step(saver, run, (0, 8, 16, 24), 30)
    saver.close()
    saved = read_map(path)
    assert saved.world.order == [0, 8, 16, 24]
    assert saved.facts.captured_ns == make_frame(3).captured_ns, "of the first frame"
    assert (len(run.saved), errors) == (3, [])


def test_a_run_without_a_map_writes_nothing(tmp_path: Path) -> None:
    path, clock = tmp_path / "room.s3rmap", FakeClock()
    saver, _ = saver_of(path, Run(), clock)
    clock.advance_s(100)
    saver.window([make_frame(0)], StepOutput([]))
    saver.close()
    assert not path.exists()


def test_a_map_that_was_given_up_stays_until_the_new_one_is_as_large(tmp_path: Path) -> None:
    path, run = tmp_path / "room.s3rmap", Run()
    saver, _ = saver_of(path, run, FakeClock())
    step(saver, run, (0, 8, 16))
    run.host.begin()
    step(saver, run, (24,))
    run.host.begin()
    saver.close()
    assert read_map(path).world.order == [0, 8, 16]
    step(saver, run, (8, 16, 24))
    saver.close()
    assert read_map(path).world.order == [8, 16, 24]


def test_a_map_that_shrinks_to_its_budget_is_still_the_same(tmp_path: Path) -> None:
    path, run = tmp_path / "room.s3rmap", Run()
    saver, _ = saver_of(path, run, FakeClock())
    step(saver, run, (0, 8, 16))
    step(saver, run, (0, 16))
    saver.close()
    assert read_map(path).world.order == [0, 16]


def test_what_goes_wrong_on_the_way_is_told_and_at_the_end_raised(tmp_path: Path) -> None:
    path, run, clock = tmp_path / "folder" / "room.s3rmap", Run(), FakeClock()
    saver, errors = saver_of(path, run, clock)
    step(saver, run, (0, 8))
    clock.advance_s(61)
    saver.window([make_frame(9)], StepOutput([]))
    wait(run)
    assert errors == []
    saver.window([make_frame(10)], StepOutput([]))
    assert len(errors) == 1
    assert "No such file" in str(errors[0])
    with pytest.raises(MapFileError, match="No such file"):
        saver.close()
    path.parent.mkdir()
    saver.close()
    assert read_map(path).world.order == [0, 8]


def test_an_older_map_is_refused_at_once(tmp_path: Path) -> None:
    path, run = tmp_path / "room.s3rmap", Run()
    saver, _ = saver_of(path, run, FakeClock())
    step(saver, run, (0, 8))
    saver.close()
    with pytest.raises(MapFileError, match="there is a map already"):
        saver_of(path, run, FakeClock())


def test_a_file_that_took_its_place_is_not_replaced(tmp_path: Path) -> None:
    path, run = tmp_path / "room.s3rmap", Run()
    saver, _ = saver_of(path, run, FakeClock())
    step(saver, run, (0, 8))
    saver.close()
    path.write_bytes(b"somebody's letters")
    with pytest.raises(MapFileError, match="is no map"):
        saver.close()
    assert path.read_bytes() == b"somebody's letters"
