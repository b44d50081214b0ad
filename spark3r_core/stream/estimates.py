"""What a stream says about its frames: estimates of one window, checked, and brought into the gauge of the map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from spark3r_core.geometry.camera import with_square_pixels
from spark3r_core.geometry.sim3 import Sim3

if TYPE_CHECKING:
    from spark3r_core.models.interface import Prediction


@dataclass(frozen=True)
class FrameEstimate:
    """Geometry of one frame, in the map unless a function says otherwise.

    frame_id: the caller's number of the frame.
    world_from_camera: (4, 4) float64, OpenCV axes, model units. intrinsics: (3, 3) in pixels of the network input.
    depth: (h, w) float32 z-depth. confidence: (h, w) float32 in (0, 1).
    failure: why the estimate is not valid; None when it is.
    aligned: False when the window could not be brought into the map's gauge; its numbers may be finite then.
    """

    frame_id: int
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
    support: ids of the frames run again with them. admitted: new frames that were kept.
    evicted: frames that later windows neither read nor run again any more.
    support_shift: (rotation in degrees, translation over median depth), the largest change among the support frames
        against the published map: a health signal, zero in a consistent one; None without support frames. A
        consolidation gives it for the anchor and the newest kept frames.
    step_ns: wall time from images to results on the host; refine_ns: the share of it that refinement took.
    memory_used_bytes: at the fullest moment of this step, tokens of kept frames included.
    consolidated: frames that were computed jointly after this window, empty when nothing was.
    confirmed: for each new frame, whether its pixels confirm its pose; None where poses are the network's own.
    """

    frames: list[FrameEstimate]
    support: tuple[int, ...]
    admitted: tuple[int, ...]
    evicted: tuple[int, ...]
    support_shift: tuple[float, float] | None
    step_ns: int
    refine_ns: int
    memory_used_bytes: int
    memory_limit_bytes: int
    consolidated: tuple[int, ...] = ()
    confirmed: tuple[bool, ...] | None = None


def estimates_of(frame_ids: Sequence[int], prediction: Prediction) -> list[FrameEstimate]:
    """One transfer per tensor to the host, then a validity check per frame."""
    poses = prediction.world_from_camera[0].double().cpu().numpy()
    intrinsics = prediction.intrinsics[0].double().cpu().numpy()
    depth = prediction.depth[0].float().cpu().numpy()
    confidence = prediction.confidence[0].float().cpu().numpy()
    estimates = []
    named = (("pose", poses), ("intrinsics", intrinsics), ("depth", depth), ("confidence", confidence))
    for i, frame_id in enumerate(frame_ids):
        failure = None
        for name, arrays in named:
            if not np.isfinite(arrays[i]).all():
                failure = f"the network's {name} is not finite"
                break
        estimates.append(FrameEstimate(frame_id, poses[i], intrinsics[i], depth[i], confidence[i], failure))
    return estimates


def square(estimate: FrameEstimate, pixel_map: np.ndarray) -> FrameEstimate:
    """The estimate with one focal length, see `with_square_pixels`; one that failed stays as it is."""
    if not estimate.valid:
        return estimate
    return replace(estimate, intrinsics=with_square_pixels(estimate.intrinsics, pixel_map))


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
