"""The live line of a run: frames, FPS, latency, drops, memory, state. On stderr, so that stdout stays clean."""

from __future__ import annotations

import contextlib

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from spark3r_stream.engine.run_stats import RunStats
from spark3r_stream.engine.sinks import Heartbeat
from spark3r_stream.wire.messages import TrackingState

STATE_STYLE = {
    TrackingState.TRACKING: "bold green",
    TrackingState.LOW_CONFIDENCE: "bold yellow",
    TrackingState.LOST: "bold red",
}


LINE_EVERY_S = 5.0


class LiveLine:
    """How far a run is, as one line. camera: its name, where there are several."""

    def __init__(self, stats: RunStats, frame_count: int | None, max_frames: int | None, camera: str = "") -> None:
        self._camera = camera
        self._stats = stats
        self._frame_count = frame_count
        self._max_frames = max_frames

    def _progress(self) -> str:
        """Of a source with an end how far it was read, lost frames included; of --max-frames how many were taken."""
        if self._max_frames and (not self._frame_count or self._max_frames < self._frame_count):
            return f"{self._stats.frames_in}/{self._max_frames}"
        return f"{self._stats.frames_seen}/{self._frame_count}" if self._frame_count else str(self._stats.frames_seen)

    def _left_s(self) -> float | None:
        """Seconds to the end, as fast as the last ones went; None where there is no end or nothing goes on."""
        end = min((count for count in (self._frame_count, self._max_frames) if count), default=None)
        rate = self._stats.frames_per_second()
        return None if end is None or rate <= 0 else max(0, end - self._stats.frames_seen) / rate

    def line(self) -> Text:
        stats = self._stats
        latency = stats.latency.summary()
        line = Text(f"{self._camera}: " if self._camera else "")
        line.append(f"frame {self._progress()}")
        line.append(f"  {stats.frames_per_second():5.1f} FPS")
        if left_s := self._left_s():
            line.append(f"  {left_s:.0f} s left" if left_s < 100 else f"  {left_s / 60:.0f} min left")
        line.append(f"  latency {latency.p50_ms:.0f} ms (p95 {latency.p95_ms:.0f})")
        line.append(f"  lost {stats.lost}", style="red" if stats.lost else "")
        line.append(f"  memory {stats.memory_used / 2**20:.1f}/{stats.memory_limit / 2**20:.1f} MiB")
        if stats.tracking is not None:
            line.append(f"  {stats.tracking.name}", style=STATE_STYLE[stats.tracking])
        return line


class LiveLines:
    """A line for each run, a few times per second on a terminal, elsewhere every 5 s; runs that open later join in."""

    def __init__(self, *lines: LiveLine) -> None:
        self._lines = list(lines)
        self._console = Console(stderr=True)
        self._closing = contextlib.ExitStack()

    def add(self, line: LiveLine) -> None:
        self._lines.append(line)

    def __enter__(self) -> LiveLines:
        if self._console.is_terminal:
            live = Live(console=self._console, get_renderable=self._all, refresh_per_second=4, redirect_stdout=False)
            self._closing.enter_context(live)
        else:
            self._closing.enter_context(Heartbeat(self._print, lambda error: None, LINE_EVERY_S))
        return self

    def __exit__(self, *exc: object) -> None:
        self._closing.close()

    def _all(self) -> Group:
        return Group(*(line.line() for line in list(self._lines)))

    def _print(self) -> None:
        for line in list(self._lines):
            self._console.print(line.line(), soft_wrap=True)
