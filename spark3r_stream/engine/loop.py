"""The engine: source → bounded buffer → windows → reconstruction → sinks. Read `stream_steps` first.

One thread reads the source (producer.py), the calling thread runs the network, sinks do their own waiting (the
publisher and the recorder have threads). Nothing here knows what a sink does with a window.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

from spark3r_core.geometry.camera import Intrinsics
from spark3r_core.memory.config import MemoryConfig
from spark3r_core.models.facts import ModelFacts
from spark3r_stream.clock import Clock
from spark3r_stream.engine.frame_buffer import DropPolicy, FrameBuffer
from spark3r_stream.engine.producer import Producer
from spark3r_stream.engine.results import StepOutput
from spark3r_stream.engine.run_stats import RunStats
from spark3r_stream.engine.scheduler import WindowPlan
from spark3r_stream.engine.split_window import split_window
from spark3r_stream.errors import EndOfStream
from spark3r_stream.frame import Frame
from spark3r_stream.recording.records import Decisions
from spark3r_stream.sources.base import Source
from spark3r_stream.stats import DropCause
from spark3r_stream.wire.messages import FrameOutput

STOP_POLL_S = 0.25  # how long a stop may go unseen while no frame comes


class Sink(Protocol):
    """Where results go. Called from the engine's thread, in order; must not block it for long."""

    def window(self, frames: Sequence[Frame], result: StepOutput) -> None:
        """One window: the frames that went in and an output for each, failed ones too."""
        ...


class AnyReconstructor(Protocol):
    """Frames in, results out: `tracking.TrackingReconstructor`, or `reconstructor.Reconstructor` for windows of every
    frame."""

    memory: MemoryConfig
    camera: Intrinsics | None
    pictures: bool
    """Whether every valid frame's output holds its picture, for /image/."""

    @property
    def facts(self) -> ModelFacts:
        """Of the model."""
        ...

    @property
    def image_hw(self) -> tuple[int, int] | None:
        """Network input size, known after the first frame."""
        ...

    def process(self, frames: Sequence[Frame], adopt: Sequence[int | None] | None = None) -> StepOutput:
        """One step. adopt: see `Window.adopted`."""
        ...

    def prepare_ahead(self, frame: Frame) -> Frame:
        """What can be done with a picture before its turn, called in the thread that reads. Never raises."""
        ...

    def finish(self, *, adjust_all: bool) -> StepOutput:
        """What still comes after the last frame."""
        ...

    def close(self) -> None:
        """End what runs beside, whatever it is doing. The caller of `stream_steps` does that."""
        ...


@dataclass(frozen=True)
class EngineConfig:
    """plan: frames per window. queue_frames: capacity of the buffer; a live source drops its oldest beyond it.
    max_frames: stop after so many frames; None: at the end of the source. adjusts_all: adjust all keyframes together
    after the last frame."""

    plan: WindowPlan
    queue_frames: int = 8
    max_frames: int | None = None
    adjusts_all: bool = True


class EngineStep(NamedTuple):
    """Frames that were processed together, none after the last one, and what came of them."""

    frames: Sequence[Frame]
    result: StepOutput


@dataclass
class Window:
    """Frames taken from the buffer together, and what was lost since the previous window.

    adopted: with a recorded run, the keyframe that was adopted before it, or None in it for none.
    """

    frames: list[Frame]
    drops: dict[DropCause, int] = field(default_factory=dict)
    taken_ns: int = 0
    adopted: tuple[int | None] | None = None


def stream_steps(
    source: Source,
    reconstructor: AnyReconstructor,
    sinks: Sequence[Sink],
    config: EngineConfig,
    stats: RunStats,
    clock: Clock,
    stop: threading.Event,
    decided: Sequence[Decisions] | None = None,
) -> Iterator[EngineStep]:
    """Run a source through a model until it ends, `max_frames` are done, or `stop` is set.

    Each step is handed to the caller when the sinks have it; the last one may be without frames, see `finish_steps`. A
    caller who has enough closes the iterator: that ends the source, and there is no last step.
    decided: the windows of a recorded run, to be made again from the frames of its recording; None: decide as it goes.
    Raises what the source or a sink raises, after the frames before it were processed; results so far are with the
    sinks. Closing the sinks is the caller's business.
    """
    buffer = FrameBuffer(max(config.queue_frames, config.plan.max_frames), DropPolicy.for_source(source.info.is_live))
    # What a camera showed while the model was loaded waits in its buffers. Begun with that, a map would be late from
    # its first frame on, and lose the frames that come while it catches up.
    begun_ns = clock.unix_ns() if source.info.is_live and decided is None else None
    with Producer(source, buffer, reconstructor.prepare_ahead, begun_ns):
        if decided is None:
            cut = windows(buffer, config, clock, stop)
        else:
            cut = decided_windows(buffer, decided, config.max_frames, clock, stop)
        for window in cut:
            yield from window_steps(window, reconstructor, sinks, stats, clock, source.info.is_live)
    yield from finish_steps(reconstructor, sinks, stats, config.adjusts_all)


