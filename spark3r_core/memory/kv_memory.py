"""The persistent key-value memory: one preallocated buffer per cross-frame layer, one page per frame.

Keys carry no frame index (their rotary position is inside the frame), so pages can be hidden, moved and dropped
without touching them, and attention always reads one contiguous run of slots: no mask, no concatenation. The
bookkeeping is `pages.py`, the choice of what goes `policy.py`, the arithmetic of bytes `budget.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from spark3r_core.memory.budget import LayerBudget
from spark3r_core.memory.pages import Copy, PageTable
from spark3r_core.memory.policy import ChooseVictim, thinned
from spark3r_core.models.interface import CrossLayer


class KVMemory:
    """Pages of all cross-frame layers.

    One frame's page holds its keys and values in one layer. A window is transactional:
    `begin(frames)` → `write(layer, k, v)` once per layer → `commit(keep)` or `rollback()`; or, to replace every page,
    `begin_swap(frames)` → `write(…)` → `swap()` or `rollback()`.

    Args:
        layers: what each layer's page looks like.
        budgets: pages and slots per layer, from `budget.allocate`.
        dtype: of the stored keys and values; layers of kind "camera" are float32 always, as their heads compute.
        device: where the buffers live.
    """

    def __init__(
        self,
        layers: Sequence[CrossLayer],
        budgets: Sequence[LayerBudget],
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        self.layers = list(layers)
        self.budgets = list(budgets)
        self.dtypes = [page_dtype(layer, dtype) for layer in self.layers]
        self._buffers = [
            torch.zeros(
                (2, layer.num_heads, budget.slots * layer.tokens_per_frame, layer.head_dim), dtype=kind, device=device
            )
            for layer, budget, kind in zip(self.layers, self.budgets, self.dtypes, strict=True)
        ]
        # Layers with equal capacity always keep the same frames, so they share one table.
        self._tables = {budget.pages: PageTable(budget.slots) for budget in self.budgets}

    @property
    def limit_bytes(self) -> int:
        """Bytes of all buffers; constant from construction on."""
        return sum(buffer.numel() * buffer.element_size() for buffer in self._buffers)

    @property
    def used_bytes(self) -> int:
        """Bytes of occupied pages, those of the open window included."""
        return sum(
            (table.committed + len(table.window)) * layer.page_bytes(dtype)
            for table, layer, dtype in zip(
                map(self._table, range(len(self.layers))), self.layers, self.dtypes, strict=True
            )
        )

    def frames(self, layer: int) -> list[int]:
        """Frames with a page in this layer, ascending."""
        return self._table(layer).frames

    def all_frames(self) -> set[int]:
        """Frames with a page in any layer."""
        return {frame for table in self._tables.values() for frame in table.frames}

    def window(self, layer: int) -> tuple[int, ...]:
        """Frames of the open window whose pages this layer takes, in the order `write` wants them."""
        return self._table(layer).window

    def begin(self, window_frames: Sequence[int]) -> None:
        """Open a window. Frames that have pages already (support frames) are hidden from it.

        Raises RuntimeError or ValueError before anything has moved: a window is open, or it does not fit.
        """
        for table in self._tables.values():
            table.check(window_frames)
        self._apply({pages: table.begin(window_frames) for pages, table in self._tables.items()})

    def write(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store the window's keys and values and return all that its queries may read.

        Args:
            k, v: (1, heads, W*T, head_dim) for the W frames of `window(layer)`, after norm and RoPE.

        Returns:
            Views of the buffer, (1, heads, N*T, head_dim): visible pages, then the window's.
        """
        table, tokens, buffer = self._table(layer), self.layers[layer].tokens_per_frame, self._buffers[layer]
        window, readable = table.window_slots, table.readable_slots
        if k.shape[2] != len(window) * tokens:
            raise ValueError(f"layer {layer} was given {k.shape[2]} tokens, its window has {len(window)} x {tokens}")
        target = slice(window.start * tokens, window.stop * tokens)
        buffer[0, :, target] = k[0]
        buffer[1, :, target] = v[0]
        seen = buffer[:, :, readable.start * tokens : readable.stop * tokens]
        return seen[0][None], seen[1][None]

    def commit(self, keep: Collection[int], choose_victim: ChooseVictim) -> None:
        """Keep the pages of `keep`, drop those of the other window frames, then evict down to each capacity."""
        self._apply({pages: table.commit(keep) for pages, table in self._tables.items()})
        for pages, table in self._tables.items():
            while table.committed > pages:
                self._apply({pages: table.evict(choose_victim(self._first_layer(pages), table.frames))})

    def begin_swap(self, frames: Sequence[int], choose_victim: ChooseVictim) -> None:
        """Open a window that sees no old page; a layer that cannot hold all of `frames` (ascending) takes fewer."""
        windows = {pages: thinned(self._first_layer(pages), frames, pages, choose_victim) for pages in self._tables}
        for pages, table in self._tables.items():
            table.check(windows[pages])
        for pages, table in self._tables.items():
            table.begin_swap(windows[pages])

    def swap(self) -> None:
        """Put the pages of the window in the place of all others, in every layer at once."""
        self._apply({pages: table.swap() for pages, table in self._tables.items()})

    def clear(self) -> None:
        """Forget all pages; no window may be open."""
        for table in self._tables.values():
            table.clear()

    def rollback(self) -> None:
        """Forget the open window, if there is one: the memory is as before `begin`."""
        for table in self._tables.values():
            if table.window:
                table.rollback()

    def page(self, layer: int, frame: int) -> tuple[Tensor, Tensor]:
        """Views of one page's keys and values, (heads, T, head_dim) each; the fresh page of a frame in the window."""
        slot, tokens = self._table(layer).slot_of(frame), self.layers[layer].tokens_per_frame
        kv = self._buffers[layer][:, :, slot * tokens : (slot + 1) * tokens]
        return kv[0], kv[1]

    def _table(self, layer: int) -> PageTable:
        return self._tables[self.budgets[layer].pages]

    def _first_layer(self, pages: int) -> int:
        return next(i for i, budget in enumerate(self.budgets) if budget.pages == pages)

    def _apply(self, copies_by_capacity: dict[int, list[Copy]]) -> None:
        for index, (layer, budget) in enumerate(zip(self.layers, self.budgets, strict=True)):
            tokens, buffer = layer.tokens_per_frame, self._buffers[index]

            def page(slot: int, buffer: Tensor = buffer, tokens: int = tokens) -> Tensor:
                return buffer[:, :, slot * tokens : (slot + 1) * tokens]

            for move in copies_by_capacity.get(budget.pages, []):
                page(move.target).copy_(page(move.source))


def page_dtype(layer: CrossLayer, dtype: torch.dtype) -> torch.dtype:
    """Camera heads compute in float32 in every reference, so their few keys are kept so."""
    return torch.float32 if layer.kind == "camera" else dtype
