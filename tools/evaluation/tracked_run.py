"""A source through the engine as `spark3r run` drives it, and what came out: as it was published, and in the end.

The path of a frame is that of the command line (`stream_steps`, its buffer, its reading thread, its files); only what
is published goes into a `Collector` instead of a socket.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.models.facts import ModelFacts
from spark3r_stream.clock import SystemClock
from spark3r_stream.engine.files_sink import FilesSink
from spark3r_stream.engine.loop import AnyReconstructor, EngineConfig, Sink, stream_steps
from spark3r_stream.engine.results import StepOutput
from spark3r_stream.engine.run_stats import RunStats
from spark3r_stream.engine.scheduler import WindowPlan
from spark3r_stream.errors import EndOfStream
from spark3r_stream.frame import Frame
from spark3r_stream.map.final_path import FinalPath
from spark3r_stream.outputs.result_writer import ResultWriter
from spark3r_stream.sources.base import Source, SourceInfo, SourceKind, SourceState
from spark3r_stream.stats import DropCounter
from spark3r_stream.wire.messages import FrameResult
from tools.evaluation import metrics

Array = NDArray[np.float64]


class HeldSource:
    """Images in memory, one every 1/30 s: a source that costs nothing to read. images: (H, W, 3) uint8 RGB each."""

    def __init__(self, name: str, images: Sequence[NDArray[np.uint8]], fps: float = 30.0) -> None:
        self.drops = DropCounter()
        self.state = SourceState.STREAMING
        self._name, self._images, self._fps = name, images, fps
        self._next = 0

    @property
    def info(self) -> SourceInfo:
        height, width = self._images[0].shape[:2]
        return SourceInfo(SourceKind.SYNTHETIC, self._name, False, (width, height), self._fps, len(self._images))

    def read(self) -> Frame:
        index, self._next = self._next, self._next + 1
        if index >= len(self._images):
            self.state = SourceState.ENDED
            raise EndOfStream(f"{self._name} has ended")
        stamp = round(index * 1e9 / self._fps)
        return Frame(self._images[index], index, 0, stamp, stamp, self._name)

    def close(self) -> None:
        self._next = len(self._images)


@dataclass
class Collector:
    """A sink that keeps poses and results, and places submaps as a subscriber does.

    published: world_from_camera (4, 4) by frame id, where the map was when the frame came out. median_depth: by submap,
    in its own unit.
    """

    results: list[FrameResult] = field(default_factory=list)
    published: dict[int, Array] = field(default_factory=dict)
    keyframe_ids: list[int] = field(default_factory=list)
    median_depth: dict[int, float] = field(default_factory=dict)
    _placed: dict[int, Sim3] = field(default_factory=dict)
    _path: FinalPath = field(default_factory=FinalPath)
    _ids: list[int] = field(default_factory=list)
    _tracked_on: dict[int, int | None] = field(default_factory=dict)

    @property
    def part_of(self) -> dict[int, int]:
        """By submap, the first submap of the map that it was begun in."""

        def first(submap: int) -> int:
            while (before := self._tracked_on[submap]) is not None:
                submap = before
            return submap

        return {submap: first(submap) for submap in self._tracked_on}

    def window(self, frames: Sequence[Frame], result: StepOutput) -> None:
        for correction in result.corrections:
            self._placed[correction.submap] = correction.map_from_submap
        for keyframe in result.keyframes:
            self.keyframe_ids.append(keyframe.frame_id)
            self._tracked_on[keyframe.submap] = keyframe.tracked_submap
            self.median_depth[keyframe.submap] = float(np.median(keyframe.depth))
            self._placed.setdefault(keyframe.submap, keyframe.map_from_submap)
            self._path.begin(keyframe.submap, keyframe.frame_id, keyframe.tracked_submap)
        for again in result.retracked:
            self._path.retrack(again.frame_id, again.submap_from_camera)
        for output in result.outputs:
            one = output.result
            self.results.append(one)
            if not one.valid or one.world_from_camera is None:
                continue
            self._placed[one.submap] = output.map_from_submap
            self.published[one.frame_id] = output.map_from_submap.apply_to_poses(one.world_from_camera)
            self._path.add(one.submap, one.captured_ns, one.world_from_camera, one.frame_id)
            self._ids.append(one.frame_id)

    def scale_of(self, submap: int) -> float:
        """Units of the final map per unit of a submap."""
        return self._placed[submap].scale

    def final(self) -> dict[int, Array]:
        """world_from_camera (4, 4) by frame id in the map as it is in the end: what trajectory.txt says of a file."""
        if not self._path.has_keyframes:
            return self.published
        poses = self._path.final(lambda submap: self._placed.get(submap, Sim3())).world_from_camera
        return dict(zip(self._ids, poses, strict=True))


class _Timed:
    """A reconstructor whose last step has a stopwatch."""

    def __init__(self, inner: AnyReconstructor) -> None:
        self._inner = inner
        self.memory, self.camera = inner.memory, inner.camera
        self.finish_seconds = 0.0

    @property
    def facts(self) -> ModelFacts:
        return self._inner.facts

    @property
    def image_hw(self) -> tuple[int, int] | None:
        return self._inner.image_hw

    def process(self, frames: Sequence[Frame], adopt: Sequence[int | None] | None = None) -> StepOutput:
        return self._inner.process(frames, adopt)

    def prepare_ahead(self, frame: Frame) -> Frame:
        return self._inner.prepare_ahead(frame)

    def finish(self, *, adjust_all: bool) -> StepOutput:
        began = time.monotonic()
        result = self._inner.finish(adjust_all=adjust_all)
        self.finish_seconds = time.monotonic() - began
        return result


@dataclass(frozen=True)
class TrackedRun:
    """seconds: from the first frame asked for until the last file is closed. finish_seconds: waiting for the keyframe
    under way and adjusting all. stats: as in stats.json."""

    collected: Collector
    seconds: float
    finish_seconds: float
    stats: dict[str, Any]
    image_hw: tuple[int, int] | None


def run_tracked(
    source: Source,
    reconstructor: AnyReconstructor,
    *,
    plan: WindowPlan | None = None,
    max_frames: int | None = None,
    out: Path | None = None,
    adjusts_all: bool = True,
    sinks: Sequence[Sink] = (),
) -> TrackedRun:
    """Run a source to its end, and close it. out: folder for the files of `spark3r run --out`; None: no files."""
    clock, collector, timed = SystemClock(), Collector(), _Timed(reconstructor)
    stats = RunStats(clock, source.info.name, reconstructor.facts.name)
    all_sinks: list[Sink] = [collector, *sinks]
    began = time.monotonic()
    writer = files = None
    if out is not None:
        writer = ResultWriter(out)
        files = FilesSink(writer, lossless=not source.info.is_live)
        all_sinks.append(files)
    engine = EngineConfig(plan or WindowPlan(1, 1), max_frames=max_frames, adjusts_all=adjusts_all)
    try:
        for _ in stream_steps(source, timed, all_sinks, engine, stats, clock, threading.Event()):
            pass
    finally:
        source.close()
        if files is not None and writer is not None:
            files.close()
            writer.close(stats.as_dict())
    return TrackedRun(
        collector, time.monotonic() - began, timed.finish_seconds, stats.as_dict(), reconstructor.image_hw
    )


def states_of(results: Sequence[FrameResult]) -> dict[str, int]:
    """Frames by state; those without a valid pose count as FAILED."""
    return dict(Counter(one.state.name if one.valid else "FAILED" for one in results))


def path_numbers(
    poses: dict[int, Array], frames: NDArray[np.int64], truth: Array, distance: int
) -> dict[str, float] | None:
    """ATE after one Sim(3), over the spread and over the path, and the relative rotation error `distance` apart.

    frames, truth: (n,) ids and (n, 4, 4) of the frames with a true pose. None where too few of them have an estimate.
    """
    known = np.array([int(frame) in poses for frame in frames], bool)
    if known.sum() <= distance:
        return None
    estimate = np.stack([poses[int(frame)] for frame in frames[known]])
    true = truth[known]
    ate = metrics.ate(estimate, true)[0]
    return {
        "frames": int(known.sum()),
        "ate": ate["rmse"],
        "ate_of_spread": ate["of_spread"],
        "ate_of_path": ate["of_path"],
        f"rotation_{distance}_apart_deg": metrics.rpe(estimate, true, distance)["rotation_deg"],
    }


def focal_at(results: Sequence[FrameResult], frame_id: int) -> float | None:
    """Focal length in pixels that was published with a frame, or with the last one before it; None without any."""
    found = [one.camera.matrix[0, 0] for one in results if one.camera is not None and one.frame_id <= frame_id]
    return float(found[-1]) if found else None
