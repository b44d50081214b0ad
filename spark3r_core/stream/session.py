"""StreamSession: the one place where a frame of a stream is reconstructed by the network.

A window is n new frames and the support frames that are run again with them (`window.py`). They see each other and the
pages of the memory (`window_pass.py`). What the memory holds afterwards is the choice of `MemoryConfig.fill`
(`remembered.py`):

    support      anchors and newest frames are run again; the fresh pages of all are committed (the default)
    causal       pages of the new frames are committed, nothing is run again
    consolidate  nothing is committed; now and then all kept frames are computed jointly and replace the memory

Why the anchor is run again in every window: released weights were trained bidirectionally, and training-free streaming
without it loses a third of the accuracy that it keeps with it (docs/streaming.md).

Poses and depths are in one gauge, that of the published map. What the network says is, where the model asks for it,
refined against the pixels (`refiner.py`), and what is kept is what was published.

A step computes everything first and commits last: whatever fails before, memory, kept frames and counters are as they
were, and the next window works.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from spark3r_core.errors import SettingsError
from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.memory.config import MemoryConfig
from spark3r_core.memory.kv_memory import KVMemory
from spark3r_core.models.interface import Backbone
from spark3r_core.stream.estimates import FrameEstimate, WindowResult, square
from spark3r_core.stream.memory_layout import lay_out
from spark3r_core.stream.refiner import PhotometricRefiner
from spark3r_core.stream.remembered import Remembered
from spark3r_core.stream.window import Chain
from spark3r_core.stream.window_images import window_images
from spark3r_core.stream.window_pass import run_window


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
        self.refines = model.capabilities.refines if refine is None else refine
        self._tied = tied or self.refines or not model.capabilities.has_gauge
        self._remembered: Remembered | None = None  # None: no window was given yet
        self._chain = Chain()
        self._map_from_gauge: Sim3 | None = None  # of the anchor's gauge; None: the map's own, or not tied yet
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
        batch = window_images(images, self.model, self.config.max_new_frames, self.image_hw)
        new = self._chain.numbered(len(batch), ids)
        before = self.remembered
        window = self._chain.next_window(new, self.kept, before, self.config, self.model.capabilities, support)
        encoded = self.model.encode(batch[None])
        remembered = self._remembered or Remembered(self.model, self.config, lay_out(self.model, self.config, encoded))
        refiner = PhotometricRefiner() if window.begins_map else self._refiner.fork()
        with remembered.opened(window):
            seen = run_window(
                self.model, remembered.memory, window, remembered.kept, encoded, self._map_from_gauge, self._tied
            )
            estimates = seen.estimates
            if pixel_maps is not None:
                estimates = [square(estimate, m) for estimate, m in zip(estimates, pixel_maps, strict=True)]
            shift = remembered.kept.shift(window.support, seen.support_poses)
            confirmed, refine_ns = None, 0
            if self.refines:
                refine_started_ns = time.perf_counter_ns()
                refined = refiner.step(batch, estimates, times_s, intrinsics)
                estimates, confirmed = refined.frames, tuple(refined.aligned)
                refine_ns = time.perf_counter_ns() - refine_started_ns
            if before_commit is not None:
                called_ns = time.perf_counter_ns()
                before_commit(estimates)
                started_ns += time.perf_counter_ns() - called_ns
            valid = [estimate.frame_id for estimate in estimates if estimate.valid]
            window, admitted = window.admitting(valid, self.config.anchors)
            taken = remembered.take(window, admitted, estimates, encoded)

        self._remembered, self._chain = remembered, self._chain.after(window, taken.admitted)
        self.image_hw = (int(batch.shape[2]), int(batch.shape[3]))
        if taken.admitted:
            self._map_from_gauge = seen.map_from_gauge
        self._refiner = refiner if taken.admitted or not window.begins_map else PhotometricRefiner()
        if taken.together is not None and not self._tied:
            shift = taken.together.shift(remembered.kept, min(window.anchors), self.config.recent_support) or shift
        return WindowResult(
            frames=taken.estimates,
            support=window.support,
            admitted=taken.admitted,
            evicted=tuple(sorted((before | set(taken.admitted)) - self.remembered)),
            support_shift=shift,
            step_ns=time.perf_counter_ns() - started_ns,
            refine_ns=refine_ns,
            memory_used_bytes=taken.used_bytes,
            memory_limit_bytes=remembered.limit_bytes(encoded),
            consolidated=() if taken.together is None else taken.together.frames,
            confirmed=confirmed,
        )

    def settle(self, world_from_camera: Mapping[int, np.ndarray], depth_scale: Mapping[int, float]) -> None:
        """The published map moved frames: poses (4, 4) and factors of their depths, by id; unknown ids are ignored."""
        if self._remembered is None:
            return
        kept = self._remembered.kept
        for frame, pose in world_from_camera.items():
            if frame in kept:
                kept.settle(frame, pose, depth_scale.get(frame, 1.0))

    @property
    def memory(self) -> KVMemory | None:
        """Pages of past frames; None before the first window, whose pictures say how large they are."""
        return None if self._remembered is None else self._remembered.memory

    @property
    def remembered(self) -> set[int]:
        """Frames that later windows may read or run again."""
        return set() if self._remembered is None else self._remembered.frames

    @property
    def kept(self) -> list[int]:
        """Frames that may be run again."""
        return [] if self._remembered is None else list(self._remembered.kept)
