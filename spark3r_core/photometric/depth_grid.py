"""A smooth correction of a depth map: log scale on a coarse grid, bilinear in between.

A network's depth is right in detail and wrong in the large: a wall too near, a floor tilted. Such errors take few
numbers to mend, so that poses and the correction can be solved for together (a depth basis, as in CodeSLAM or BA-Net,
here fixed: hat functions).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]

COLUMNS, ROWS = 6, 5
NODES = COLUMNS * ROWS
NODE_PRECISION = 33.0  # a node's prior: 0.17 in log depth (1 / 0.17²), against whitened pixels
FIT_PRECISION = 10.0  # of a node when corrections are read off known points: holds those that see none
FIT_HUBER = 0.2  # log depth; beyond, a point belongs to another surface
MIN_DEPTH = 1e-6


def weights(u: Tensor, v: Tensor) -> Tensor:
    """(N, NODES) bilinear weights of places (u, v), fractions of width and height in [0, 1]; each row sums to one."""
    return (_hats(v, ROWS)[:, :, None] * _hats(u, COLUMNS)[:, None]).flatten(1)


def weights_numpy(u: Array, v: Array) -> NDArray[np.float32]:
    """`weights` without torch."""
    columns = np.maximum(1 - np.abs(u[:, None] * (COLUMNS - 1) - np.arange(COLUMNS)), 0)
    rows = np.maximum(1 - np.abs(v[:, None] * (ROWS - 1) - np.arange(ROWS)), 0)
    return (rows[:, :, None] * columns[:, None]).reshape(len(u), NODES).astype(np.float32)


def factors(nodes: Array, height: int, width: int) -> NDArray[np.float32]:
    """(height, width) what `nodes` multiply a depth map by."""
    rows, columns = (torch.arange(count) + 0.5 for count in (height, width))
    grid = torch.from_numpy(nodes).float().view(ROWS, COLUMNS)
    return (_hats(rows / height, ROWS) @ grid @ _hats(columns / width, COLUMNS).T).exp().numpy()


def _hats(x: Tensor, count: int) -> Tensor:
    return (1 - (x[:, None] * (count - 1) - torch.arange(count, dtype=x.dtype)).abs()).clamp_min(0)


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
    u, v = torch.from_numpy(places).float().T
    basis = weights(u, v).double().numpy()
    error = log_ratio - scale
    trust = FIT_HUBER / np.maximum(np.abs(error), FIT_HUBER)
    weighted = basis * trust[:, None]
    information = weighted.T @ basis
    nodes = np.linalg.solve(information + FIT_PRECISION * np.eye(NODES), weighted.T @ error)
    return scale, nodes, information


def prior_precision() -> NDArray[Any]:
    """(NODES, NODES) of a depth map that nothing but the network vouches for."""
    return NODE_PRECISION * np.eye(NODES)
