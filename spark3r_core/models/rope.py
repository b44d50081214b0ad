"""Rotary position embeddings of the four families, as tables made once per grid.

Both kinds rotate pairs of head elements; they differ in which elements form a pair and in what a position is:

- axial (VGGT, π³, DA3): integer positions, special tokens at (0, 0); the first half of the head is turned by the row,
  the second by the column, and pairs lie inside each half;
- Omega: coordinates in [-1, 1], periods from the checkpoint, pairs across the whole head.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rope:
    """cos and sin of the angle of every pair: (T, groups, pairs) with groups * 2 * pairs = head width."""

    cos: Tensor
    sin: Tensor

    def apply(self, x: Tensor) -> Tensor:
        """Rotate x (..., T, head_dim); each group is cut in two halves whose equal positions form the pairs."""
        groups, pairs = self.cos.shape[-2:]
        a, b = x.unflatten(-1, (groups, 2, pairs)).unbind(-2)
        rotated = (a * self.cos - b * self.sin, b * self.cos + a * self.sin)
        return torch.stack(rotated, dim=-2).flatten(-3)


def grid_positions(
    height: int, width: int, special_tokens: int, device: torch.device | str | None = None
) -> tuple[Tensor, Tensor]:
    """Rows and columns (T,) of one frame: (0, 0) for special tokens, (row + 1, column + 1) for patches row by row."""
    row = torch.arange(1, height + 1, device=device).repeat_interleave(width)
    column = torch.arange(1, width + 1, device=device).repeat(height)
    zero = torch.zeros(special_tokens, dtype=row.dtype, device=device)
    return torch.cat((zero, row)), torch.cat((zero, column))


def axial_rope(row: Tensor, column: Tensor, head_dim: int, base: float = 100.0) -> Rope:
    """Tables for integer positions (T,): frequencies base^(-2j/d) with d = head_dim / 2, j < d / 2."""
    half = head_dim // 2
    if head_dim % 4:
        raise ValueError(f"axial RoPE needs a head width divisible by 4, not {head_dim}")
    exponent = torch.arange(0, half, 2, device=row.device, dtype=torch.float32) / half
    frequency = 1.0 / base**exponent
    angle = torch.stack((row, column), dim=-1)[..., None].float() * frequency  # (T, 2, half / 2)
    return Rope(angle.cos(), angle.sin())


def omega_rope(height: int, width: int, special_tokens: int, periods: Tensor) -> Rope:
    """Tables of VGGT-Omega: both axes are divided by the longer side, special tokens are not rotated.

    Args:
        periods: (head_dim / 4,) stored in the checkpoint.
    """
    longer = max(height, width)
    row = (torch.arange(height, device=periods.device, dtype=torch.float32) + 0.5) / longer * 2 - 1
    column = (torch.arange(width, device=periods.device, dtype=torch.float32) + 0.5) / longer * 2 - 1
    positions = torch.stack((row.repeat_interleave(width), column.repeat(height)), dim=-1)  # (P, 2)
    angle = (2 * math.pi * positions[..., None] / periods.float()).flatten(-2)  # (P, head_dim / 2): rows, then columns
    angle = torch.cat((angle.new_zeros(special_tokens, angle.shape[-1]), angle))[:, None]
    return Rope(angle.cos(), angle.sin())


Table = TypeVar("Table")


class TableCache(Generic[Table]):
    """Keeps the last few tables a model has built, so that a stream of equal frames builds each once.

    Holds nothing that is trained. Tables are rebuilt when the key (grid, device, …) is new.
    """

    def __init__(self, capacity: int = 8) -> None:
        self._capacity = capacity
        self._tables: dict[Hashable, Table] = {}

    def get(self, key: Hashable, build: Callable[[], Table]) -> Table:
        table = self._tables.get(key)
        if table is None:
            # a table made under inference_mode could not be used by a later training step
            with torch.inference_mode(False), torch.no_grad():
                table = build()
            if len(self._tables) >= self._capacity:
                self._tables.pop(next(iter(self._tables)))
            self._tables[key] = table
        return table
