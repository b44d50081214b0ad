"""The system's clock is set in mid-run, by NTP or by hand: times of frames and messages go on as if it had not been."""

from __future__ import annotations

import time
import uuid

import pytest

from spark3r_stream.clock import SystemClock
from spark3r_stream.engine.run_stats import RunStats
from spark3r_stream.sources import SourceOptions, open_source
from spark3r_stream.wire.encode import encode_status
from spark3r_stream.wire.envelope import Sealer
from spark3r_stream.wire.messages import SessionState, Status
from tests.helpers_wire import make_status

HOUR_NS = 3_600_000_000_000


@pytest.mark.parametrize("step_ns", [-HOUR_NS, HOUR_NS])
def test_a_clock_that_is_set_moves_no_time(monkeypatch: pytest.MonkeyPatch, step_ns: int) -> None:
    real = time.time_ns
    clock = SystemClock()
    stats = RunStats(clock, "test", "bundled")
    sealer = Sealer(uuid.uuid4(), clock.unix_ns)
    source = open_source("synthetic:room?frames=6&size=64x48&augment=0&live=1&fps=50", SourceOptions(), clock)
    frames = [source.read() for _ in range(3)]
    first = sealer.seal([encode_status(make_status(), 0)])[0]
    monkeypatch.setattr(time, "time_ns", lambda: real() + step_ns)
    monkeypatch.setattr(time, "time", lambda: (real() + step_ns) / 1e9)
    frames += [source.read() for _ in range(3)]
    second = sealer.seal([encode_status(make_status(), 0)])[0]
    source.close()
    captured = [frame.captured_ns for frame in frames]
    assert captured == sorted(captured)
    assert captured[-1] - captured[0] < HOUR_NS // 10
    assert 0 <= second.envelope.published_ns - first.envelope.published_ns < HOUR_NS // 10
    status = stats.status(SessionState.RUNNING)
    assert isinstance(status, Status)
    assert 0 <= status.uptime_ns < HOUR_NS // 10
