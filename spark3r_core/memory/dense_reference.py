"""The same memory by plain dictionaries and concatenation: slow, obvious, and what tests hold the fast one against."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from spark3r_core.memory.policy import ChooseVictim, thinned
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
        self._windows: list[tuple[int, ...]] = [() for _ in layers]
        self._fresh: list[dict[int, tuple[Tensor, Tensor]]] = [{} for _ in layers]
        self._is_swap = False

    def frames(self, layer: int) -> list[int]:
        return sorted(self._kept[layer])

    def all_frames(self) -> set[int]:
        return {frame for kept in self._kept for frame in kept}

    def window(self, layer: int) -> tuple[int, ...]:
        return self._windows[layer]

    def begin(self, window_frames: Sequence[int]) -> None:
        self._open([tuple(window_frames) for _ in self.layers], is_swap=False)

    def begin_swap(self, frames: Sequence[int], choose_victim: ChooseVictim) -> None:
        chosen = [tuple(thinned(layer, frames, pages, choose_victim)) for layer, pages in enumerate(self.pages)]
        self._open(chosen, is_swap=True)

    def write(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        tokens, window = self.layers[layer].tokens_per_frame, self._windows[layer]
        for frame, page_k, page_v in zip(window, k[0].split(tokens, 1), v[0].split(tokens, 1), strict=True):
            self._fresh[layer][frame] = (page_k.clone(), page_v.clone())
        visible = [kv for frame, kv in self._kept[layer].items() if frame not in window and not self._is_swap]
        seen = visible + [self._fresh[layer][frame] for frame in window]
        return torch.cat([kv[0] for kv in seen], 1)[None], torch.cat([kv[1] for kv in seen], 1)[None]

    def commit(self, keep: Collection[int], choose_victim: ChooseVictim) -> None:
        for layer, kept in enumerate(self._kept):
            kept.update({frame: kv for frame, kv in self._fresh[layer].items() if frame in keep})
            while len(kept) > self.pages[layer]:
                del kept[choose_victim(layer, sorted(kept))]
        self.rollback()

    def swap(self) -> None:
        self._kept = [dict(fresh) for fresh in self._fresh]
        self.rollback()

    def rollback(self) -> None:
        self._open([() for _ in self.layers], is_swap=False)

    def page(self, layer: int, frame: int) -> tuple[Tensor, Tensor]:
        return self._fresh[layer][frame] if frame in self._windows[layer] else self._kept[layer][frame]

    def _open(self, windows: list[tuple[int, ...]], is_swap: bool) -> None:
        self._windows, self._is_swap = windows, is_swap
        self._fresh = [{} for _ in self.layers]
