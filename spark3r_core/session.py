"""StreamSession: the one place where a frame of a stream is reconstructed.

A window is n new frames and the support frames that are run again with them (the anchor and the newest ones). Their
keys and values are computed jointly, in sight of the memory; then the fresh pages are committed and old ones evicted.
Why the anchor is run again in every window: released weights were trained bidirectionally, and training-free streaming
without it loses a third of the accuracy that it keeps with it (docs/streaming.md).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from spark3r_core.attention.streaming import Streaming
from spark3r_core.errors import GeometryError, ImageError
from spark3r_core.gauge import align_window, thin_depth
from spark3r_core.memory.budget import allocate
from spark3r_core.memory.kv_memory import KVMemory, page_dtype
from spark3r_core.memory.policy import spread_victim
from spark3r_core.models.interface import Backbone, Encoded, Prediction
from spark3r_core.tokens.sensitivity import sensitive_layers


@dataclass(frozen=True)
class MemoryConfig:
    """What a stream keeps.

    max_bytes: budget for pages, window slots and support frames together; None: as many as max_pages asks for.
    max_pages: pages a sensitive layer holds at most, the others a third; None: the model's own number (Spark3R: 40).
    anchors: first frames that are pinned for ever; frame 0 carries origin and scale.
    support_recent: newest frames run again with each window, besides frame 0.
    rerun_anchor: whether frame 0 is run again with each window (False and support_recent 0: plain causal streaming).
    max_new_frames: most new frames one window may hold; the buffers are laid out for it.
    recent: newest pages that are not evicted while they are recent; None: one window's worth, a quarter of the
        capacity at most.
    """

    max_bytes: int | None = None
    max_pages: int | None = None
    anchors: int = 1
    support_recent: int = 1
    rerun_anchor: bool = True
    max_new_frames: int = 8
    recent: int | None = None

    @staticmethod
    def causal(**settings: int | None) -> MemoryConfig:
        """Commit keys and values as computed, nothing run again: the cheapest and, without tuning, the worst."""
        return MemoryConfig(support_recent=0, rerun_anchor=False, **settings)  # type: ignore[arg-type]

    @property
    def max_support_frames(self) -> int:
        return self.support_recent + int(self.rerun_anchor)


@dataclass(frozen=True)
class FrameEstimate:
    """Geometry of one frame in the gauge that the memory carries.

    index: number of the frame within the session; counted from 0 again when nothing of the beginning could be kept.
    world_from_camera: (4, 4) float64, OpenCV axes, model units. intrinsics: (3, 3) in pixels of the network input.
    depth: (h, w) float32 z-depth. confidence: (h, w) float32 in (0, 1).
    failure: why the estimate is not valid; None when it is.
    """

    index: int
    world_from_camera: np.ndarray
    intrinsics: np.ndarray
    depth: np.ndarray
    confidence: np.ndarray
    failure: str | None = None

    @property
    def valid(self) -> bool:
        return self.failure is None


@dataclass(frozen=True)
class WindowResult:
    """What one step gave.

    frames: an estimate per new frame, in order.
    support: indices of the frames run again with them. admitted: new frames whose pages were kept.
    evicted: frames that no layer holds any more.
    support_shift: (rotation in degrees, translation over median depth), the largest change among the support frames
        against their first estimate: a health signal, zero in a consistent map; None without support frames.
    model_ns: wall time from images to results on the host.
    """

    frames: list[FrameEstimate]
    support: tuple[int, ...]
    admitted: tuple[int, ...]
    evicted: tuple[int, ...]
    support_shift: tuple[float, float] | None
    model_ns: int
    memory_used_bytes: int
    memory_limit_bytes: int


@dataclass
class _Support:
    """What is kept of a frame that may be run again."""

    encoded: Encoded
    world_from_camera: np.ndarray
    median_depth: float
    depth: np.ndarray  # thinned; only models without a gauge need it


class StreamSession:
    """A stream of frames of one size through one model and one memory.

    Args:
        model: any backbone, in eval mode.
        memory: what to keep; see `MemoryConfig`.
        image_hw: network input size; fixed for the session because pages of different sizes do not mix.
    """

    def __init__(
        self, model: Backbone, memory: MemoryConfig | None = None, image_hw: tuple[int, int] | None = None
    ) -> None:
        self.model = model
        self.config = memory or MemoryConfig()
        self.image_hw = image_hw
        self.memory: KVMemory | None = None
        self._support: dict[int, _Support] = {}
        self._next_index = 0

    @torch.inference_mode()
    def step(self, images: Tensor | np.ndarray) -> WindowResult:
        """Reconstruct the next n frames.

        Args:
            images: (n, 3, H, W) in [0, 1], or uint8, on any device; n from 1 to `max_new_frames`.

        Raises:
            ImageError: wrong shape, or a size other than the session's.
        """
        started_ns = time.perf_counter_ns()
        batch = self._checked(images)
        if not self.remembered:  # the stream begins here, also after windows of which nothing could be kept
            self._next_index = 0
        new = list(range(self._next_index, self._next_index + len(batch)))
        support = self._support_frames()
        self._next_index += len(batch)

        encoded = self.model.encode(batch[None])
        memory = self._memory_for(encoded)
        window = support + new
        together = Encoded.cat([self._support[frame].encoded for frame in support] + [encoded])
        memory.begin(window)
        try:
            reference = window.index(0) if 0 in window else None
            decoded = self.model.decode(together, Streaming(memory), reference=reference)
            has_gauge = self.model.capabilities.has_gauge
            shown = slice(len(support) if has_gauge else 0, len(window))  # else dense maps align the support frames
            again = self.model.poses(decoded)[0, : len(support)] if has_gauge else None
            estimates = _estimates(window[shown], self.model.predict(decoded, shown))
            if again is None:
                estimates, support_poses = self._into_gauge(support, estimates)
            else:
                support_poses = again.double().cpu().numpy()  # only now: a transfer waits for the device
        except BaseException:
            memory.rollback()
            raise
        if new[0] == 0 and self.model.capabilities.has_reference_frame and not estimates[0].valid:
            reason = "the first frame, whose camera is the origin, failed"
            estimates = [replace(estimate, failure=estimate.failure or reason) for estimate in estimates]
        used_bytes = memory.used_bytes + self._support_bytes()
        shift = self._support_shift(support, support_poses)
        admitted = [estimate.index for estimate in estimates if estimate.valid]
        before = memory.all_frames()
        if admitted:
            memory.commit(set(support) | set(admitted), self._choose_victim)
            self._remember(estimates, encoded)
        else:  # nothing worth keeping, and refreshed support pages may be as broken as the rest
            memory.rollback()
        return WindowResult(
            frames=estimates,
            support=tuple(support),
            admitted=tuple(admitted),
            evicted=tuple(sorted((before | set(admitted)) - memory.all_frames())),
            support_shift=shift,
            model_ns=time.perf_counter_ns() - started_ns,
            memory_used_bytes=used_bytes,
            memory_limit_bytes=memory.limit_bytes + self._support_limit_bytes(encoded),
        )

    def _into_gauge(
        self, support: Sequence[int], estimates: list[FrameEstimate]
    ) -> tuple[list[FrameEstimate], np.ndarray]:
        """Move a window of a gauge-free model into the map's gauge by its support frames; without any it is the map's.

        estimates: support frames first. Returns those of the new frames, and the support frames' poses as of now.
        """
        again, new = estimates[: len(support)], estimates[len(support) :]
        if not support:
            return new, np.zeros((0, 4, 4))
        poses = np.stack([estimate.world_from_camera for estimate in again])
        first = [self._support[frame] for frame in support]
        try:
            map_from_window = align_window(
                poses,
                np.stack([known.world_from_camera for known in first]),
                [thin_depth(estimate.depth) for estimate in again],
                [known.depth for known in first],
            )
        except GeometryError as error:
            reason = f"the window could not be aligned to the map: {error}"
            return [replace(e, failure=e.failure or reason) for e in new], poses
        moved = [
            replace(
                estimate,
                world_from_camera=map_from_window.apply_to_poses(estimate.world_from_camera),
                depth=estimate.depth * np.float32(map_from_window.scale),
            )
            if estimate.valid
            else estimate
            for estimate in new
        ]
        return moved, map_from_window.apply_to_poses(poses)

    @property
    def remembered(self) -> set[int]:
        """Frames that later windows may read or run again."""
        return set(self._support) | (set() if self.memory is None else self.memory.all_frames())

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

    def _memory_for(self, encoded: Encoded) -> KVMemory:
        """The memory, laid out when the first frame shows the size of a page."""
        if self.memory is None:
            layers = self.model.cross_layers(encoded.image_hw)
            dtype = self.model.attention_dtype
            budgets = allocate(
                page_bytes=[layer.page_bytes(page_dtype(layer, dtype)) for layer in layers],
                sensitive=sensitive_layers(self.model.name, layers),
                window_frames=self.config.max_new_frames + self.config.max_support_frames,
                max_bytes=self.config.max_bytes,
                max_pages=self.config.max_pages or self.model.capabilities.stream_pages,
                reserved_bytes=self._support_limit_bytes(encoded),
            )
            self.memory = KVMemory(layers, budgets, dtype, encoded.tokens.device)
        return self.memory

    def _support_frames(self) -> list[int]:
        """Frame 0 first (it carries the reference tokens), then the newest ones."""
        past = sorted(self._support)
        newest = past[len(past) - self.config.support_recent :] if self.config.support_recent else []
        anchor = [0] if self.config.rerun_anchor and 0 in self._support else []
        return anchor + [frame for frame in newest if frame not in anchor]

    def _remember(self, estimates: Sequence[FrameEstimate], encoded: Encoded) -> None:
        """Keep what running a frame again takes: the anchor for ever, the newest until newer ones come."""
        offset_of = {estimate.index: offset for offset, estimate in enumerate(estimates) if estimate.valid}
        frames = sorted({*self._support, *offset_of})
        anchor = {0} if self.config.rerun_anchor else set()
        newest = [frame for frame in frames if frame not in anchor]
        keep = anchor | set(newest[max(0, len(newest) - self.config.support_recent) :])
        for frame in frames:
            if frame not in keep:
                self._support.pop(frame, None)
            elif frame in offset_of:
                estimate = estimates[offset_of[frame]]
                self._support[frame] = _Support(
                    encoded.frames([offset_of[frame]]),
                    estimate.world_from_camera,
                    float(np.median(estimate.depth)),
                    thin_depth(estimate.depth),
                )

    def _choose_victim(self, layer: int, frames: Sequence[int]) -> int:
        assert self.memory is not None
        recent = self.config.recent
        if recent is None:
            recent = min(self.config.max_new_frames, self.memory.budgets[layer].pages // 4)
        newest = max(frames)
        protected = {frame for frame in frames if frame < self.config.anchors or frame > newest - recent}
        return spread_victim(frames, protected)

    def _support_shift(self, support: Sequence[int], world_from_camera: np.ndarray) -> tuple[float, float] | None:
        if not support or not np.isfinite(world_from_camera).all():
            return None
        rotations, translations = [], []
        for frame, now in zip(support, world_from_camera, strict=True):
            first = self._support[frame]
            cosine = (np.trace(first.world_from_camera[:3, :3].T @ now[:3, :3]) - 1) / 2
            rotations.append(float(np.degrees(np.arccos(np.clip(cosine, -1, 1)))))
            moved = np.linalg.norm(now[:3, 3] - first.world_from_camera[:3, 3])
            translations.append(float(moved / max(first.median_depth, 1e-9)))
        return max(rotations), max(translations)

    def _support_bytes(self) -> int:
        return sum(support.encoded.nbytes for support in self._support.values())

    def _support_limit_bytes(self, encoded: Encoded) -> int:
        return self.config.max_support_frames * (encoded.nbytes // encoded.tokens.shape[1])


def _estimates(indices: Sequence[int], prediction: Prediction) -> list[FrameEstimate]:
    """One transfer per tensor to the host, then a validity check per frame."""
    poses = prediction.world_from_camera[0].double().cpu().numpy()
    intrinsics = prediction.intrinsics[0].double().cpu().numpy()
    depth = prediction.depth[0].float().cpu().numpy()
    confidence = prediction.confidence[0].float().cpu().numpy()
    estimates = []
    named = (("pose", poses), ("intrinsics", intrinsics), ("depth", depth), ("confidence", confidence))
    for i, index in enumerate(indices):
        failure = None
        for name, arrays in named:
            if not np.isfinite(arrays[i]).all():
                failure = f"the network's {name} is not finite"
                break
        estimates.append(FrameEstimate(index, poses[i], intrinsics[i], depth[i], confidence[i], failure))
    return estimates
