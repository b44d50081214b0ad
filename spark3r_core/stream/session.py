"""StreamSession: the one place where a frame of a stream is reconstructed.

A window is n new frames and the support frames that are run again with them. They see each other and the pages of the
memory. What the memory holds afterwards is the choice of `MemoryConfig.fill`:

    support      anchor and newest frames are run again; the fresh pages of all are committed (the default)
    causal       pages of the new frames are committed, nothing is run again
    consolidate  nothing is committed; now and then all kept frames are computed jointly and replace the memory

Why the anchor is run again in every window: released weights were trained bidirectionally, and training-free streaming
without it loses a third of the accuracy that it keeps with it (docs/streaming.md).

What the network says of the new frames is then, where the model asks for it, refined against their pixels
(`spark3r_core.photometric`); the memory and the network's own gauge know nothing of that.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from spark3r_core.attention.streaming import Streaming
from spark3r_core.errors import ImageError, SettingsError
from spark3r_core.memory.budget import allocate
from spark3r_core.memory.config import MemoryConfig
from spark3r_core.memory.eviction import Evictor
from spark3r_core.memory.kv_memory import KVMemory, page_dtype
from spark3r_core.memory.policy import thinned
from spark3r_core.models.interface import Backbone, Encoded
from spark3r_core.stream.chain import Chain
from spark3r_core.stream.consolidation import Consolidated, consolidate
from spark3r_core.stream.estimates import FrameEstimate, WindowResult, estimates_of, into_gauge
from spark3r_core.stream.kept_frames import KeptFrames
from spark3r_core.stream.refiner import PhotometricRefiner
from spark3r_core.tokens.sensitivity import sensitive_layers

__all__ = ["FrameEstimate", "MemoryConfig", "StreamSession", "WindowResult"]


class StreamSession:
    """A stream of frames of one size through one model and one memory.

    Args:
        model: any backbone, in eval mode.
        memory: what to keep; see `MemoryConfig`.
        image_hw: network input size; fixed for the session because pages of different sizes do not mix.
        refine: whether poses are refined against the pixels; None: as the model's capabilities say.

    Raises:
        SettingsError: a model without a gauge and a memory that runs no frame again: nothing would align its windows.
    """

    def __init__(
        self,
        model: Backbone,
        memory: MemoryConfig | None = None,
        image_hw: tuple[int, int] | None = None,
        *,
        refine: bool | None = None,
    ) -> None:
        self.model = model
        self.config = memory or MemoryConfig()
        self.image_hw = image_hw
        self.memory: KVMemory | None = None
        self._evictor: Evictor | None = None
        self._kept = KeptFrames()
        self._chain = Chain()
        self._next_index = 0  # within the chain's link
        self._since_consolidation = 0
        self.refines = model.capabilities.refines if refine is None else refine
        self._refiner = PhotometricRefiner()
        if self.config.fill == "causal" and not model.capabilities.has_gauge:
            raise SettingsError(
                f"{model.name or type(model).__name__} has no gauge of its own: frames that are run again align its "
                'windows to the map, and a "causal" memory runs none; use fill="support" or "consolidate"'
            )

    @torch.inference_mode()
    def step(
        self,
        images: Tensor | np.ndarray,
        times_s: Sequence[float] | None = None,
        intrinsics: np.ndarray | None = None,
    ) -> WindowResult:
        """Reconstruct the next n frames.

        Args:
            images: (n, 3, H, W) in [0, 1], or uint8, on any device; n from 1 to `max_new_frames`.
            times_s: when each was captured, and intrinsics: (3, 3) in pixels of the network input, where they are
                known. Only the refinement uses them.

        Raises:
            ImageError: wrong shape, or a size other than the session's.
        """
        started_ns = time.perf_counter_ns()
        batch = self._checked(images)
        before = self.remembered
        if not before:  # the stream begins here, also after windows of which nothing could be kept
            self._next_index, self._chain, self._refiner = 0, Chain(), PhotometricRefiner()
        elif self._link_is_over():
            self._begin_link()
        new = list(range(self._next_index, self._next_index + len(batch)))
        support = self._support_frames()
        self._next_index += len(batch)

        encoded = self.model.encode(batch[None])
        memory, evictor = self._memory_for(encoded)
        memory.begin(support + new)
        try:
            estimates, support_poses = self._run_window(memory, support, new, encoded)
        except BaseException:
            memory.rollback()
            raise
        used_bytes = memory.used_bytes + self._kept.nbytes
        shift = self._kept.shift(support, support_poses)
        admitted = [estimate.index for estimate in estimates if estimate.valid]
        together: Consolidated | None = None
        if not admitted:  # nothing worth keeping, and refreshed support pages may be as broken as the rest
            memory.rollback()
        elif self.config.fill == "consolidate":
            evictor.observe(admitted)
            memory.rollback()
            together = self._keep_and_consolidate(memory, evictor, estimates, encoded)
            if together is not None:
                used_bytes = max(used_bytes, together.used_bytes + self._kept.nbytes)
                shift = self._shift_of(together) or shift
        else:
            evictor.observe({*support, *admitted})
            memory.commit({*support, *admitted}, evictor.choose)
            self._kept.update(self._newest_support(admitted), estimates, encoded)
            self._chain.untied = False
        evictor.forget_all_but(self._remembered)
        admitted = self._chain.in_stream(admitted)
        frames, confirmed = self._chain.numbered(estimates), None
        if self.refines:
            refined = self._refiner.step(batch, frames, times_s, intrinsics)
            frames, confirmed = refined.frames, tuple(refined.aligned)
        return WindowResult(
            frames=frames,
            support=tuple(self._chain.in_stream(support)),
            admitted=tuple(admitted),
            evicted=tuple(sorted((before | set(admitted)) - self.remembered)),
            support_shift=shift,
            model_ns=time.perf_counter_ns() - started_ns,
            memory_used_bytes=used_bytes,
            memory_limit_bytes=memory.limit_bytes + self._kept_limit(memory) * _frame_bytes(encoded),
            consolidated=() if together is None else together.frames,
            confirmed=confirmed,
        )

    @property
    def remembered(self) -> set[int]:
        """Frames that later windows may read or run again."""
        return set(self._chain.in_stream(self._remembered))

    @property
    def _remembered(self) -> set[int]:
        return set(self._kept) | (set() if self.memory is None else self.memory.all_frames())

    def _link_is_over(self) -> bool:
        """Whether the newest kept frame is to become the anchor of an empty memory."""
        every = self.config.reanchor_every
        if every is None:
            every = self.model.capabilities.reanchor_every
        able = self.config.fill == "support" and self.model.capabilities.has_gauge
        return able and every > 0 and self._next_index > every and max(self._kept, default=0) > 0

    def _begin_link(self) -> None:
        assert self.memory is not None
        anchor = max(self._kept)
        self._kept = KeptFrames({0: self._kept[anchor]})
        self.memory.clear()
        self._chain.next_link(anchor)
        self._next_index -= anchor

    def _run_window(
        self, memory: KVMemory, support: Sequence[int], new: Sequence[int], encoded: Encoded
    ) -> tuple[list[FrameEstimate], np.ndarray]:
        """Estimates of the new frames, and what the window says of the support frames' poses, (n, 4, 4)."""
        window = [*support, *new]
        together = Encoded.cat([*self._kept.encoded(support), encoded])
        decoded = self.model.decode(together, Streaming(memory), reference=window.index(0) if 0 in window else None)
        if self._chain.untied or not self.model.capabilities.has_gauge:
            # dense maps of the support frames too: they tie the window, or the chain's new link, to the map
            shown = estimates_of(window, self.model.predict(decoded, slice(0, len(window))))
            first = [self._kept[frame] for frame in support]
            estimates, support_poses, map_from_window = into_gauge(
                shown[: len(support)],
                shown[len(support) :],
                [known.world_from_camera for known in first],
                [known.depth for known in first],
            )
            if self._chain.untied and map_from_window is not None:
                self._chain.map_from_link = map_from_window
        else:
            again = self.model.poses(decoded)[0, : len(support)]
            estimates = estimates_of(new, self.model.predict(decoded, slice(len(support), len(window))))
            support_poses = again.double().cpu().numpy()  # only now: a transfer waits for the device
            estimates, support_poses = self._chain.place(estimates, support_poses)
        if new[0] == 0 and self.model.capabilities.has_reference_frame and not estimates[0].valid:
            reason = "the first frame, whose camera is the origin, failed"
            estimates = [replace(estimate, failure=estimate.failure or reason) for estimate in estimates]
        return estimates, support_poses

    def _keep_and_consolidate(
        self, memory: KVMemory, evictor: Evictor, estimates: Sequence[FrameEstimate], encoded: Encoded
    ) -> Consolidated | None:
        """Keep the window's frames, thinned to what the memory can hold, and consolidate when it is time."""
        admitted = {estimate.index for estimate in estimates if estimate.valid}
        before = self._kept.copy()
        fullest = _fullest_layer(memory)
        candidates = sorted({*self._kept, *admitted})
        keep = thinned(fullest, candidates, memory.budgets[fullest].pages, evictor.choose)
        self._kept.update(keep, estimates, encoded)
        self._since_consolidation += len(admitted)
        if memory.all_frames() and self._since_consolidation < self.config.frames_per_consolidation:
            return None
        try:
            together = consolidate(self.model, memory, self._kept, evictor, self.config.max_new_frames)
        except BaseException:
            self._kept = before  # the caller learns nothing of this window, so nothing of it may stay
            raise
        self._since_consolidation = 0
        if together is None:  # what joined since the last good pass is what broke this one
            self._kept.update(memory.all_frames())
        return together

    def _checked(self, images: Tensor | np.ndarray) -> Tensor:
        batch = torch.as_tensor(images)
        if batch.ndim != 4 or batch.shape[1] != 3 or len(batch) == 0:
            raise ImageError(f"a window is (n, 3, H, W) with n >= 1, got shape {tuple(batch.shape)}")
        if len(batch) > self.config.max_new_frames:
            raise ImageError(f"{len(batch)} new frames in one window; this session takes {self.config.max_new_frames}")
        hw = (int(batch.shape[2]), int(batch.shape[3]))
        if self.image_hw is None:
            self.image_hw = hw
        if hw != self.image_hw:
            raise ImageError(
                f"frames of {hw[1]}x{hw[0]} in a session of {self.image_hw[1]}x{self.image_hw[0]}; resize them"
            )
        device = next(self.model.parameters()).device
        batch = batch.to(device, non_blocking=True)
        return batch.float() / 255 if batch.dtype == torch.uint8 else batch.float()

    def _memory_for(self, encoded: Encoded) -> tuple[KVMemory, Evictor]:
        """The memory, laid out when the first frame shows the size of a page, and what chooses from it."""
        if self.memory is None:
            self.memory = self._lay_out(encoded)
        if self._evictor is None:
            self._evictor = Evictor(self.config, self.memory)
        return self.memory, self._evictor

    def _lay_out(self, encoded: Encoded) -> KVMemory:
        layers = self.model.cross_layers(encoded.image_hw)
        dtype = self.model.attention_dtype
        consolidates = self.config.fill == "consolidate"
        budgets = allocate(
            page_bytes=[layer.page_bytes(page_dtype(layer, dtype)) for layer in layers],
            sensitive=sensitive_layers(self.model.name, layers),
            window_frames=self.config.max_new_frames + (self.config.max_support_frames if self._supports else 0),
            max_bytes=self.config.max_bytes,
            max_pages=self.config.max_pages or self.model.capabilities.stream_pages,
            reserved_bytes=0 if consolidates else self.config.max_support_frames * _frame_bytes(encoded),
            swap_frame_bytes=_frame_bytes(encoded) if consolidates else None,
        )
        return KVMemory(layers, budgets, dtype, encoded.tokens.device)

    @property
    def _supports(self) -> bool:
        """Whether windows run frames again: to refresh their pages, or to be aligned to the map by them."""
        return self.config.fill == "support" or not self.model.capabilities.has_gauge

    def _support_frames(self) -> list[int]:
        return self._kept.anchor_and_newest(self.config.recent_support) if self._supports else []

    def _newest_support(self, admitted: Sequence[int]) -> set[int]:
        """Frames to keep for windows to come: the anchor for ever, the newest until newer ones come."""
        if not self._supports:
            return set()
        frames = sorted({*self._kept, *admitted} - {0})
        return {0, *frames[max(0, len(frames) - self.config.recent_support) :]}

    def _kept_limit(self, memory: KVMemory) -> int:
        """Frames whose tokens are kept at most."""
        if self.config.fill == "consolidate":
            return memory.budgets[_fullest_layer(memory)].pages
        return self.config.max_support_frames

    def _shift_of(self, together: Consolidated) -> tuple[float, float] | None:
        """How far a consolidation moved the anchor and the newest frames: what later windows will disagree by."""
        if together.world_from_camera is None:
            return None
        moved = self._kept.anchor_and_newest(self.config.recent_support)
        return self._kept.shift(moved, together.world_from_camera[[together.frames.index(frame) for frame in moved]])


def _fullest_layer(memory: KVMemory) -> int:
    """The first of the layers that hold the most pages: whose frames are kept."""
    return max(range(len(memory.budgets)), key=lambda layer: (memory.budgets[layer].pages, -layer))


def _frame_bytes(encoded: Encoded) -> int:
    """Bytes of one frame's tokens."""
    return encoded.nbytes // encoded.tokens.shape[1]
