"""The sweep and its smoothing, one pixel at a time: what `sweep` and `semi_global` must agree with. Slow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spark3r_core.depth.sweep import LEAST_Z, NOISE, SIGMA
from spark3r_core.depth.views import View

Array = NDArray[np.float64]


def sweep(
    grey: NDArray[np.uint8],
    intrinsics: Array,
    views: Sequence[View],
    inverse_depth: NDArray[np.float32],
    steps: Array,
    window: int,
) -> Array:
    """(D, H, W) as `sweep.sweep`. A window is what the other picture shows of the points of its pixels."""
    seen_now = [_seen(intrinsics, view, inverse_depth) for view in views]
    cost = np.zeros((len(steps), *grey.shape))
    for number, step in enumerate(steps):
        warped = [_seen(intrinsics, view, inverse_depth * np.exp(-step)) for view in views]
        for row in range(grey.shape[0]):
            for column in range(grey.shape[1]):
                at = (row, column)
                costs = sorted(
                    _dissimilarity(grey.astype(float), picture, at, window) if inside[at] else 1.0
                    for picture, inside in warped
                )
                seers = max(1, sum(bool(inside[at]) for _, inside in seen_now))
                kept = -(-seers // 2)
                cost[(number, *at)] = np.mean(costs[:kept])
    return cost


def _seen(intrinsics: Array, view: View, inverse_depth: NDArray[np.floating]) -> tuple[Array, NDArray[np.bool_]]:
    """(H, W) what the view shows of each pixel's point, its edge repeated, and whether it sees it at all."""
    values, inside = np.zeros(inverse_depth.shape), np.zeros(inverse_depth.shape, bool)
    rows, columns = view.grey.shape
    for row in range(inverse_depth.shape[0]):
        for column in range(inverse_depth.shape[1]):
            ray = np.linalg.solve(intrinsics, [column + 0.5, row + 0.5, 1.0])
            point = view.camera_from_key[:3, :3] @ (ray / inverse_depth[row, column]) + view.camera_from_key[:3, 3]
            u, v, z = view.intrinsics @ point
            z = max(z, LEAST_Z / inverse_depth[row, column])
            x, y = u / z - 0.5, v / z - 0.5
            inside[row, column] = 0 <= x <= columns - 1 and 0 <= y <= rows - 1
            x, y = np.clip(x, 0, columns - 1), np.clip(y, 0, rows - 1)
            left, top = min(int(x), columns - 2), min(int(y), rows - 2)
            a, b = x - left, y - top
            four = view.grey[top : top + 2, left : left + 2].astype(float)
            values[row, column] = np.array([1 - b, b]) @ four @ np.array([1 - a, a])
    return values, inside


def _dissimilarity(here: Array, there: Array, at: tuple[int, int], window: int) -> float:
    """One minus the weighted, zero-mean normalised cross-correlation of windows (edges repeated), at most 1."""
    reach = np.arange(window) - window // 2
    bell = np.exp(-0.5 * np.square(reach / (window * SIGMA)))
    weight = np.outer(bell, bell) / bell.sum() ** 2
    rows = np.clip(at[0] + reach, 0, here.shape[0] - 1)
    columns = np.clip(at[1] + reach, 0, here.shape[1] - 1)
    a, b = here[np.ix_(rows, columns)], there[np.ix_(rows, columns)]
    a, b = a - (weight * a).sum(), b - (weight * b).sum()
    scale = np.sqrt(((weight * a * a).sum() + NOISE**2) * ((weight * b * b).sum() + NOISE**2))
    return float(min(1.0, 1.0 - (weight * a * b).sum() / scale))


def aggregate(cost: Array, grey: NDArray[np.uint8], small: float, large: float, contrast: float) -> Array:
    """(D, H, W) as `semi_global.aggregate`."""
    steps, height, width = cost.shape
    total = np.zeros(cost.shape)
    for down, right in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        path = np.zeros(cost.shape)
        rows = range(height) if down >= 0 else range(height - 1, -1, -1)
        columns = range(width) if right >= 0 else range(width - 1, -1, -1)
        for row in rows:
            for column in columns:
                before = (row - down, column - right)
                path[:, row, column] = cost[:, row, column]
                if not (0 <= before[0] < height and 0 <= before[1] < width):
                    continue
                change = abs(float(grey[row, column]) - float(grey[before]))
                jump = max(large / (1 + change / contrast), small)
                old = path[(slice(None), *before)]
                for step in range(steps):
                    ways = [old[step], old.min() + jump]
                    ways += [old[other] + small for other in (step - 1, step + 1) if 0 <= other < steps]
                    path[step, row, column] += min(ways) - old.min()
        total += path
    return total / 4
