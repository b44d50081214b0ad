"""Cross-frame attention of a stream: the window's queries read [memory pages | window pages]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch.nn.functional as F
from torch import Tensor

from spark3r_core.models.interface import CrossLayer


class WindowMemory(Protocol):
    """What the plan needs of a memory with an open window (KVMemory, DenseMemory)."""

    layers: list[CrossLayer]

    def write(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]: ...


class Streaming:
    """Plan over a memory whose window is open; queries stay whole (a live window is short)."""

    def __init__(self, memory: WindowMemory) -> None:
        self.memory = memory

    def begin(self, frames: int, cross_layers: Sequence[CrossLayer]) -> None:
        del frames
        if list(cross_layers) != self.memory.layers:
            raise ValueError("this memory was laid out for another model or image size")

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, *, q_unrotated: Tensor | None = None) -> Tensor:
        del q_unrotated
        keys, values = self.memory.write(layer, k, v)
        return F.scaled_dot_product_attention(q.to(keys.dtype), keys, values).to(q.dtype)
