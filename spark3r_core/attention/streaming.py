"""Cross-frame attention of a stream: the window's queries read [memory pages | window pages]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from spark3r_core.attention import cpu_bfloat16
from spark3r_core.attention.plan import AttentionPlan
from spark3r_core.models.interface import CrossLayer


class WindowMemory(Protocol):
    """What the plans need of a memory with an open window (KVMemory, DenseMemory)."""

    layers: list[CrossLayer]

    def window(self, layer: int) -> tuple[int, ...]: ...

    def write(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]: ...


class Streaming:
    """Plan over a memory whose window is open; queries stay whole (a live window is short)."""

    def __init__(self, memory: WindowMemory) -> None:
        self.memory = memory

    def begin(self, frames: int, cross_layers: Sequence[CrossLayer]) -> None:
        del frames
        _check_layout(cross_layers, self.memory)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, *, q_unrotated: Tensor | None = None) -> Tensor:
        del q_unrotated
        keys, values = self.memory.write(layer, k, v)
        queries = q.to(keys.dtype)
        return cpu_bfloat16.fastest(queries, keys, values).to(q.dtype)


class Filling:
    """Plan of a joint pass that fills a memory: attention is another plan's, the pages are written beside it.

    Args:
        memory: with a swap open.
        frames: of the pass, in the order in which they are decoded; each layer takes the pages it has room for.
        plan: how these frames see each other (no page of the memory is read).
    """

    def __init__(self, memory: WindowMemory, frames: Sequence[int], plan: AttentionPlan) -> None:
        self.memory = memory
        self.frames = list(frames)
        self.plan = plan

    def begin(self, frames: int, cross_layers: Sequence[CrossLayer]) -> None:
        _check_layout(cross_layers, self.memory)
        self.plan.begin(frames, cross_layers)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, *, q_unrotated: Tensor | None = None) -> Tensor:
        taken = torch.tensor([self.frames.index(frame) for frame in self.memory.window(layer)], device=k.device)
        by_frame = (x.unflatten(2, (len(self.frames), -1)) for x in (k, v))
        self.memory.write(layer, *(x.index_select(2, taken).flatten(2, 3) for x in by_frame))
        return self.plan.attend(layer, q, k, v, q_unrotated=q_unrotated)


def _check_layout(cross_layers: Sequence[CrossLayer], memory: WindowMemory) -> None:
    if list(cross_layers) != memory.layers:
        raise ValueError("this memory was laid out for another model or image size")