def window_steps(
    window: Window,
    reconstructor: AnyReconstructor,
    sinks: Sequence[Sink],
    stats: RunStats,
    clock: Clock,
    is_live: bool,
) -> Iterator[EngineStep]:
    """One window through the model: a step for each part of it that can be processed together, one as a rule."""
    stats.taken(window.frames, window.drops)
    drops = {cause.value: count for cause, count in window.drops.items()}
    for frames in split_window(window.frames):
        result = reconstructor.process(frames, window.adopted)
        outputs = _stamped(result.outputs, drops, is_live, window.taken_ns, clock)
        result = replace(result, outputs=outputs)
        drops = {}  # reported once, with the first frame after the loss
        stats.processed(result)
        for sink in sinks:
            sink.window(frames, result)
        yield EngineStep(frames, result)


def finish_steps(
    reconstructor: AnyReconstructor, sinks: Sequence[Sink], stats: RunStats, adjusts_all: bool
) -> Iterator[EngineStep]:
    """What still comes after the last frame: a step without frames, if there is anything in it."""
    last = reconstructor.finish(adjust_all=adjusts_all)
    if last.corrections or last.keyframes or last.refined or last.retracked:
        stats.processed(last)
        for sink in sinks:
            sink.window([], last)
        yield EngineStep([], last)


def windows(buffer: FrameBuffer, config: EngineConfig, clock: Clock, stop: threading.Event) -> Iterator[Window]:
    """Cut the stream into windows by the plan; the last one takes what is left, also before a source's error."""
    plan, left = config.plan, config.max_frames
    while not stop.is_set() and left != 0:
        wanted = plan.max_frames if left is None else min(plan.max_frames, left)
        needed = min(plan.min_frames, wanted)
        window, end = Window([]), None
        while len(window.frames) < needed and end is None and not stop.is_set():
            try:
                batch = buffer.get(wanted - len(window.frames), STOP_POLL_S)
            except Exception as error:  # the end, or what the source failed with: the frames before it come first
                end, drops = error, buffer.drops.take()
            else:
                window.frames += batch.frames
                drops = dict(batch.drops)
            for cause, count in drops.items():
                window.drops[cause] = window.drops.get(cause, 0) + count
        if window.frames or window.drops:
            window.taken_ns = clock.monotonic_ns()
            yield window
        if left is not None:
            left -= len(window.frames)
        if isinstance(end, EndOfStream):
            return
        if end is not None:
            raise end


def decided_windows(
    buffer: FrameBuffer, decided: Sequence[Decisions], max_frames: int | None, clock: Clock, stop: threading.Event
) -> Iterator[Window]:
    """The windows of a recorded run, with its losses; the one that reaches `max_frames` is the last."""
    taken = 0
    for decisions in decided:
        if max_frames is not None and taken >= max_frames:
            return
        drops = {DropCause(drop.cause): drop.count for drop in decisions.drops}
        window = Window([], drops, adopted=(decisions.adopted_frame_id,))
        while len(window.frames) < len(decisions.new_frames):
            if stop.is_set():
                return
            try:
                window.frames += buffer.get(len(decisions.new_frames) - len(window.frames), STOP_POLL_S).frames
            except EndOfStream:  # closed from outside: a window that is not whole would not be the recorded one
                return
        taken += len(window.frames)
        window.taken_ns = clock.monotonic_ns()
        yield window


def _stamped(
    outputs: Sequence[FrameOutput], drops: dict[str, int], is_live: bool, taken_ns: int, clock: Clock
) -> list[FrameOutput]:
    """Publication time, latency and the losses before the first frame.

    Latency is capture to publication for live sources. A file's frames were captured long ago, so theirs counts from
    when the window was taken.
    """
    now = clock.unix_ns()
    waited_ns = clock.monotonic_ns() - taken_ns
    stamped = []
    for i, output in enumerate(outputs):
        latency_ns = now - output.result.captured_ns if is_live else waited_ns
        result = replace(
            output.result, published_ns=now, latency_ms=latency_ns / 1e6, drops_since_last=drops if i == 0 else {}
        )
        stamped.append(replace(output, result=result))
    return stamped
