"""The live line of a run: frames, FPS, latency, drops, memory, state. On stderr, so that stdout stays clean."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.live import Live
from rich.text import Text

from spark3r_stream.engine.results import StepOutput
from spark3r_stream.engine.run_stats import RunStats
from spark3r_stream.frame import Frame
from spark3r_stream.wire.messages import TrackingState

STATE_STYLE = {
    TrackingState.TRACKING: "bold green",
    TrackingState.LOW_CONFIDENCE: "bold yellow",
    TrackingState.LOST: "bold red",
}


class LiveLine:
    """A sink that only redraws; a few times per second on a terminal, one line at the end elsewhere."""

    def __init__(self, stats: RunStats, frame_count: int | None, max_frames: int | None) -> None:
        self._stats = stats
        self._frame_count = frame_count
        self._max_frames = max_frames
        self._live = Live(
            console=Console(stderr=True), get_renderable=self._line, refresh_per_second=4, redirect_stdout=False
        )

    def window(self, frames: Sequence[Frame], result: StepOutput) -> None:
        """Nothing to do: the line reads the statistics when it is redrawn."""

    def __enter__(self) -> LiveLine:
        self._live.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._live.__exit__(None, None, None)
        if not self._live.console.is_terminal:
            self._live.console.print()  # there, rich leaves its only line without an end

    def _progress(self) -> str:
        """Of a source with an end how far it was read, lost frames included; of --max-frames how many were taken."""
        if self._max_frames and (not self._frame_count or self._max_frames < self._frame_count):
            return f"{self._stats.frames_in}/{self._max_frames}"
        return f"{self._stats.frames_seen}/{self._frame_count}" if self._frame_count else str(self._stats.frames_seen)

    def _line(self) -> Text:
        stats = self._stats
        latency = stats.latency.summary()
        line = Text(f"frame {self._progress()}")
        line.append(f"  {stats.frames_per_second():5.1f} FPS")
        line.append(f"  latency {latency.p50_ms:.0f} ms (p95 {latency.p95_ms:.0f})")
        line.append(f"  lost {stats.lost}", style="red" if stats.lost else "")
        line.append(f"  memory {stats.memory_used / 2**20:.1f}/{stats.memory_limit / 2**20:.1f} MiB")
        if stats.tracking is not None:
            line.append(f"  {stats.tracking.name}", style=STATE_STYLE[stats.tracking])
        return line
