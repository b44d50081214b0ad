"""The analytic room as a tracker sees it: pictures in bytes, pyramids, a keyframe's points."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spark3r_core.photometric.frame_residuals import KeyPoints
from spark3r_core.photometric.key_points import key_points
from spark3r_core.photometric.levels import Level, grey_levels
from tests.core.photometric.scene import Room, camera

Array = NDArray[np.float64]

HW = (144, 192)


def pictures(room: Room, poses: Array, hw: tuple[int, int] = HW) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """(n, H, W, 3) uint8 RGB and (n, H, W) exact depth along `poses`."""
    views = [room.render(pose, camera(hw), hw) for pose in poses]
    grey = np.stack([np.round(255 * image).astype(np.uint8) for image, _ in views])
    return np.repeat(grey[..., None], 3, -1), np.stack([depth for _, depth in views]).astype(np.float32)


def keyframe(picture: NDArray[np.uint8], depth: NDArray[np.float32]) -> tuple[list[Level], list[KeyPoints]]:
    pyramid = grey_levels(picture)
    return pyramid, key_points(pyramid, depth, camera(depth.shape))
