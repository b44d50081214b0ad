"""Which pixels of a keyframe others are aligned to, in numpy: the strongest gradient of each cell, with its depth."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spark3r_core.photometric import depth_grid
from spark3r_core.photometric.assumed import DEPTH_SIGMA, MIN_DEPTH, MIN_GRADIENT, POINTS
from spark3r_core.photometric.frame_residuals import KeyPoints
from spark3r_core.photometric.levels import Level

Array = NDArray[np.float64]
Floats = NDArray[np.float32]


def key_points(
    pyramid: Sequence[Level], depth: Floats, intrinsics: Array, depth_sigma: Floats | None = None
) -> list[KeyPoints]:
    """Per level, finest first. depth: (H, W) of the finest; intrinsics: (3, 3) in its pixels. depth_sigma: (H, W) of
    log depth; None: the usual one everywhere."""
    return [_of_level(level, depth, intrinsics, depth_sigma, index) for index, level in enumerate(pyramid)]


def _of_level(level: Level, depth: Floats, intrinsics: Array, depth_sigma: Floats | None, index: int) -> KeyPoints:
    height, width = level.size_hw
    cell = max(1, round(math.sqrt(height * width / POINTS[min(index, len(POINTS) - 1)])))
    rows, columns = height // cell, width // cell
    gradients = level.channels[: rows * cell, : columns * cell, 1:]
    strength = np.square(gradients[..., 0]) + np.square(gradients[..., 1])
    cells = strength.reshape(rows, cell, columns, cell).swapaxes(1, 2).reshape(rows * columns, cell * cell)
    inside = cells.argmax(1)
    number = np.arange(rows * columns)
    v, u = number // columns * cell + inside // cell, number % columns * cell + inside % cell
    step = 2**index
    rows_full = np.minimum(v * step + step // 2, depth.shape[0] - 1)
    columns_full = np.minimum(u * step + step // 2, depth.shape[1] - 1)
    z = depth[rows_full, columns_full]
    usable = (cells[number, inside] > MIN_GRADIENT**2) & np.isfinite(z) & (z > MIN_DEPTH)
    u, v, z = u[usable], v[usable], z[usable]
    sigma = DEPTH_SIGMA if depth_sigma is None else depth_sigma[rows_full, columns_full][usable]
    fx, fy, cx, cy = (float(intrinsics[i]) / step for i in ((0, 0), (1, 1), (0, 2), (1, 2)))
    rays = np.stack([(u + 0.5 - cx) / fx, (v + 0.5 - cy) / fy, np.ones(len(u))], -1).astype(np.float32)
    basis = depth_grid.weights_numpy((u + 0.5) / width, (v + 0.5) / height)
    return KeyPoints(
        rays, z.astype(np.float32), level.channels[v, u, 0], basis, (fx, fy), (cx, cy), (height, width), sigma
    )
