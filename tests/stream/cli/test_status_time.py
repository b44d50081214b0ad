"""/status/ carries the time of the newest frame, as its description says."""

from __future__ import annotations

from pathlib import Path

from spark3r_stream.recording.reader import Recording
from spark3r_stream.wire import envelope as wire
from tests.faults.engine_process import SYNTHETIC, Engine


def test_the_last_status_has_the_time_of_the_newest_frame(tmp_path: Path) -> None:
    with Engine(SYNTHETIC, "--record", tmp_path / "a.mcap", "--max-frames", "6") as engine:
        assert engine.wait(90) == 0, engine.err
    messages = list(Recording(tmp_path / "a.mcap").messages([wire.FRAME, wire.STATUS]))
    newest = [m.envelope.captured_ns for m in messages if m.topic == wire.FRAME][-1]
    assert [m.envelope.captured_ns for m in messages if m.topic == wire.STATUS][-1] == newest
