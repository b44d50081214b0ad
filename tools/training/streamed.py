"""A stream as it runs at inference, window by window over a memory of pages, but with gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from spark3r_core.memory.policy import pinned, recent_pages, spread_victim, thinned
from spark3r_core.models.interface import Decoded, Encoded
from tools.training.schedule import MAX_NEW_FRAMES, Schedule, StreamWindow
from tools.training.supervised import SupervisedDense

if TYPE_CHECKING:
    from spark3r_core.models.da3 import DA3
    from spark3r_core.models.interface import CrossLayer


class SupervisedStream(SupervisedDense):
    """Queries of a window read [pages of past windows | the window's own]; gradients flow through both.

    What `Streaming` over a `KVMemory` computes for `fill="support"`, for a batch of streams with one schedule. Pages
    are kept as they were computed and never written to: autograd needs them. With one window it is dense attention.

    Args:
        schedule: of the streams; its windows must be decoded in order, each after its `open`.
    """

    def __init__(self, schedule: Schedule) -> None:
        super().__init__()
        self._capacity = schedule.pages
        self._recent = recent_pages(schedule.pages, MAX_NEW_FRAMES)
        self._window = schedule.windows[0]
        self._anchor = 0
        self._memory: dict[int, dict[int, tuple[Tensor, Tensor]]] = {}  # layer, frame: k and v, (B, h, T, d)

    def open(self, window: StreamWindow) -> None:
        """Say which frames the next decode is about."""
        self._window = window
        if window.begins:
            self._memory = {}
            self._anchor = window.frames[0]

    def begin(self, frames: int, cross_layers: Sequence[CrossLayer]) -> None:
        if frames != len(self._window.frames):
            raise ValueError(f"the window has frames {self._window.frames}, the model was given {frames}")
        super().begin(frames, cross_layers)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, *, q_unrotated: Tensor | None = None) -> Tensor:
        del q_unrotated
        q, k = q.to(v.dtype), k.to(v.dtype)
        self.keep(layer, q, k)
        pages = self._memory.get(layer, {})
        visible = [page for frame, page in pages.items() if frame not in self._window.frames]
        fresh = zip(k.unflatten(2, self.shape).unbind(2), v.unflatten(2, self.shape).unbind(2), strict=True)
        pages = {**pages, **dict(zip(self._window.frames, fresh, strict=True))}
        remembered = thinned(layer, sorted(pages), self._capacity, self._victim)
        self._memory[layer] = {frame: pages[frame] for frame in remembered}
        keys = torch.cat([*(page[0] for page in visible), k], 2)
        values = torch.cat([*(page[1] for page in visible), v], 2)
        return self.attention(q, keys, values)

    def pages(self, layer: int) -> list[int]:
        """Frames remembered by a layer, ascending."""
        return sorted(self._memory.get(layer, {}))

    def _victim(self, layer: int, frames: Sequence[int]) -> int:
        del layer
        return spread_victim(frames, pinned(frames, {self._anchor}, self._recent))


def decode_window(model: DA3, encoded: Encoded, window: StreamWindow, plan: SupervisedStream) -> Decoded:
    """Decode one window of the streams whose frames are `encoded`; its frames are in the order of `window.frames`."""
    plan.open(window)
    again = [encoded.frames(slice(frame, frame + 1)) for frame in window.support]
    new = encoded.frames(slice(window.new[0], window.new[-1] + 1))
    return model.decode(Encoded.cat([*again, new]), plan, reference=0)
