"""Smooth choice of a step at each pixel: semi-global matching (Hirschmüller 2008), four paths, in plain numpy.

`reference.aggregate` says the same one pixel at a time, `on_device.aggregate` by torch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]


def aggregate(cost: Image, grey: NDArray[np.uint8], small: float, large: float, contrast: float) -> Image:
    """Sum of the costs of the cheapest paths to each pixel and step from four sides, (D, H, W), over four.

    Args:
        cost: (D, H, W) of each step.
        grey: (H, W) uint8. Where it changes by `contrast` grey levels, a jump costs half.
        small: what a change by one step costs; large: what any other jump does.
    """
    total = np.empty_like(cost)
    by_row = np.ascontiguousarray(cost.transpose(1, 0, 2))  # (H, D, W): a row's costs lie together
    _both_ways(by_row, jumps(grey, 0, large, small, contrast), small)
    by_column = np.ascontiguousarray(cost.transpose(2, 0, 1))
    _both_ways(by_column, jumps(grey, 1, large, small, contrast), small)
    np.add(by_row.transpose(1, 0, 2), by_column.transpose(1, 2, 0), out=total)
    total *= np.float32(0.25)
    return total


def jumps(grey: NDArray[np.uint8], axis: int, large: float, small: float, contrast: float) -> Image:
    """(n - 1, m) cost of a jump between neighbouring lines along `axis`."""
    lines = grey.astype(np.float32) if axis == 0 else grey.T.astype(np.float32)
    change = np.abs(np.diff(lines, axis=0))
    return np.maximum(np.float32(large) / (1 + change / np.float32(contrast)), np.float32(small)).astype(np.float32)


def _both_ways(cost: Image, jump: Image, small: float) -> None:
    """Replace cost (n, D, m) by the sum of both directions' path costs along its first axis."""
    forth = _one_way(cost, jump, small)
    back = _one_way(cost[::-1], jump[::-1], small)
    np.add(forth, back[::-1], out=cost)


def _one_way(cost: Image, jump: Image, small: float) -> Image:
    path = np.empty(cost.shape, np.float32)
    path[0] = cost[0]
    best = np.empty_like(path[0])
    near = np.empty_like(path[0])
    step = np.float32(small)
    for line in range(1, len(cost)):
        before = path[line - 1]
        lowest = before.min(0)
        np.add(before, step, out=near)
        best[:] = before
        np.minimum(best[1:], near[:-1], out=best[1:])
        np.minimum(best[:-1], near[1:], out=best[:-1])
        np.minimum(best, lowest + jump[line - 1], out=best)
        best -= lowest
        np.add(cost[line], best, out=path[line])
    return path


def choose(total: Image, steps: NDArray[np.float64]) -> tuple[Image, NDArray[np.int64]]:
    """The cheapest step of each pixel, (H, W), refined between steps by a parabola, and its number.

    total: (D, H, W) aggregated; steps: (D,) evenly spaced.
    """
    number = total.argmin(0)
    inner = np.clip(number, 1, len(steps) - 2)
    before, here, after = (_at(total, inner + shift) for shift in (-1, 0, 1))
    bend = before - 2 * here + after
    shift = np.where(bend > 1e-6, 0.5 * (before - after) / np.maximum(bend, np.float32(1e-6)), 0)
    shift = np.where(inner == number, np.clip(shift, -0.5, 0.5), 0)
    spacing = steps[1] - steps[0]
    return (steps[0] + (number + shift) * spacing).astype(np.float32), number


def _at(volume: Image, number: NDArray[np.int64]) -> Image:
    return np.take_along_axis(volume, number[None], 0)[0]
