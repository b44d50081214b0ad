"""The residual of one point in one frame at a time, in plain numbers: what `linearise` must agree with."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from spark3r_core.photometric.assumed import DEPTH_SIGMA, HUBER, INTENSITY_SIGMA, MIN_Z

Array = NDArray[np.float64]


def bilinear(image: Array, x: float, y: float) -> float:
    """Image (h, w) at x, y where the first pixel's centre is (0.5, 0.5)."""
    column, row = math.floor(x - 0.5), math.floor(y - 0.5)
    right, down = x - 0.5 - column, y - 0.5 - row
    above = (1 - right) * image[row, column] + right * image[row, column + 1]
    below = (1 - right) * image[row + 1, column] + right * image[row + 1, column + 1]
    return float((1 - down) * above + down * below)


def residual(
    ray: Array,
    depth: float,
    intensity: float,
    image: Array,
    camera_from_key: Array,
    gain: float,
    bias: float,
    log_correction: float,
    focal_xy: tuple[float, float],
    centre_xy: tuple[float, float],
    log_focal: float,
) -> tuple[float, float] | None:
    """Residual and weight in one frame's image (3, h, w); None where the point is not well inside.

    The ray was made with `focal_xy`, both cameras have e^log_focal times that.
    """
    wider = math.exp(log_focal)

    def project(z_of_key: float) -> tuple[float, float, float]:
        point = np.array([ray[0] / wider * z_of_key, ray[1] / wider * z_of_key, z_of_key])
        seen = camera_from_key[:3, :3] @ point + camera_from_key[:3, 3]
        if seen[2] <= MIN_Z:
            return math.nan, math.nan, float(seen[2])
        x = focal_xy[0] * wider * seen[0] / seen[2] + centre_xy[0]
        y = focal_xy[1] * wider * seen[1] / seen[2] + centre_xy[1]
        return x, y, float(seen[2])

    z = depth * math.exp(log_correction)
    x, y, seen_z = project(z)
    height, width = image.shape[1:]
    if seen_z <= MIN_Z or not (1.5 < x < width - 1.5 and 1.5 < y < height - 1.5):
        return None
    left = bilinear(image[0], x, y) - (gain * intensity + bias)
    step = 1e-5
    farther, nearer = project(z * math.exp(step)), project(z * math.exp(-step))
    by_depth = sum(
        bilinear(image[1 + axis], x, y) * (farther[axis] - nearer[axis]) / (2 * step) for axis in (0, 1)
    )  # of the intensity, by log depth
    variance = INTENSITY_SIGMA**2 + (by_depth * DEPTH_SIGMA) ** 2
    sigmas = abs(left) / math.sqrt(variance)
    return left, min(1.0, HUBER / sigmas if sigmas else 1.0) / variance
