"""A recorder's thread that dies of anything says why, and counts what it lost."""

from __future__ import annotations

from pathlib import Path

from spark3r_stream.clock import SystemClock
from spark3r_stream.errors import RecordingError
from spark3r_stream.recording.writer import Recorder
from tests.helpers_wire import frames, make_sealer


def test_a_recorder_that_dies_says_why_and_counts_what_it_loses(tmp_path: Path) -> None:
    told: list[RecordingError] = []
    messages = frames(make_sealer(), [0])[0]
    with Recorder(tmp_path / "a.mcap", {}, SystemClock(), on_error=told.append) as recorder:
        recorder._write = lambda record: 1 / 0  # type: ignore[method-assign, assignment, return-value]
        recorder.send(messages)
        recorder._thread.join(10)
        assert "ZeroDivisionError" in str(told[0])
        assert recorder.error is told[0]
        assert recorder.broken
        recorder.send(messages)
        assert sum(recorder.dropped.values()) == 2 * len(messages)
