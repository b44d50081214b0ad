"""The same memory by plain dictionaries and concatenation: slow, obvious, and what tests hold the fast one against."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from spark3r_core.memory.kv_memory import ChooseVictim
from spark3r_core.models.interface import CrossLayer


class DenseMemory:
    """Interface of `KVMemory`; each layer is a dict frame -> (k, v), each (heads, T, head_dim).

    Args:
        layers: what each layer's page looks like.
        pages: most committed pages per layer.
    """

    def __init__(self, layers: Sequence[CrossLayer], pages: Sequence[int]) -> None:
        self.layers = list(layers)
        self.pages = list(pages)
        self._kept: list[dict[int, tuple[Tensor, Tensor]]] = [{} for _ in layers]
        self._window: tuple[int, ...] = ()
        self._fresh: list[dict[int, tuple[Tensor, Tensor]]] = [{} for _ in layers]

    def frames(self, layer: int) -> list[int]:
        return sorted(self._kept[layer])

    def all_frames(self) -> set[int]:
        return {frame for kept in self._kept for frame in kept}

    def begin(self, window_frames: Sequence[int]) -> None:
        self._window = tuple(window_frames)
        self._fresh = [{} for _ in self.layers]

    def write(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.layers[layer].tokens_per_frame
        for frame, page_k, page_v in zip(self._window, k[0].split(tokens, 1), v[0].split(tokens, 1), strict=True):
            self._fresh[layer][frame] = (page_k.clone(), page_v.clone())
        visible = [kv for frame, kv in self._kept[layer].items() if frame not in self._window]
        seen = visible + [self._fresh[layer][frame] for frame in self._window]
        return torch.cat([kv[0] for kv in seen], 1)[None], torch.cat([kv[1] for kv in seen], 1)[None]

    def commit(self, keep: Collection[int], choose_victim: ChooseVictim) -> None:
        for layer, kept in enumerate(self._kept):
            kept.update({frame: kv for frame, kv in self._fresh[layer].items() if frame in keep})
            while len(kept) > self.pages[layer]:
                del kept[choose_victim(layer, sorted(kept))]
        self._window = ()

    def rollback(self) -> None:
        self._window = ()

    def page(self, layer: int, frame: int) -> tuple[Tensor, Tensor]:
        return self._kept[layer][frame]
