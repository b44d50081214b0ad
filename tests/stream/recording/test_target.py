"""`--record FILE`: nothing of the user's is overwritten, and nothing at all before there is something to record."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from spark3r_stream.clock import SystemClock
from spark3r_stream.errors import RecordingError
from spark3r_stream.recording.reader import Recording
from spark3r_stream.recording.writer import Recorder
from tests.helpers_media import moving_images, write_video
from tests.helpers_wire import frames, make_sealer

SMALL = ["--weights", "random", "--size", "96", "--track", "off"]


def record(path: Path, count: int, **options: bool) -> None:
    with Recorder(path, {}, SystemClock(), **options) as recorder:
        for batch in frames(make_sealer(), range(count)):
            recorder.send(batch)
    assert recorder.error is None


def test_without_a_message_nothing_is_left_and_the_older_recording_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    record(path, 2)
    before = path.read_bytes()
    for target in (path, tmp_path / "new.mcap"):
        with Recorder(target, {}, SystemClock(), overwrite=True) as recorder:
            assert sorted(p.suffix for p in tmp_path.iterdir()) == [".mcap", ".part"]
        assert recorder.error is None
        assert [p.name for p in tmp_path.iterdir()] == ["a.mcap"]
        assert path.read_bytes() == before


def test_an_older_recording_is_replaced_when_told_and_only_then(tmp_path: Path) -> None:
    path, other = tmp_path / "a.mcap", tmp_path / "other name.mcap"
    record(path, 2)
    os.link(path, other)
    with pytest.raises(RecordingError, match="older recording; --overwrite replaces it"):
        record(path, 3)
    assert Recording(path).info().counts["/frame/"] == 2
    record(path, 3, overwrite=True)
    assert Recording(path).info().counts["/frame/"] == 3
    assert Recording(other).info().counts["/frame/"] == 2
    assert {p.name for p in tmp_path.iterdir()} == {"a.mcap", "other name.mcap"}


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_no_recording_is_never_replaced(tmp_path: Path, overwrite: bool) -> None:
    thesis, link, folder = tmp_path / "thesis.docx", tmp_path / "link.mcap", tmp_path / "folder"
    thesis.write_bytes(b"years of work")
    link.symlink_to(thesis)
    folder.mkdir()
    for path, reason in ((thesis, "is no recording"), (link, "symbolic link"), (folder, "a folder or a device")):
        with pytest.raises(RecordingError, match=reason):
            record(path, 1, overwrite=overwrite)
    assert thesis.read_bytes() == b"years of work"
    assert len(list(tmp_path.iterdir())) == 3


def test_a_file_that_came_meanwhile_is_not_replaced_either(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    with Recorder(path, {}, SystemClock()) as recorder:
        path.write_bytes(b"somebody else's")
        recorder.send(frames(make_sealer(), [0])[0])
    assert "is no recording" in str(recorder.error)
    assert path.read_bytes() == b"somebody else's"
    assert [p.name for p in tmp_path.iterdir()] == ["a.mcap"]


def test_the_source_is_refused_by_every_name(tmp_path: Path, spark3r, capfd: pytest.CaptureFixture[str]) -> None:
    video = write_video(tmp_path / "holiday.mp4", moving_images(3, 64, 48))
    first = tmp_path / "first.mcap"
    assert spark3r("run", video, *SMALL, "--record", first) == 0
    linked, hard = tmp_path / "linked.mcap", tmp_path / "hard.mcap"
    linked.symlink_to(first)
    os.link(first, hard)
    before = {path: path.read_bytes() for path in (video, first)}
    capfd.readouterr()
    for source, target in (
        (video, video),
        (f"file://{video}", video),
        (first, first),
        (first, linked),
        (first, hard),
    ):
        assert spark3r("run", source, "--record", target, "--overwrite") == 1
        assert "is the file that is read; choose another name" in capfd.readouterr().err
    assert {path: path.read_bytes() for path in (video, first)} == before


def test_files_of_the_folder_that_is_read_are_refused(tmp_path: Path, spark3r, capfd) -> None:
    for i, image in enumerate(moving_images(2, 64, 48)):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    assert spark3r("run", tmp_path, "--record", tmp_path / "0.png", "--overwrite") == 1
    assert "is a file of the folder that is read" in capfd.readouterr().err


def test_a_typo_in_the_source_leaves_the_older_recording(tmp_path: Path, spark3r, capfd) -> None:
    path = tmp_path / "yesterday.mcap"
    record(path, 2)
    before = path.read_bytes()
    assert spark3r("run", tmp_path / "tpyo.mp4", "--record", path, "--overwrite") == 1
    assert "tpyo.mp4" in capfd.readouterr().err
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["yesterday.mcap"]


def test_overwrite_without_a_recording_is_refused(tmp_path: Path, spark3r, capfd) -> None:
    assert spark3r("run", tmp_path, "--overwrite") == 1
    assert "give --record or --map with it" in capfd.readouterr().err
