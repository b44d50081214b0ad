"""Depth of keyframes where the map's points have it since: see `stream.depth_bends`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

Bends = Mapping[int, Array]
"""By keyframe, where known: the logarithm of the factor of its depth on a grid (rows, columns) from corner to corner of
the picture, bilinear in between."""


def log_factors(bends: Bends, keyframe_id: int, fractions: ArrayLike) -> Array:
    """(N,) the logarithm of the factor at places (N, 2), as fractions of width and height; zero where none is known."""
    places = np.clip(np.asarray(fractions, np.float64), 0, 1)
    grid = bends.get(keyframe_id)
    if grid is None:
        return np.zeros(len(places))
    at = places * (np.array(grid.shape[::-1]) - 1)
    low = np.minimum(at.astype(int), np.array(grid.shape[::-1]) - 2)
    (x, y), (column, row) = (at - low).T, low.T
    above, below = ((1 - x) * grid[r, column] + x * grid[r, column + 1] for r in (row, row + 1))
    return np.asarray((1 - y) * above + y * below, np.float64)


def mean_log_factor(bends: Bends, keyframe_id: int) -> float:
    """Over the picture."""
    grid = bends.get(keyframe_id)
    return 0.0 if grid is None else float(grid.mean())
