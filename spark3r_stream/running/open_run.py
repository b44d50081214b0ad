"""A run that is open: its parts, and its steps, driven by the loop or by a caller who cuts the windows himself."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field

from spark3r_stream.clock import Clock
from spark3r_stream.config import RunConfig
from spark3r_stream.engine.loop import (
    AnyReconstructor,
    EngineConfig,
    EngineStep,
    Sink,
    Window,
    finish_steps,
    stream_steps,
    window_steps,
)
from spark3r_stream.engine.placed import PlacedSink
from spark3r_stream.engine.run_stats import RunStats
from spark3r_stream.engine.tracking import TrackingReconstructor
from spark3r_stream.errors import StreamError
from spark3r_stream.recording.comparison import Comparison
from spark3r_stream.recording.records import Decisions
from spark3r_stream.recording.writer import Recorder
from spark3r_stream.running.heartbeat import Publishes
from spark3r_stream.sources.base import Source


@dataclass
class OpenRun:
    """The parts of a run that is open. sinks: more may be added before the first step.

    config: as it is run, so of a recorded run with that run's settings. decided: the windows of a recorded run.
    stop: set, it ends the run after the frame that is being processed, with everything that comes at an end.
    """

    config: RunConfig
    source: Source
    reconstructor: AnyReconstructor
    stats: RunStats
    clock: Clock
    engine: EngineConfig
    stop: threading.Event
    sinks: list[Sink] = field(default_factory=list)
    publisher: Publishes | None = None
    recorder: Recorder | None = None
    comparison: Comparison | None = None
    decided: Sequence[Decisions] | None = None
    failures: list[StreamError] = field(default_factory=list)  # of threads that died; the run ends as failed
    placed: PlacedSink | None = None  # with several cameras

    def steps(self) -> Generator[EngineStep, None, None]:
        """The whole run; see `stream_steps`."""
        try:
            yield from stream_steps(
                self.source,
                self.reconstructor,
                self.sinks,
                self.engine,
                self.stats,
                self.clock,
                self.stop,
                self.decided,
            )
        finally:
            self.stats.finish()

    def window(self, window: Window) -> Iterator[EngineStep]:
        """One window that the caller has cut himself; see `window_steps`."""
        window.taken_ns = self.clock.monotonic_ns()
        yield from window_steps(
            window, self.reconstructor, self.sinks, self.stats, self.clock, self.source.info.is_live
        )

    def finish(self) -> Iterator[EngineStep]:
        """After the caller's last window; see `finish_steps`."""
        yield from finish_steps(self.reconstructor, self.sinks, self.stats, self.engine.adjusts_all)
        self.stats.finish()

    def add_map(self, sink: Sink) -> None:
        """Another sink, that wants to know where all frames lie in the end."""
        self.sinks.append(sink)
        if isinstance(self.reconstructor, TrackingReconstructor):
            self.reconstructor.retracks = True

    @property
    def keeps(self) -> bool:
        """Whether anything is written or sent beside what the caller gets."""
        config = self.config
        return bool(self.publisher or self.recorder or config.out or config.map or self.comparison)
