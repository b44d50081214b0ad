"""A run with a tracker in front comes out again byte by byte: keyframes and the frames that adopt them are recorded."""

from __future__ import annotations

from pathlib import Path

import pytest

from spark3r_stream.map_file.reading import read_map
from spark3r_stream.proto import wire_pb2
from spark3r_stream.recording.records import DECISIONS
from spark3r_stream.recording.reprocess import RecordedRun
from spark3r_stream.wire import envelope as wire
from tests.helpers_recording import rewrite
from tests.helpers_reprocess import assert_repeated, payloads

ROOM = "synthetic:room?frames={frames}&size=160x120&fps={fps}{more}"


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


def cut_before_decisions(recorded: Path, target: Path, windows: int) -> None:
    """After the messages of a window whose decisions are missing, and without an index or an end."""
    decided, is_over = 0, False

    def change(topic: str, data: bytes) -> bytes | None:
        nonlocal decided, is_over
        if is_over:
            return None
        decided += topic == DECISIONS
        is_over = decided == windows and topic == wire.FRAME
        return data

    rewrite(recorded, target, change=change)
    target.write_bytes(target.read_bytes()[:-20])


@pytest.mark.parametrize("kept", [None, *(pytest.param(one, marks=pytest.mark.slow) for one in (0.5, 0.8))])
def test_a_recording_cut_anywhere_is_repeated_up_to_its_last_decisions(
    kept: float | None, tmp_path: Path, spark3r, capfd: pytest.CaptureFixture[str]
) -> None:
    """What was published behind them cannot be made again, and neither can the end that the run came to."""
    first, cut = tmp_path / "first.mcap", tmp_path / "cut.mcap"
    source = ROOM.format(frames=75, fps=15, more="&live=1")  # five seconds, a chunk each
    assert spark3r("run", source, "--record", first) == 0
    if kept is None:
        cut_before_decisions(first, cut, 35)
    else:
        cut.write_bytes(first.read_bytes()[: int(kept * first.stat().st_size)])
    assert 0 < RecordedRun.load(cut).frame_count < RecordedRun.load(first).frame_count
    capfd.readouterr()
    assert spark3r("run", cut) == 0
    assert "messages are equal to the recorded ones, byte by byte" in capfd.readouterr().err


def test_a_correction_that_differs_or_is_not_made_is_told(
    tmp_path: Path, spark3r, capfd: pytest.CaptureFixture[str]
) -> None:
    first = tmp_path / "first.mcap"
    assert spark3r("run", ROOM.format(frames=18, fps=10, more=""), "--record", first) == 0

    def moved(topic: str, data: bytes) -> bytes:
        if topic != wire.MAP_CORRECTION:
            return data
        message = wire_pb2.MapCorrections.FromString(data)
        message.corrections[0].map_from_submap.translation.x += 1
        return message.SerializeToString()

    capfd.readouterr()
    assert spark3r("run", rewrite(first, tmp_path / "moved.mcap", change=moved)) == 1
    assert "differ (first /map_correction/ of submap" in capfd.readouterr().err

    def later(topic: str, data: bytes) -> bytes:  # of a moment of which no correction is made
        if topic != "/envelope/":
            return data
        envelope = wire_pb2.Envelope.FromString(data)
        envelope.captured_ns += envelope.topic == wire.MAP_CORRECTION
        return envelope.SerializeToString()

    assert spark3r("run", rewrite(first, tmp_path / "later.mcap", change=later)) == 1
    assert "were not made again (first /map_correction/ of submap" in capfd.readouterr().err


def test_a_run_in_a_saved_map_comes_out_again_from_that_map_alone(
    tmp_path: Path, spark3r, capfd: pytest.CaptureFixture[str]
) -> None:
    room, first, before = tmp_path / "room.s3rmap", tmp_path / "first.mcap", tmp_path / "before.s3rmap"
    source = ROOM.format(frames=10, fps=10, more="")
    assert spark3r("run", source, "--map", room) == 0
    before.write_bytes(room.read_bytes())
    count = len(read_map(room).world.keyframes)
    assert spark3r("run", source, "--map", room, "--record", first) == 0
    after = read_map(room).world
    assert len(after.keyframes) > count, "the run went on in it"
    assert min(frame.frame_id for one in RecordedRun.load(first).decisions for frame in one.new_frames) > 8
    capfd.readouterr()
    assert spark3r("run", first) == 1
    assert f"began from the map {room}, sha256 " in capfd.readouterr().err
    assert spark3r("run", first, "--map", room) == 1
    assert "give the file as it was then" in capfd.readouterr().err
    assert spark3r("run", first, "--map", tmp_path / "none.s3rmap") == 1
    assert "No such file" in capfd.readouterr().err
    kept = before.read_bytes()
    assert_repeated(spark3r, first, tmp_path, "--map", before)
    assert before.read_bytes() == kept, "a run that is made again does not write the map that it began from"

    only_read, kept = tmp_path / "read.mcap", room.read_bytes()
    assert spark3r("run", source, "--map", room, "--localise", "--record", only_read) == 0
    assert room.read_bytes() == kept
    capfd.readouterr()
    assert spark3r("run", only_read, "--map", room) == 0
    assert "messages are equal to the recorded ones, byte by byte" in capfd.readouterr().err
