"""Which page of a memory goes: the policies of `policy.py`, told what they need to know about its pages."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from copy import copy, deepcopy

import numpy as np
import torch

from spark3r_core.memory.config import MemoryConfig
from spark3r_core.memory.kv_memory import KVMemory
from spark3r_core.memory.policy import ChooseVictim, pinned, recent_pages, spread_victim, view_victim


class ViewDistances:
    """1 - cosine of the frames' mean keys, kept pair by pair: a new frame costs one row, the others stay."""

    def __init__(self) -> None:
        self.frames: list[int] = []
        self._unit = np.zeros((0, 0))  # (n, C)
        self._distance = np.zeros((0, 0))  # (n, n)

    def put(self, frame: int, mean_key: np.ndarray) -> None:
        """Enter a frame, or what it looks like by now. mean_key: (C,)."""
        key = mean_key.astype(np.float64)
        unit = key / max(float(np.linalg.norm(key)), 1e-30)
        if frame not in self.frames:
            self.frames.append(frame)
            self._unit = np.vstack([self._unit.reshape(-1, len(unit)), unit])
            self._distance = np.pad(self._distance, (0, 1))
        row = self.frames.index(frame)
        self._unit[row] = unit
        self._distance[row] = self._distance[:, row] = 1 - self._unit @ unit

    def keep(self, frames: Collection[int]) -> None:
        """Forget all others."""
        rows = [row for row, frame in enumerate(self.frames) if frame in frames]
        self.frames = [self.frames[row] for row in rows]
        self._unit, self._distance = self._unit[rows], self._distance[np.ix_(rows, rows)]

    def among(self, frames: Sequence[int]) -> np.ndarray:
        """(n, n) distances of the named frames, in their order."""
        rows = [self.frames.index(frame) for frame in frames]
        return self._distance[np.ix_(rows, rows)]


class Evictor:
    """Chooses victims for one memory.

    Layers of equal capacity keep the same frames; the choice by views is made on the keys of their first global layer.

    Args:
        config: policy, and how many recent pages stay.
        memory: whose pages are chosen from; for "views" every page must be shown to `observe` before it is committed.
    """

    def __init__(self, config: MemoryConfig, memory: KVMemory) -> None:
        self.config = config
        self._memory = memory
        groups: dict[int, list[int]] = {}
        for layer, budget in enumerate(memory.budgets):
            groups.setdefault(budget.pages, []).append(layer)
        self._deciding = {
            pages: next((layer for layer in layers if memory.layers[layer].kind == "global"), layers[0])
            for pages, layers in groups.items()
        }
        self._views = {pages: ViewDistances() for pages in groups} if config.eviction == "views" else {}

    def copy(self) -> Evictor:
        """For the same memory, with what was observed until now."""
        same = copy(self)
        same._views = deepcopy(self._views)
        return same

    def choose_around(self, anchors: Collection[int]) -> ChooseVictim:
        """`choose` with these frames pinned."""
        return lambda layer, frames: self.choose(layer, frames, anchors)

    def choose(self, layer: int, frames: Sequence[int], anchors: Collection[int] = ()) -> int:
        """The frame of `frames` (ascending) that this layer gives up; anchors and recent frames stay."""
        pages = self._memory.budgets[layer].pages
        recent = self.config.recent
        if recent is None:
            recent = recent_pages(pages, self.config.max_new_frames)
        protected = pinned(frames, anchors, recent)
        if self.config.eviction == "time":
            return spread_victim(frames, protected)
        return view_victim(frames, self._views[pages].among(frames), protected)

    def observe(self, frames: Collection[int]) -> None:
        """Note what pages of the open window look like, before it is closed. One transfer per group of layers."""
        for pages, views in self._views.items():
            deciding = self._deciding[pages]
            seen = [frame for frame in self._memory.window(deciding) if frame in frames]
            layer = self._memory.layers[deciding]
            special = layer.special_tokens if layer.special_tokens < layer.tokens_per_frame else 0
            keys = [self._memory.page(deciding, frame)[0][:, special:].float().mean(1).flatten() for frame in seen]
            if keys:
                for frame, mean_key in zip(seen, torch.stack(keys).cpu().numpy(), strict=True):
                    views.put(frame, mean_key)

    def forget_all_but(self, frames: Collection[int]) -> None:
        for views in self._views.values():
            views.keep(frames)
