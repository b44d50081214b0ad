"""The one tie between a window and the map: a similarity from the frames that both have.

A window's estimates are in a gauge of their own: that of the network's anchor, or none at all (pi3). The frames that a
window shares with the map (its support frames) are estimated twice: as published, and now. Their depths give the scale,
their poses rotation and translation. What is left over after that is a health signal.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spark3r_core.geometry.alignment import align_poses, robust_scale
from spark3r_core.geometry.rotation import nearest_rotation
from spark3r_core.geometry.sim3 import Sim3

MAX_DEPTH_SAMPLES = 4096


def thin_depth(depth: np.ndarray) -> np.ndarray:
    """About MAX_DEPTH_SAMPLES values of a depth map, on a regular grid: enough for a median."""
    step = max(1, int(np.sqrt(depth.size / MAX_DEPTH_SAMPLES)))
    return np.ascontiguousarray(depth[::step, ::step])


def align_window(
    source_poses: np.ndarray,
    target_poses: np.ndarray,
    source_depths: Sequence[np.ndarray],
    target_depths: Sequence[np.ndarray],
) -> Sim3:
    """target_from_source for one window, from n >= 1 shared frames.

    Args:
        source_poses, target_poses: (n, 4, 4) world_from_camera in the window's gauge and in the map's.
        source_depths, target_depths: the same pixels' depths in both, per shared frame (see `thin_depth`).

    The scale is the median over all shared pixels of target depth over source depth: it holds for a still camera too,
    where the distances between cameras say nothing. Rotation and translation come from the poses with that scale
    (Huber weights; one shared frame determines them exactly).

    Raises GeometryError when the depths have too few usable pixels or a pose is not finite.
    """
    scale = robust_scale(
        np.concatenate([depth.ravel() for depth in source_depths]),
        np.concatenate([depth.ravel() for depth in target_depths]),
    )
    if len(source_poses) > 1:
        return align_poses(source_poses, target_poses, scale=scale).target_from_source
    rotation = nearest_rotation(target_poses[0, :3, :3] @ source_poses[0, :3, :3].T)
    return Sim3(scale, rotation, target_poses[0, :3, 3] - scale * rotation @ source_poses[0, :3, 3])
