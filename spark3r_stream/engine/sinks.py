"""Where windows go: the wire (publisher and recording), decisions, JSON lines. Files have files_sink.py."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol, TextIO

from spark3r_stream.camera_name import inheriting_thread
from spark3r_stream.clock import Clock
from spark3r_stream.engine.placed import Numbering
from spark3r_stream.engine.results import MapUnit, StepOutput
from spark3r_stream.engine.thinning import Thinning, ThinningOptions
from spark3r_stream.frame import Frame
from spark3r_stream.plain_text import without_nan
from spark3r_stream.recording.comparison import Comparison
from spark3r_stream.recording.records import Decisions, DroppedFrames, FrameTime
from spark3r_stream.recording.writer import Recorder
from spark3r_stream.wire.encode import (
    PLAIN_NAMES,
    encode_frame,
    encode_keyframe,
    encode_map_corrections,
    encode_path_corrections,
    encode_status,
)
from spark3r_stream.wire.envelope import Message, Sealer, Unsealed
from spark3r_stream.wire.messages import Status
from spark3r_stream.wire.plain import frame_as_dict


class MessageSink(Protocol):
    """A publisher or a recording: takes sealed messages, never blocks."""

    def send(self, messages: list[Message]) -> None: ...


class WireSink:
    """Encodes each output once and hands the same bytes to every message sink.

    thinning: what of it is left out.
    names: of the frames of reference; may change between two windows. numbering: of submaps, where several cameras have
    some.
    """

    def __init__(
        self,
        sealer: Sealer,
        targets: Sequence[MessageSink],
        numbering: Numbering | None = None,
        thinning: Thinning | None = None,
    ) -> None:
        self.names = PLAIN_NAMES
        self._numbering = numbering
        self._thinning = thinning or Thinning(ThinningOptions())
        self._sealer = sealer
        self._targets = list(targets)
        self._newest_ns, self._epoch = 0, 0
        self._map_unit: MapUnit | None = None  # of the newest step, which with several cameras is not the run's own
        self._lock = threading.Lock()  # the heartbeat seals from its own thread

    def window(self, frames: Sequence[Frame], result: StepOutput) -> None:
        messages: list[Unsealed] = []
        if frames:
            self._newest_ns, self._epoch = frames[-1].captured_ns, frames[-1].epoch
        self._map_unit = result.map_unit
        own = self._thinning.step(result)
        result = own if self._numbering is None else self._numbering.applied(own)
        if result.corrections:
            messages += encode_map_corrections(result.corrections, self._newest_ns, self._epoch, self.names.map)
        numbers = [one.submap for one in [*own.keyframes, *own.refined]]
        for number, keyframe in zip(numbers, [*result.keyframes, *result.refined], strict=True):
            messages += self._thinning.of_keyframe(encode_keyframe(keyframe), number)
        for output in result.outputs:
            messages += self._thinning.wanted(encode_frame(output, self.names))
        messages += encode_path_corrections(result.retracked, self._newest_ns, self._epoch)
        self._send(messages)

    def status(self, status: Status, captured_ns: int) -> None:
        if self._numbering is not None:
            status = replace(status, submap=self._numbering.of(status.submap))
        if self._map_unit is not None:
            status = replace(status, **vars(self._map_unit))
        self._send([encode_status(status, captured_ns)])

    def _send(self, messages: list[Unsealed]) -> None:
        with self._lock:
            sealed = self._sealer.seal(messages)
            for target in self._targets:
                target.send(sealed)


class DecisionsSink:
    """Writes what was decided about each window, so that a recording can be run again exactly."""

    def __init__(self, recorder: Recorder, clock: Clock, threads: int) -> None:
        self._recorder = recorder
        self._clock = clock
        self._threads = threads
        self._windows = 0

    def window(self, frames: Sequence[Frame], result: StepOutput) -> None:
        if not result.outputs:
            return
        finished_ns = self._clock.unix_ns()
        first = result.outputs[0].result
        failed = [output.result.failure_reason for output in result.outputs if not output.result.valid]
        self._recorder.decisions(
            Decisions(
                window=self._windows,
                new_frames=tuple(
                    FrameTime(
                        f.frame_id,
                        f.epoch,
                        f.pts_ns,
                        f.captured_ns,
                        f.frame_id if f.picture is None else f.picture,
                        result.hint,
                        result.depth_ratio,
                        result.fixes,
                    )
                    for f in frames
                ),
                support_frame_ids=result.support,
                admitted_frame_ids=result.admitted,
                evicted_frame_ids=result.evicted,
                drops=tuple(DroppedFrames(cause, count) for cause, count in first.drops_since_last.items()),
                epoch=first.epoch,
                submap=first.submap,
                started_ns=finished_ns - (0 if result.window is None else result.window.step_ns),
                finished_ns=finished_ns,
                threads=self._threads,
                failure_reason=failed[0] if failed else "",
                source_id=frames[0].source_id,
                adopted_frame_id=result.adopted,
            )
        )
        self._windows += 1


class ComparisonSink:
    """Holds each window of a repeated run against its recording."""

    def __init__(self, comparison: Comparison) -> None:
        self._comparison = comparison

    def window(self, frames: Sequence[Frame], result: StepOutput) -> None:
        keyframes = [*result.keyframes, *result.refined]
        self._comparison.add(result.corrections, keyframes, result.outputs, result.retracked)


class JsonSink:
    """One JSON object per line and frame. camera: its name, where several write."""

    def __init__(self, stream: TextIO, camera: str = "") -> None:
        self._stream = stream
        self._first = {"type": "frame", **({"camera": camera} if camera else {})}

    def window(self, frames: Sequence[Frame], result: StepOutput) -> None:
        for output in result.outputs:
            self._stream.write(json.dumps(without_nan({**self._first, **frame_as_dict(output.result)})) + "\n")
        self._stream.flush()


class Heartbeat:
    """Calls `beat` every `interval_s` from a thread of its own, so that it beats while the network computes.

    on_error: called once, from that thread, with what `beat` raised; then it beats no more.
    """

    def __init__(
        self, beat: Callable[[], None], on_error: Callable[[Exception], None], interval_s: float = 1.0
    ) -> None:
        self._beat = beat
        self._on_error = on_error
        self._interval_s = interval_s
        self._stop = threading.Event()
        self._thread = inheriting_thread(self._run, "spark3r-heartbeat")

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._stop.wait(self._interval_s):
                self._beat()
        except Exception as error:  # whatever it is, a status that stops unseen looks like a robot that hangs
            self._on_error(error)
