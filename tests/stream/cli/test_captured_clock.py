"""Every message says which clock its captured_ns reads, the same on all topics, and whether it is from a recording."""

from __future__ import annotations

import time
import uuid
from pathlib import Path

import pytest

from spark3r_stream.recording.reader import Recording
from spark3r_stream.recording.replay import Replay
from spark3r_stream.wire.envelope import FRAME, STATUS, Envelope, Message
from spark3r_stream.wire.messages import CapturedClock
from tests.helpers import spark3r
from tests.helpers_media import moving_images, write_video

SMALL = ["--weights", "random", "--size", "96"]


def recorded(path: Path) -> list[Message]:
    """The messages of a recording; all must name the same clock, and the newest frame's time on /status/."""
    messages = list(Recording(path).messages())
    assert len({message.envelope.captured_clock for message in messages}) == 1
    frames = [message.envelope.captured_ns for message in messages if message.topic == FRAME]
    assert [message.envelope.captured_ns for message in messages if message.topic == STATUS][-1] == frames[-1]
    return messages


@pytest.mark.parametrize(("pace", "clock"), [("fast", CapturedClock.SOURCE), ("realtime", CapturedClock.UNIX)])
def test_a_run_its_repetition_and_its_replay_say_their_clock(
    pace: str, clock: CapturedClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = write_video(tmp_path / "clip.mp4", moving_images(4, 96, 72))
    first, again = tmp_path / "first.mcap", tmp_path / "again.mcap"
    before_ns = time.time_ns()
    assert spark3r(monkeypatch, "run", video, *SMALL, "--pace", pace, "--record", first) == 0
    messages = recorded(first)
    newest_ns = [message.envelope.captured_ns for message in messages if message.topic == FRAME][-1]
    assert (newest_ns >= before_ns) == (clock is CapturedClock.UNIX)
    assert {(m.envelope.captured_clock, m.envelope.replay) for m in messages} == {(clock, False)}

    assert spark3r(monkeypatch, "run", first, "--record", again) == 0
    repeated = recorded(again)
    assert {(m.envelope.captured_clock, m.envelope.replay) for m in repeated} == {(clock, True)}
    assert [m.envelope.captured_ns for m in repeated if m.topic == FRAME][-1] == newest_ns

    with Replay(first, speed=None) as replay:
        replayed = list(replay)
    assert {(m.envelope.captured_clock, m.envelope.replay) for m in replayed} == {(clock, True)}
    times = [(m.envelope.captured_ns, m.envelope.published_ns) for m in messages]
    assert [(m.envelope.captured_ns, m.envelope.published_ns) for m in replayed] == times


def test_a_clock_of_a_later_version_is_none_that_is_known() -> None:
    said = Envelope(session_id=uuid.uuid4(), sequence=0, captured_ns=1, published_ns=2)
    assert Envelope.from_bytes(said.to_bytes())[0].captured_clock is None
    assert Envelope.from_bytes(said.to_bytes() + b"\x68\x63")[0].captured_clock is None  # field 13: 99
