"""`depth_grid.weights_numpy` of tensors, in their own precision."""

from __future__ import annotations

import torch
from torch import Tensor

from spark3r_core.photometric.depth_grid import COLUMNS, ROWS


def weights(u: Tensor, v: Tensor) -> Tensor:
    """(N, NODES) bilinear weights of places (u, v), fractions of width and height in [0, 1]; each row sums to one."""
    return (_hats(v, ROWS)[:, :, None] * _hats(u, COLUMNS)[:, None]).flatten(1)


def _hats(x: Tensor, count: int) -> Tensor:
    return (1 - (x[:, None] * (count - 1) - torch.arange(count, dtype=x.dtype)).abs()).clamp_min(0)
