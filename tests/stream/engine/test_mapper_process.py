"""Mapping in another process: the same results, the same errors, and a death that is told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from spark3r_core.errors import CheckpointError
from spark3r_core.memory.config import MemoryConfig
from spark3r_core.models.registry import load_model
from spark3r_core.photometric.levels import grey_levels
from spark3r_core.stream.camera_sizes import CameraSizes
from spark3r_core.stream.map_update import KeyframeRequest, MapUpdate
from spark3r_stream.engine.local_mapper import LocalMapper
from spark3r_stream.engine.mapper_host import MapperEnded, MapperHost
from spark3r_stream.engine.mapper_process import MapperProcess, ModelChoice
from spark3r_stream.engine.tracking import TrackingReconstructor
from spark3r_stream.errors import MapFileError
from spark3r_stream.frame import Frame
from spark3r_stream.map_file.reading import read_map
from spark3r_stream.wire.encode import encode_frame_result
from tests.helpers_map import FACTS
from tests.stream.engine.test_tracked_frames import STEP_NS, shifted, textured

MEMORY = MemoryConfig(max_new_frames=1)
CHOICE = ModelChoice("bundled", "cpu", torch.float32, None, torch.get_num_threads())
LONG_SIDE = 96


@pytest.fixture
def process() -> Iterator[MapperProcess]:
    mapper = MapperProcess()
    mapper.load(CHOICE, MEMORY)
    yield mapper
    mapper.close()


def first_request(mapper: MapperHost) -> KeyframeRequest:
    picture = textured(72, 96)
    sizes = CameraSizes.fit(picture.shape[:2], mapper.facts, LONG_SIDE)
    return KeyframeRequest(0, 0.0, picture, sizes, grey_levels(sizes.for_tracker(picture)[0]))


def bytes_of_run(mapper: MapperHost, path: Path) -> tuple[list[bytes], int]:
    """What a run publishes of its frames, and how many keyframes it mapped; its map is written to `path`."""
    engine = TrackingReconstructor(mapper, LONG_SIDE)
    picture, messages, keyframes = textured(72, 96), [], 0
    for k in range(30):
        frame = Frame(shifted(picture, 2 * k), k, 0, k * STEP_NS, k * STEP_NS, "test")
        step = engine.process([frame])
        keyframes += len(step.keyframes)
        # how long the network took differs
        messages += [encode_frame_result(replace(one.result, model_ms=0.0)) for one in step.outputs]
    engine.finish(adjust_all=True)
    assert engine.save_map(path, FACTS, False).result() > 0
    engine.close()
    return messages, keyframes


def test_another_process_gives_the_same_bytes(process: MapperProcess, tmp_path: Path) -> None:
    here, mapped_here = bytes_of_run(LocalMapper(load_model("bundled"), MEMORY), tmp_path / "here.s3rmap")
    there, mapped_there = bytes_of_run(process, tmp_path / "there.s3rmap")
    assert mapped_here == mapped_there > 1
    assert here == there
    assert (tmp_path / "here.s3rmap").read_bytes() == (tmp_path / "there.s3rmap").read_bytes()
    assert len(read_map(tmp_path / "there.s3rmap").world.order) >= mapped_here


def test_what_keeps_a_map_from_being_written_arrives(process: MapperProcess, tmp_path: Path) -> None:
    assert process.save_map(tmp_path / "none.s3rmap", FACTS, False) == 0, "there is no map yet"
    process.map(first_request(process))
    taken = tmp_path / "letters.txt"
    taken.write_text("dear all")
    with pytest.raises(MapFileError, match="is no map"):
        process.save_map(taken, FACTS, True)
    assert process.save_map(tmp_path / "room.s3rmap", FACTS, False) == (tmp_path / "room.s3rmap").stat().st_size


def test_facts_are_those_of_the_model(process: MapperProcess) -> None:
    model = load_model("bundled")
    assert process.facts == model.facts
    assert process.facts.weights_sha256 == model.weights_sha256


def test_what_loading_raises_arrives() -> None:
    mapper = MapperProcess()
    try:
        with pytest.raises(CheckpointError, match="nowhere"):
            mapper.load(replace(CHOICE, weights=Path("/nowhere.safetensors")), MEMORY)
    finally:
        mapper.close()


def test_a_keyframe_that_fails_leaves_the_map(process: MapperProcess) -> None:
    good = first_request(process)
    bad = replace(good, picture=None)  # type: ignore[arg-type]
    with pytest.raises(AttributeError) as caught:
        process.map(bad)
    assert "in the mapping process" in "".join(caught.value.__notes__)
    update = process.map(good)
    assert isinstance(update, MapUpdate)
    assert update.keyframe is not None


def test_its_death_is_told(process: MapperProcess) -> None:
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(MapperEnded, match="SIGKILL"):
        process.map(first_request(process))


def test_signals_are_for_the_caller(process: MapperProcess) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(process.pid, number)
    update = process.map(first_request(process))
    assert update.keyframe is not None
    assert np.isfinite(update.keyframe.depth).all()


def test_it_ends_when_its_caller_is_killed() -> None:
    code = (
        "import time; from spark3r_stream.engine.mapper_process import MapperProcess;"
        "mapper = MapperProcess(); print(mapper.pid, flush=True); time.sleep(600)"
    )
    caller = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert caller.stdout is not None
        pid = int(caller.stdout.readline())
        assert _runs(pid)
    finally:
        caller.kill()
        caller.wait()
    deadline = time.monotonic() + 20
    while _runs(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _runs(pid)


def test_a_program_that_forgets_it_ends() -> None:
    code = "from spark3r_stream.engine.mapper_process import MapperProcess; mapper = MapperProcess(); 1 / 0"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "ZeroDivisionError" in ended.stderr


def _runs(pid: int) -> bool:
    """Whether it exists and is no zombie that nobody has asked about."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
