"""A smooth correction of a depth map: log scale on a coarse grid, bilinear in between.

A network's depth is right in detail and wrong in the large: a wall too near, a floor tilted. Such errors take few
numbers to mend, so that poses and the correction can be solved for together (a depth basis, as in CodeSLAM or BA-Net,
here fixed: hat functions).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

COLUMNS, ROWS = 6, 5
NODES = COLUMNS * ROWS
NODE_PRECISION = 33.0  # a node's prior: 0.17 in log depth (1 / 0.17²), against whitened pixels
FIT_PRECISION = 10.0  # of a node when corrections are read off known points: holds those that see none
FIT_HUBER = 0.2  # log depth; beyond, a point belongs to another surface
MIN_DEPTH = 1e-6
KNOWN_STEP = 2  # pixels, of which one is asked whether its depth is known


def weights_numpy(u: Array, v: Array) -> NDArray[np.float32]:
    """(N, NODES) bilinear weights of places (u, v), fractions of width and height in [0, 1]; each row sums to one."""
    columns = np.maximum(1 - np.abs(u[:, None] * (COLUMNS - 1) - np.arange(COLUMNS)), 0)
    rows = np.maximum(1 - np.abs(v[:, None] * (ROWS - 1) - np.arange(ROWS)), 0)
    return (rows[:, :, None] * columns[:, None]).reshape(len(u), NODES).astype(np.float32)


def factors(nodes: Array, height: int, width: int) -> NDArray[np.float32]:
    """(height, width) what `nodes` multiply a depth map by."""
    rows, columns = ((np.arange(count, dtype=np.float32) + np.float32(0.5)) / count for count in (height, width))
    grid = nodes.astype(np.float32).reshape(ROWS, COLUMNS)
    return np.exp(_hats(rows, ROWS) @ grid @ _hats(columns, COLUMNS).T)


def _hats(x: NDArray[Any], count: int) -> NDArray[Any]:
    """(N, count) weights of nodes along one side, in the type of x."""
    return np.maximum(1 - np.abs(x[:, None] * (count - 1) - np.arange(count, dtype=x.dtype)), 0)


def fit(log_ratio: Array, places: Array) -> tuple[float, Array, Array]:
    """Scale and correction that take a depth map to known points.

    Args:
        log_ratio: (N,) log of a point's depth over that of the map at its place.
        places: (N, 2) where, as fractions of width and height.

    Returns:
        Median log scale, node values (NODES,) beyond it, and their information (NODES, NODES): how well the points
        know the nodes.
    """
    scale = float(np.median(log_ratio))
    u, v = places.astype(np.float32).T
    basis = (_hats(v, ROWS)[:, :, None] * _hats(u, COLUMNS)[:, None]).reshape(-1, NODES).astype(np.float64)
    error = log_ratio - scale
    trust = FIT_HUBER / np.maximum(np.abs(error), FIT_HUBER)
    weighted = basis * trust[:, None]
    information = weighted.T @ basis
    nodes = np.linalg.solve(information + FIT_PRECISION * np.eye(NODES), weighted.T @ error)
    return scale, nodes, information


def information_of(known: NDArray[np.bool_], precision: float) -> Array:
    """(NODES, NODES) of a depth map that is known where `known` (H, W) says, to this precision of each node around
    which all of it is."""
    height, width = known.shape
    rows, columns = np.nonzero(known[::KNOWN_STEP, ::KNOWN_STEP])
    weights = weights_numpy((KNOWN_STEP * columns + 0.5) / width, (KNOWN_STEP * rows + 0.5) / height).astype(np.float64)
    places = -(-height // KNOWN_STEP) * -(-width // KNOWN_STEP)
    return np.asarray(precision * NODES / places * (weights.T @ weights), np.float64)


def prior_precision() -> NDArray[Any]:
    """(NODES, NODES) of a depth map that nothing but the network vouches for."""
    return NODE_PRECISION * np.eye(NODES)
