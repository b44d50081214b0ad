"""StreamSession: the one place where a frame of a stream is reconstructed by the network.

A window is n new frames and the support frames that are run again with them. They see each other and the pages of the
memory. What the memory holds afterwards is the choice of `MemoryConfig.fill`:

    support      anchors and newest frames are run again; the fresh pages of all are committed (the default)
    causal       pages of the new frames are committed, nothing is run again
    consolidate  nothing is committed; now and then all kept frames are computed jointly and replace the memory

Why the anchor is run again in every window: released weights were trained bidirectionally, and training-free streaming
without it loses a third of the accuracy that it keeps with it (docs/streaming.md).

Poses and depths are in one gauge, that of the published map. A network that carries its anchor's gauge gives it
directly; any other window is tied to the map by its support frames (`tie.py`). What the network says is then, where
the model asks for it, refined against the pixels (`refiner.py`), and what is kept is what was published.

A step computes everything first and commits last: whatever fails before, memory, kept frames and counters are as they
were, and the next window works.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from spark3r_core.attention.streaming import Streaming
from spark3r_core.errors import GeometryError, ImageError, SettingsError
from spark3r_core.geometry import se3
from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.memory.budget import allocate
from spark3r_core.memory.config import MemoryConfig
from spark3r_core.memory.eviction import Evictor
from spark3r_core.memory.kv_memory import KVMemory, page_dtype
from spark3r_core.memory.policy import thinned
from spark3r_core.models.interface import Backbone, Encoded
from spark3r_core.stream.consolidation import Consolidated, consolidate
from spark3r_core.stream.estimates import FrameEstimate, WindowResult, estimates_of, moved, square
from spark3r_core.stream.kept_frames import KeptFrames
from spark3r_core.stream.refiner import PhotometricRefiner
from spark3r_core.stream.tie import align_window, thin_depth
from spark3r_core.tokens.sensitivity import sensitive_layers

RANGE_SLACK = 1e-3  # of [0, 1]: what resizing may overshoot by

__all__ = ["FrameEstimate", "MemoryConfig", "StreamSession", "WindowResult"]


@dataclass(frozen=True)
class _Window:
    """One window's plan: ids of its frames, the anchors it leaves behind, and whether it begins an empty memory."""

    support: tuple[int, ...]
    new: tuple[int, ...]
    anchors: frozenset[int]
    begins_link: bool
    reference: int | None


