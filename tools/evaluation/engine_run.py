"""A sequence with ground truth through the whole engine but for decoding and transport, and what came out.

Windows are those of `spark3r run FILE --track off` (four new frames, anchor and newest frame again). Frames are read
once: OpenCV's odometry, when asked for, sees the same ones.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spark3r_core.memory.config import MemoryConfig
from spark3r_core.models.interface import Backbone
from spark3r_stream.engine.reconstructor import Reconstructor
from spark3r_stream.engine.scheduler import plan_window
from spark3r_stream.engine.split_window import split_window
from spark3r_stream.frame import Frame
from spark3r_stream.outputs.intrinsics_json import median_camera
from tools.evaluation import baselines, metrics
from tools.evaluation.depth_maps import depth_numbers, fov_error
from tools.evaluation.sequences import TrueSequence

Array = NDArray[np.float64]


@dataclass
class EngineRun:
    """What the engine made of a sequence.

    poses: world_from_camera (4, 4) by frame index, submaps placed in the map; frames without a valid pose are missing.
    depth, confidence: (h, w) of the frames whose true depth is known. cameras: of the source image, one per pose.
    odometry: OpenCV's poses of all frames (n, 4, 4) and how many it lost, where it was asked for.
    """

    poses: dict[int, Array] = field(default_factory=dict)
    depth: dict[int, Array] = field(default_factory=dict)
    confidence: dict[int, Array] = field(default_factory=dict)
    cameras: list[Any] = field(default_factory=list)
    submaps: int = 1
    model_seconds: float = 0.0
    wall_seconds: float = 0.0
    odometry: tuple[Array, int] | None = None


def run_engine(
    model: Backbone,
    sequence: TrueSequence,
    long_side: int | None = None,
    *,
    with_odometry: bool = False,
    refine: bool | None = None,
) -> EngineRun:
    """Stream every frame of the sequence through a fresh session of `model`.

    long_side: of the network input; refine: whether poses are refined photometrically; None: the model's own choice.
    Odometry needs the sequence's intrinsics.
    """
    new_frames = plan_window(is_live=False, window=None).max_frames
    reconstructor = Reconstructor(model, MemoryConfig(max_new_frames=new_frames), long_side, refine=refine)
    tracker = None
    if with_odometry and sequence.intrinsics is not None:
        tracker = baselines.VisualOdometry(sequence.intrinsics)
    tracked: list[Array] = []
    run = EngineRun()
    began = time.monotonic()
    for window in _windows(sequence, new_frames):
        for part in split_window(window):
            _collect(run, reconstructor, part, sequence)
        if tracker is not None:
            tracked += [tracker.track(frame.image) for frame in window]
    run.wall_seconds = time.monotonic() - began
    run.submaps = reconstructor.submap + 1
    if tracker is not None:
        run.odometry = (np.stack(tracked), tracker.lost)
    return run


def _windows(sequence: TrueSequence, size: int) -> Iterator[list[Frame]]:
    frames = (
        Frame(image, index, 0, int(stamp), int(stamp), sequence.name)
        for index, (image, stamp) in enumerate(zip(sequence.frames(), sequence.time_ns, strict=False))
    )
    while window := list(islice(frames, size)):
        yield window


def _collect(run: EngineRun, reconstructor: Reconstructor, frames: Sequence[Frame], sequence: TrueSequence) -> None:
    result = reconstructor.process(frames)
    if result.window is not None:
        run.model_seconds += (result.window.step_ns - result.window.refine_ns) / 1e9
    for output in result.outputs:
        frame = output.result
        if not frame.valid or frame.world_from_camera is None:
            continue
        run.poses[frame.frame_id] = output.map_from_submap.apply_to_poses(frame.world_from_camera)
        if frame.camera is not None:
            run.cameras.append(frame.camera)
        if frame.frame_id in sequence.depth and output.depth is not None:
            run.depth[frame.frame_id] = np.asarray(output.depth, np.float64)
            run.confidence[frame.frame_id] = np.asarray(result.confidence[frame.frame_id], np.float64)


def engine_numbers(run: EngineRun, sequence: TrueSequence, distance: int) -> tuple[dict[str, Any], Array]:
    """All numbers of an engine run, and its aligned poses. Raises ValueError when too few poses have a truth."""
    frames, truth = sequence.truth_of_frames()
    known = np.array([frame in run.poses for frame in frames], bool)
    if known.sum() <= distance:
        raise ValueError(f"{sequence.name}: {known.sum()} poses have a truth; expected more than {distance}")
    estimate = np.stack([run.poses[int(frame)] for frame in frames[known]])
    numbers, aligned = metrics.trajectory(estimate, truth[known], distance)
    numbers |= {"frames_missing": int((~known).sum()), "submaps": run.submaps}
    numbers |= {"model_seconds": run.model_seconds, "wall_seconds": run.wall_seconds}
    numbers |= depth_numbers(run.depth, run.confidence, sequence)
    if sequence.intrinsics is not None and run.cameras:
        numbers["fov_error"] = fov_error(median_camera(run.cameras), sequence.intrinsics)
    return numbers, aligned
