"""What a stream says about its frames: estimates of one window, checked, and brought into the gauge of the map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from spark3r_core.errors import GeometryError
from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.models.interface import Prediction
from spark3r_core.stream.gauge import align_window, thin_depth


@dataclass(frozen=True)
class FrameEstimate:
    """Geometry of one frame in the gauge that the memory carries.

    index: number of the frame within the session; counted from 0 again when nothing of the beginning could be kept.
    world_from_camera: (4, 4) float64, OpenCV axes, model units. intrinsics: (3, 3) in pixels of the network input.
    depth: (h, w) float32 z-depth. confidence: (h, w) float32 in (0, 1).
    failure: why the estimate is not valid; None when it is.
    aligned: False when the window could not be brought into the map's gauge; its numbers may be finite then.
    """

    index: int
    world_from_camera: np.ndarray
    intrinsics: np.ndarray
    depth: np.ndarray
    confidence: np.ndarray
    failure: str | None = None
    aligned: bool = True

    @property
    def valid(self) -> bool:
        return self.failure is None


@dataclass(frozen=True)
class WindowResult:
    """What one step gave.

    frames: an estimate per new frame, in order.
    support: indices of the frames run again with them. admitted: new frames that were kept.
    evicted: frames that later windows neither read nor run again any more.
    support_shift: (rotation in degrees, translation over median depth), the largest change among the support frames
        against their first estimate: a health signal, zero in a consistent map; None without support frames. A
        consolidation gives it for the anchor and the newest kept frames.
    model_ns: wall time from images to results on the host.
    memory_used_bytes: at the fullest moment of this step, tokens of kept frames included.
    consolidated: frames that were computed jointly after this window, empty when nothing was.
    confirmed: for each new frame, whether its pixels confirm its pose; None where poses are the network's own.
    """

    frames: list[FrameEstimate]
    support: tuple[int, ...]
    admitted: tuple[int, ...]
    evicted: tuple[int, ...]
    support_shift: tuple[float, float] | None
    model_ns: int
    memory_used_bytes: int
    memory_limit_bytes: int
    consolidated: tuple[int, ...] = ()
    confirmed: tuple[bool, ...] | None = None


def estimates_of(indices: Sequence[int], prediction: Prediction) -> list[FrameEstimate]:
    """One transfer per tensor to the host, then a validity check per frame."""
    poses = prediction.world_from_camera[0].double().cpu().numpy()
    intrinsics = prediction.intrinsics[0].double().cpu().numpy()
    depth = prediction.depth[0].float().cpu().numpy()
    confidence = prediction.confidence[0].float().cpu().numpy()
    estimates = []
    named = (("pose", poses), ("intrinsics", intrinsics), ("depth", depth), ("confidence", confidence))
    for i, index in enumerate(indices):
        failure = None
        for name, arrays in named:
            if not np.isfinite(arrays[i]).all():
                failure = f"the network's {name} is not finite"
                break
        estimates.append(FrameEstimate(index, poses[i], intrinsics[i], depth[i], confidence[i], failure))
    return estimates


def into_gauge(
    again: Sequence[FrameEstimate],
    new: Sequence[FrameEstimate],
    first_poses: Sequence[np.ndarray],
    first_depths: Sequence[np.ndarray],
) -> tuple[list[FrameEstimate], np.ndarray, Sim3 | None]:
    """Move a window with a gauge of its own into the map's by its support frames; without any it is the map's.

    Args:
        again, new: estimates of support frames and new frames in the window's gauge.
        first_poses, first_depths: (4, 4) poses and thinned depths (`thin_depth`) of the support frames in the map's.

    Returns:
        The new frames in the map's gauge, the poses (n, 4, 4) of the support frames as of now, and what moved them:
        None when there was nothing to move by. When the window cannot be aligned, the new frames say so as their
        failure.
    """
    if not again:
        return list(new), np.zeros((0, 4, 4)), None
    poses = np.stack([estimate.world_from_camera for estimate in again])
    try:
        map_from_window = align_window(
            poses, np.stack(first_poses), [thin_depth(estimate.depth) for estimate in again], list(first_depths)
        )
    except GeometryError as error:
        reason = f"the window could not be aligned to the map: {error}"
        return [replace(estimate, failure=estimate.failure or reason, aligned=False) for estimate in new], poses, None
    return moved(new, map_from_window), map_from_window.apply_to_poses(poses), map_from_window


def moved(estimates: Sequence[FrameEstimate], map_from_window: Sim3) -> list[FrameEstimate]:
    """Estimates of a window in the map's gauge; those that failed stay as they are."""
    return [
        replace(
            estimate,
            world_from_camera=map_from_window.apply_to_poses(estimate.world_from_camera),
            depth=estimate.depth * np.float32(map_from_window.scale),
        )
        if estimate.valid
        else estimate
        for estimate in estimates
    ]
