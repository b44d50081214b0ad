"""The live line: how far a run is, lost frames included."""

from __future__ import annotations

from spark3r_stream.cli.progress import LiveLine
from spark3r_stream.engine.results import StepOutput
from spark3r_stream.engine.run_stats import RunStats
from spark3r_stream.stats import DropCause
from spark3r_stream.wire.messages import FrameOutput
from tests.helpers import FakeClock, make_frame
from tests.helpers_wire import failed_output


def stats_after(frames: int, superseded: int, failed: int) -> RunStats:
    stats = RunStats(FakeClock(), "source", "bundled")
    stats.taken([make_frame(i) for i in range(frames)], {DropCause.SUPERSEDED: superseded})
    outputs: list[FrameOutput] = [failed_output(i) for i in range(failed)]
    stats.processed(StepOutput(outputs, failures={DropCause.NOT_FINITE: failed}))
    return stats


def test_a_played_file_ends_at_its_last_frame_whatever_was_lost() -> None:
    stats = stats_after(141, superseded=9, failed=2)
    assert str(LiveLine(stats, 150, None).line()).startswith("frame 150/150 ")
    assert str(LiveLine(stats, 150, 150).line()).startswith("frame 150/150 ")
    assert str(LiveLine(stats, None, None).line()).startswith("frame 150 ")


def test_max_frames_counts_what_was_taken() -> None:
    stats = stats_after(141, superseded=9, failed=2)
    assert str(LiveLine(stats, 500, 141).line()).startswith("frame 141/141 ")
    assert str(LiveLine(stats, None, 141).line()).startswith("frame 141/141 ")


def test_the_rate_of_a_finished_run_stands_still() -> None:
    clock = FakeClock()
    stats = RunStats(clock, "source", "bundled")
    clock.advance_s(10)
    stats.processed(StepOutput([failed_output(0)], failures={DropCause.NOT_FINITE: 1}))
    stats.finish()
    clock.advance_s(30)
    assert stats.frames_per_second() == stats.as_dict()["fps"] == 0.1
    assert stats.as_dict()["seconds"] == 10.0
