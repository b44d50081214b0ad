"""A run with a tracker in front comes out again byte by byte: keyframes and the frames that adopt them are recorded."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from spark3r_stream.recording.reprocess import RecordedRun
from tests import helpers
from tests.helpers_reprocess import assert_repeated, payloads

ROOM = "synthetic:room?frames={frames}&size=160x120&fps={fps}{more}"


@pytest.fixture
def spark3r(monkeypatch: pytest.MonkeyPatch):
    """Runs the command line in this process; its exit code."""
    return partial(helpers.spark3r, monkeypatch)


def adopted(path: Path) -> list[int]:
    """Keyframes in the order in which frames began to be tracked on them, the first one aside."""
    decisions = RecordedRun.load(path).decisions
    return [one.adopted_frame_id for one in decisions if one.adopted_frame_id is not None]


def test_a_file_comes_out_again(tmp_path: Path, spark3r) -> None:
    first = tmp_path / "first.mcap"
    source = ROOM.format(frames=40, fps=10, more="")
    assert spark3r("run", source, "--record", first) == 0
    assert len(adopted(first)) >= 2, "the camera moves through the room"
    assert_repeated(spark3r, first, tmp_path)


def test_a_file_gives_the_same_bytes_twice(tmp_path: Path, spark3r) -> None:
    source = ROOM.format(frames=40, fps=10, more="")
    runs = []
    for name in ("a", "b"):
        recording, out = tmp_path / f"{name}.mcap", tmp_path / name
        assert spark3r("run", source, "--max-frames", 20, "--record", recording, "--out", out) == 0
        runs.append((payloads(recording), (out / "trajectory.txt").read_bytes()))
    assert adopted(tmp_path / "a.mcap"), "frames were tracked on a second keyframe, too"
    assert runs[0] == runs[1]


def test_a_live_run_adopts_keyframes_where_it_did(tmp_path: Path, spark3r) -> None:
    """Live, the frame that adopts a keyframe depends on how long mapping took: it is the recorded one again."""
    first = tmp_path / "first.mcap"
    source = ROOM.format(frames=45, fps=15, more="&live=1")
    assert spark3r("run", source, "--record", first) == 0
    assert adopted(first), "at least one keyframe was adopted on the way"
    assert_repeated(spark3r, first, tmp_path)


def test_a_run_that_was_cut_short_comes_out_again(tmp_path: Path, spark3r) -> None:
    first = tmp_path / "first.mcap"
    assert spark3r("run", ROOM.format(frames=18, fps=10, more=""), "--record", first) == 0
    first.write_bytes(first.read_bytes()[:-20])  # no index, no end
    assert spark3r("run", first, "--max-frames", "12", "--record", tmp_path / "part.mcap") == 0
    part, whole = payloads(tmp_path / "part.mcap"), payloads(first)
    frames = [one for one in whole if one[0] == "/frame/" and one[1] < 12]
    assert [one for one in part if one[0] == "/frame/"] == frames
