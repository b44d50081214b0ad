"""The sweep and its smoothing by torch, for a GPU: what `sweep` and `semi_global` do by OpenCV and numpy on a CPU.

All steps of depth of one view are computed at once; the two directions of a path together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from spark3r_core.depth import semi_global
from spark3r_core.depth.sweep import GREY_UNIT, LEAST_Z, NOISE, SIGMA, projections
from spark3r_core.depth.views import View

Array = NDArray[np.float64]
Image = NDArray[np.float32]


def sweep(
    grey: NDArray[np.uint8],
    intrinsics: Array,
    views: Sequence[View],
    inverse_depth: Image,
    steps: Array,
    window: int,
    device: torch.device,
) -> Image:
    """(D, H, W) as `sweep.sweep`."""
    size_hw = (grey.shape[0], grey.shape[1])
    here = _centred(grey, device)
    mean, variance = _moments(here[None], window)
    base = torch.from_numpy(inverse_depth).to(device)
    factors = torch.exp(-torch.from_numpy(np.asarray(steps, np.float32))).to(device)
    costs, seers = [], torch.zeros(size_hw, device=device)
    for view in views:
        maps, offset = projections(intrinsics, view, size_hw)
        a = torch.from_numpy(np.stack(maps)).to(device)
        b = torch.from_numpy(offset.astype(np.float32)).to(device)
        picture = _centred(view.grey, device)
        there = _seen(picture, *_places(a, b, factors[:, None, None] * base))
        costs.append(_dissimilarity(here, mean, variance, there, window))
        seers += _inside(picture, *_places(a, b, base[None]))[0]
    kept = torch.ceil(seers.clamp(min=1) / 2)
    ordered = torch.stack(costs).sort(0).values
    places = torch.arange(len(costs), device=device)[:, None, None, None]
    return _numpy((ordered * (places < kept)).sum(0) / kept)


def aggregate(
    cost: Image, grey: NDArray[np.uint8], small: float, large: float, contrast: float, device: torch.device
) -> Image:
    """(D, H, W) as `semi_global.aggregate`."""
    costs = torch.from_numpy(cost).to(device)
    total = torch.zeros_like(costs)
    for axis in (0, 1):
        jumps = torch.from_numpy(semi_global.jumps(grey, axis, large, small, contrast)).to(device)
        lines = costs.permute(1, 0, 2) if axis == 0 else costs.permute(2, 0, 1)
        forth, back = _paths(torch.stack([lines, lines.flip(0)], 1), torch.stack([jumps, jumps.flip(0)], 1), small)
        both = forth + back.flip(0)
        total += both.permute(1, 0, 2) if axis == 0 else both.permute(1, 2, 0)
    return _numpy(total / 4)


def _paths(lines: Tensor, jumps: Tensor, small: float) -> tuple[Tensor, Tensor]:
    """Costs of the cheapest paths along the first axis, (n, D, m) each. lines: (n, 2, D, m); jumps: (n - 1, 2, m)."""
    path = [lines[0]]
    for line in range(1, len(lines)):
        before = path[-1]
        lowest = before.amin(1, keepdim=True)
        best = torch.minimum(before, lowest + jumps[line - 1, :, None])
        best[:, 1:] = torch.minimum(best[:, 1:], before[:, :-1] + small)
        best[:, :-1] = torch.minimum(best[:, :-1], before[:, 1:] + small)
        path.append(lines[line] + best - lowest)
    forth, back = torch.stack(path, 1)
    return forth, back


def _places(a: Tensor, b: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """(D, H, W) column and row, first pixel's centre at 0, of points of inverse depth w. a: (3, H, W); b: (3,)."""
    u, v, z = (a[axis] + b[axis] * w for axis in range(3))
    below = z.clamp(min=LEAST_Z)
    return u / below, v / below


def _inside(picture: Tensor, column: Tensor, row: Tensor) -> Tensor:
    rows, columns = picture.shape
    return (column >= 0) & (column <= columns - 1) & (row >= 0) & (row <= rows - 1)


def _seen(picture: Tensor, column: Tensor, row: Tensor) -> Tensor:
    """(D, H, W) the picture at these places, nan beyond its edge."""
    rows, columns = picture.shape
    grid = torch.stack([column * (2 / (columns - 1)) - 1, row * (2 / (rows - 1)) - 1], -1)
    many = picture.expand(len(grid), 1, rows, columns)
    seen = functional.grid_sample(many, grid.clamp(-2, 2), padding_mode="border", align_corners=True)[:, 0]
    return torch.where(_inside(picture, column, row), seen, torch.nan)


def _centred(grey: NDArray[np.uint8], device: torch.device) -> Tensor:
    return (torch.from_numpy(np.ascontiguousarray(grey)).to(device, torch.float32) - 128) / GREY_UNIT


def _average(images: Tensor, window: int) -> Tensor:
    """(N, H, W) weighted averages over windows, edges repeated. By sums, as convolutions on a GPU may round to TF32,
    which is too coarse for variances."""
    reach = np.arange(window) - window // 2
    bell = np.exp(-0.5 * np.square(reach / (window * SIGMA)))
    bell /= bell.sum()
    margin, (height, width) = window // 2, images.shape[1:]
    wide = functional.pad(images[:, None], (margin, margin, margin, margin), mode="replicate")[:, 0]
    across = sum(
        (float(share) * wide[:, :, at : at + width] for at, share in enumerate(bell)),
        torch.zeros_like(wide[:, :, :width]),
    )
    return sum((float(share) * across[:, at : at + height] for at, share in enumerate(bell)), torch.zeros_like(images))


def _moments(images: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """(N, H, W) mean and variance over windows, the variance of noise added."""
    mean = _average(images, window)
    return mean, _average(images**2, window) - mean**2 + (NOISE / GREY_UNIT) ** 2


def _dissimilarity(here: Tensor, mean: Tensor, variance: Tensor, there: Tensor, window: int) -> Tensor:
    """(D, H, W) one minus ZNCC, at most 1, and 1 of windows that are not seen whole. mean, variance: of here."""
    other_mean, other_variance = _moments(there, window)
    covariance = _average(here * there, window) - mean * other_mean
    cost = 1 - covariance / torch.sqrt(variance * other_variance)
    return torch.nan_to_num(cost, nan=1.0).clamp(max=1)


def _numpy(images: Tensor) -> Image:
    return np.ascontiguousarray(images.cpu().numpy(), np.float32)