class StreamSession:
    """A stream of frames of one size through one model and one memory.

    Args:
        model: any backbone, in eval mode.
        memory: what to keep; see `MemoryConfig`.
        image_hw: network input size; fixed for the session because pages of different sizes do not mix.
        refine: whether poses are refined against the pixels; None: as the model's capabilities say.
        tied: tie every window to the published map by its support frames, also where the network carries a gauge: for
            callers that move frames in the map (`settle`). Refined streams always do.

    Raises:
        SettingsError: a memory that runs no frame again where windows have to be tied to the map.
    """

    def __init__(
        self,
        model: Backbone,
        memory: MemoryConfig | None = None,
        image_hw: tuple[int, int] | None = None,
        *,
        refine: bool | None = None,
        tied: bool = False,
    ) -> None:
        self.model = model
        self.config = memory or MemoryConfig()
        self.image_hw = image_hw
        self.memory: KVMemory | None = None
        self._evictor: Evictor | None = None
        self._kept = KeptFrames()
        self._anchors: frozenset[int] = frozenset()
        self._newest: int | None = None  # id of the newest frame that was given
        self._since_anchor = 0  # frames since the memory's first anchor
        self._since_consolidation = 0
        self._map_from_gauge: Sim3 | None = None  # of the anchor's gauge; None: the map's own, or not tied yet
        self.refines = model.capabilities.refines if refine is None else refine
        self._refiner = PhotometricRefiner()
        self._tied = tied or self.refines or not model.capabilities.has_gauge
        if self.config.fill == "causal" and not model.capabilities.has_gauge:
            raise SettingsError(
                f"{model.name or type(model).__name__} has no gauge of its own: frames that are run again align its "
                'windows to the map, and a "causal" memory runs none; use fill="support" or "consolidate"'
            )

    @torch.inference_mode()
    def step(
        self,
        images: Tensor | np.ndarray,
        ids: Sequence[int] | None = None,
        times_s: Sequence[float] | None = None,
        intrinsics: np.ndarray | None = None,
        *,
        pixel_maps: Sequence[np.ndarray] | None = None,
        support: Sequence[int] | None = None,
        before_commit: Callable[[Sequence[FrameEstimate]], None] | None = None,
    ) -> WindowResult:
        """Reconstruct the next n frames.

        Args:
            images: (n, 3, H, W), float in [0, 1] or uint8, on any device; n from 1 to `max_new_frames`.
            ids: the caller's numbers of the frames, ascending from step to step; None: counted on.
            times_s: when each was captured, and intrinsics: (3, 3) in pixels of the network input, where they are
                known. Only the refinement uses them.
            pixel_maps: (3, 3) for each frame, from its picture, whose pixels are square, to the input: the two focal
                lengths of the network are made one (`with_square_pixels`). None: they stay as it says.
            support: which kept frames are run again; None: anchors and newest.
            before_commit: called with the estimates of the new frames before anything is kept; if it raises, nothing
                is. Its time is not counted in `step_ns`.

        Raises:
            ImageError: wrong shape, type or range, ids that do not ascend, or a size other than the session's. The
                session is then as it was before.
        """
        started_ns = time.perf_counter_ns()
        batch = self._checked(images)
        new = self._numbered(len(batch), ids)
        before = self.remembered
        begins_anew = not before  # the stream begins here, also after windows of which nothing could be kept
        window = self._planned(new, support)
        encoded = self.model.encode(batch[None])
        memory = self.memory or self.lay_out(encoded)
        evictor = self._evictor or Evictor(self.config, memory)
        refiner = PhotometricRefiner() if begins_anew else self._refiner.fork()
        refine_ns = 0
        try:
            if window.begins_link:
                memory.begin_swap([*window.support, *window.new], lambda _layer, frames: frames[-1])
            else:
                memory.begin([*window.support, *window.new])
            estimates, support_poses, map_from_gauge = self._run_window(memory, window, encoded)
            if pixel_maps is not None:
                estimates = [square(estimate, m) for estimate, m in zip(estimates, pixel_maps, strict=True)]
            shift = self._kept.shift(window.support, support_poses)
            confirmed = None
            if self.refines:
                refine_started_ns = time.perf_counter_ns()
                refined = refiner.step(batch, estimates, times_s, intrinsics)
                estimates, confirmed = refined.frames, tuple(refined.aligned)
                refine_ns = time.perf_counter_ns() - refine_started_ns
            used_bytes = memory.used_bytes + self._kept.nbytes
            if before_commit is not None:
                called_ns = time.perf_counter_ns()
                before_commit(estimates)
                started_ns += time.perf_counter_ns() - called_ns
            admitted = [estimate.frame_id for estimate in estimates if estimate.valid]
            if window.begins_link and len(admitted) < len(estimates):
                admitted = []  # an anchor is followed by whole windows only; the next one tries again
            if begins_anew and admitted:  # without a reference frame the first may fail, and is no anchor then
                window = replace(window, anchors=frozenset(admitted[: max(1, self.config.anchors)]))
            if admitted:
                evictor.observe({*window.support, *admitted})
        except BaseException:
            memory.rollback()
            raise

        together: Consolidated | None = None
        kept, since = self._kept.copy(), self._since_consolidation
        if not admitted:  # nothing worth keeping, and refreshed support pages may be as broken as the rest
            memory.rollback()
        elif self.config.fill == "consolidate":
            memory.rollback()
            candidates = self._with(kept, memory, evictor, window, estimates, encoded)
            since += len(admitted)
            if not memory.all_frames() or since >= self.config.frames_per_consolidation:
                together = consolidate(
                    self.model, memory, candidates, evictor, self.config.max_new_frames, min(window.anchors)
                )
                if together is None and not memory.all_frames():
                    reason = "the joint pass that begins the map is not finite"
                    estimates = [replace(e, failure=e.failure or reason) for e in estimates]
                    admitted, candidates, since = [], kept, self._since_consolidation
                elif together is None:  # what joined since the last good pass is what broke this one
                    candidates.update(memory.all_frames())
                    since = 0
                else:
                    used_bytes = max(used_bytes, together.used_bytes + candidates.nbytes)
                    shift = self._shift_of(together, candidates, window.anchors) or shift
                    since = 0
            kept = candidates
        else:
            try:
                # copies tokens, which may find no room: before the memory is changed
                kept.update(self._newest_support(admitted, window.anchors), estimates, encoded)
                if window.begins_link:
                    memory.swap()
                else:
                    memory.commit({*window.support, *admitted}, evictor.choose_around(window.anchors))
            except BaseException:
                memory.rollback()
                raise

        self.memory, self._evictor, self._kept, self._since_consolidation = memory, evictor, kept, since
        self.image_hw = (int(batch.shape[2]), int(batch.shape[3]))
        self._newest, self._refiner = new[-1], refiner
        if admitted:
            self._anchors = window.anchors
            self._since_anchor = len(new) if begins_anew or window.begins_link else self._since_anchor + len(new)
            self._map_from_gauge = map_from_gauge
        elif begins_anew:
            self._anchors, self._since_anchor, self._refiner = frozenset(), 0, PhotometricRefiner()
        evictor.forget_all_but(self.remembered)
        return WindowResult(
            frames=estimates,
            support=window.support,
            admitted=tuple(admitted),
            evicted=tuple(sorted((before | set(admitted)) - self.remembered)),
            support_shift=shift,
            step_ns=time.perf_counter_ns() - started_ns,
            refine_ns=refine_ns,
            memory_used_bytes=used_bytes,
            memory_limit_bytes=memory.limit_bytes + self._kept_limit(memory) * _frame_bytes(encoded),
            consolidated=() if together is None else together.frames,
            confirmed=confirmed,
        )

    def settle(self, world_from_camera: Mapping[int, np.ndarray], depth_scale: Mapping[int, float]) -> None:
        """The published map moved frames: poses (4, 4) and factors of their depths, by id; unknown ids are ignored."""
        for frame, pose in world_from_camera.items():
            if frame in self._kept:
                self._kept.settle(frame, pose, depth_scale.get(frame, 1.0))

    @property
    def remembered(self) -> set[int]:
        """Frames that later windows may read or run again."""
        return set(self._kept) | (set() if self.memory is None else self.memory.all_frames())

    @property
    def kept(self) -> list[int]:
        """Frames that may be run again."""
        return list(self._kept)

    def _numbered(self, count: int, ids: Sequence[int] | None) -> tuple[int, ...]:
        first = 0 if self._newest is None else self._newest + 1
        new = tuple(range(first, first + count)) if ids is None else tuple(int(one) for one in ids)
        if len(new) != count or any(b <= a for a, b in zip((first - 1, *new), new, strict=False)):
            raise ImageError(f"ids {list(new)} for {count} frames; expected {count} ascending ids from {first} on")
        return new

    def _planned(self, new: tuple[int, ...], support: Sequence[int] | None) -> _Window:
        """Support frames and anchors of the next window."""
        if not self.remembered:
            anchors = frozenset(new[: max(1, self.config.anchors)])
            return _Window((), new, anchors, False, self._reference(new, anchors))
        if self._link_is_over():
            anchor = max(self._kept)
            anchors = frozenset({anchor})
            return _Window((anchor,), new, anchors, True, self._reference((anchor, *new), anchors))
        anchors = self._anchors
        room = self.config.anchors - len(anchors)
        if room > 0 and len(self.remembered) == len(anchors):
            anchors = frozenset({*anchors, *new[:room]})
        if support is None:
            chosen = self._kept.anchor_and_newest(anchors, self.config.recent_support) if self._supports else []
        else:
            chosen = [frame for frame in support if frame in self._kept]
        return _Window(tuple(chosen), new, anchors, False, self._reference((*chosen, *new), anchors))

    def _reference(self, frames: Sequence[int], anchors: Collection[int]) -> int | None:
        """Place in the window of the frame that carries the reference tokens: the first anchor."""
        first = min(anchors)
        return list(frames).index(first) if first in frames else None

    def _link_is_over(self) -> bool:
        """Whether the newest kept frame is to become the anchor of an empty memory."""
        every = self.config.reanchor_every
        if every is None:
            every = self.model.capabilities.reanchor_every
        able = self.config.fill == "support" and self.model.capabilities.has_gauge
        return able and 0 < every < self._since_anchor and any(frame not in self._anchors for frame in self._kept)

    def _run_window(
        self, memory: KVMemory, window: _Window, encoded: Encoded
    ) -> tuple[list[FrameEstimate], np.ndarray, Sim3 | None]:
        """Estimates of the new frames in the map, what the window says there of the support frames' poses (n, 4, 4),
        and the similarity that took them there from the anchor's gauge, None for the identity."""
        frames, support = (*window.support, *window.new), window.support
        together = Encoded.cat([*self._kept.encoded(support), encoded])
        decoded = self.model.decode(together, Streaming(memory), reference=window.reference)
        if support and (self._tied or window.begins_link):
            # dense maps of the support frames too: they tie the window to the map
            shown = estimates_of(frames, self.model.predict(decoded, slice(0, len(frames))))
            again, estimates = shown[: len(support)], shown[len(support) :]
            poses = np.stack([estimate.world_from_camera for estimate in again])
            published = [self._kept[frame] for frame in support]
            try:
                tie = align_window(
                    poses,
                    np.stack([known.world_from_camera for known in published]),
                    [thin_depth(estimate.depth) for estimate in again],
                    [known.depth for known in published],
                )
            except GeometryError as error:
                reason = f"the window could not be aligned to the map: {error}"
                failed = [replace(e, failure=e.failure or reason, aligned=False) for e in estimates]
                return failed, poses, self._map_from_gauge
            return moved(estimates, tie), tie.apply_to_poses(poses), tie
        again_poses = self.model.poses(decoded)[0, : len(support)] if support else None
        estimates = estimates_of(window.new, self.model.predict(decoded, slice(len(support), len(frames))))
        support_poses = np.zeros((0, 4, 4)) if again_poses is None else again_poses.double().cpu().numpy()
        map_from_gauge = self._map_from_gauge if self.remembered else None
        if not self.remembered:
            estimates, map_from_gauge = self._at_the_origin(estimates)
        elif map_from_gauge is not None:
            estimates, support_poses = moved(estimates, map_from_gauge), map_from_gauge.apply_to_poses(support_poses)
        return estimates, support_poses, map_from_gauge

    def _at_the_origin(self, estimates: list[FrameEstimate]) -> tuple[list[FrameEstimate], Sim3 | None]:
        """The first window of a map: its origin is the first camera, also for networks that put it elsewhere."""
        if self.model.capabilities.has_reference_frame:
            if not estimates[0].valid:
                reason = "the first frame, whose camera is the origin, failed"
                estimates = [replace(estimate, failure=estimate.failure or reason) for estimate in estimates]
            return estimates, None
        first = next((estimate for estimate in estimates if estimate.valid), None)
        if first is None:
            return estimates, None
        map_from_gauge = Sim3.from_matrix(se3.invert(se3.require_se3(first.world_from_camera)))
        return moved(estimates, map_from_gauge), map_from_gauge

    def _with(
        self,
        kept: KeptFrames,
        memory: KVMemory,
        evictor: Evictor,
        window: _Window,
        estimates: Sequence[FrameEstimate],
        encoded: Encoded,
    ) -> KeptFrames:
        """The kept frames and the window's, thinned to what the memory can hold: what a consolidation computes."""
        candidates = kept.copy()
        admitted = {estimate.frame_id for estimate in estimates if estimate.valid}
        fullest = _fullest_layer(memory)
        choose = evictor.choose_around(window.anchors)
        keep = thinned(fullest, sorted({*candidates, *admitted}), memory.budgets[fullest].pages, choose)
        candidates.update(keep, estimates, encoded)
        return candidates

    def _checked(self, images: Tensor | np.ndarray) -> Tensor:
        batch = torch.as_tensor(images)
        if batch.ndim != 4 or batch.shape[1] != 3 or len(batch) == 0:
            raise ImageError(f"a window is (n, 3, H, W) with n >= 1, got shape {tuple(batch.shape)}")
        if len(batch) > self.config.max_new_frames:
            raise ImageError(f"{len(batch)} new frames in one window; this session takes {self.config.max_new_frames}")
        if batch.dtype != torch.uint8 and not batch.is_floating_point():
            raise ImageError(f"images of type {batch.dtype}; expected uint8, or floats in [0, 1]")
        if batch.is_floating_point():
            low, high = (float(extreme) for extreme in torch.aminmax(batch))
            if not (math.isfinite(low) and math.isfinite(high)):
                raise ImageError("float images with pixels that are not finite; expected [0, 1]")
            if not (low >= -RANGE_SLACK and high <= 1 + RANGE_SLACK):
                raise ImageError(
                    f"float images reach from {low:g} to {high:g}; expected [0, 1]; "
                    "divide 0 to 255 by 255, or give uint8"
                )
        hw, patch = (int(batch.shape[2]), int(batch.shape[3])), self.model.patch_size
        if self.image_hw is not None and hw != self.image_hw:
            raise ImageError(
                f"frames of {hw[1]}x{hw[0]} in a session of {self.image_hw[1]}x{self.image_hw[0]}; resize them"
            )
        if hw[0] % patch or hw[1] % patch:
            raise ImageError(f"frames of {hw[1]}x{hw[0]}; both sides must be multiples of the patch, {patch} pixels")
        device = next(self.model.parameters()).device
        batch = batch.to(device, non_blocking=True)
        return batch.float() / 255 if batch.dtype == torch.uint8 else batch.float()

    def lay_out(self, encoded: Encoded) -> KVMemory:
        """The empty memory for pictures of this size."""
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

    def _newest_support(self, admitted: Sequence[int], anchors: Collection[int]) -> set[int]:
        """Frames to keep for windows to come: the first anchor for ever, the newest until newer ones come."""
        if not self._supports:
            return set()
        first = min(anchors)
        others = sorted({*self._kept, *admitted} - {first})
        return {first, *others[max(0, len(others) - self.config.recent_support) :]}

    def _kept_limit(self, memory: KVMemory) -> int:
        """Frames whose tokens are kept at most."""
        if self.config.fill == "consolidate":
            return memory.budgets[_fullest_layer(memory)].pages
        return self.config.max_support_frames

    def _shift_of(
        self, together: Consolidated, kept: KeptFrames, anchors: Collection[int]
    ) -> tuple[float, float] | None:
        """How far a consolidation moved the anchor and the newest frames: what later windows will disagree by."""
        if together.world_from_camera is None or self._tied:
            return None
        frames = kept.anchor_and_newest({min(anchors)}, self.config.recent_support)
        return kept.shift(frames, together.world_from_camera[[together.frames.index(frame) for frame in frames]])


def _fullest_layer(memory: KVMemory) -> int:
    """The first of the layers that hold the most pages: whose frames are kept."""
    return max(range(len(memory.budgets)), key=lambda layer: (memory.budgets[layer].pages, -layer))


def _frame_bytes(encoded: Encoded) -> int:
    """Bytes of one frame's tokens."""
    return encoded.nbytes // encoded.tokens.shape[1]
