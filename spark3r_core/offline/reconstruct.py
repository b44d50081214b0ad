"""Offline reconstruction: all frames at once, with token reduction and bounded peak memory.

Frames are encoded and predicted a few at a time, and so is everything in the trunk that does not mix frames. What is
held for all frames at once is one token map, q, k and v of one layer, and the taps that the heads read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spark3r_core.attention.plan import AttentionPlan
from spark3r_core.attention.reduced import Reduced
from spark3r_core.errors import ImageError
from spark3r_core.models.interface import Backbone, Encoded
from spark3r_core.timing import PeakMemory, Stopwatch
from spark3r_core.tokens import Reduction

Progress = Callable[[str, int, int | None], None]  # stage ("encode", "decode", "predict"), frames done, of how many


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """Geometry of S frames in one gauge (model units; OpenCV axes).

    world_from_camera: (S, 4, 4) float64. intrinsics: (S, 3, 3) float64, pixels of the network input.
    depth: (S, H, W) float32 z-depth. confidence: (S, H, W) float16 in (0, 1).
    seconds: "encode", "local" (trunk without attention across frames), "match" (grouped matching), "global" (attention
        across frames), "heads", "total".
    peak_bytes: highest memory use of the run (see `PeakMemory`).
    """

    world_from_camera: NDArray[np.float64]
    intrinsics: NDArray[np.float64]
    depth: NDArray[np.float32]
    confidence: NDArray[np.float16]
    seconds: dict[str, float]
    peak_bytes: int

    def __len__(self) -> int:
        return len(self.world_from_camera)


def reconstruct(
    model: Backbone,
    images: Tensor | Iterable[Tensor | NDArray[np.uint8]],
    reduction: Reduction | None = None,
    *,
    frames_per_chunk: int = 8,
    reference: int = 0,
    progress: Progress | None = None,
) -> Reconstruction:
    """Reconstruct all frames jointly.

    Args:
        images: (S, 3, H, W) float in [0, 1] or uint8, or an iterable of frames (read once, never held together): each
            (3, H, W) tensor or (H, W, 3) uint8 array. All of one size, sides multiples of the model's patch size.
        reduction: None is `Reduction.spark3r()`.
        frames_per_chunk: bounds peak memory; results depend on it only by rounding.
        reference: frame whose camera is the world (families that have one); its keys and values are always kept.
        progress: called as stages advance; the total is None while an iterable is still being read.

    Raises:
        ImageError: no frame at all, frames of unequal or unusable size, values outside [0, 1].
    """
    reduction = Reduction.spark3r() if reduction is None else reduction
    if reference not in reduction.always_kept:
        reduction = reduction.with_(always_kept=(*reduction.always_kept, reference))
    watch = Stopwatch()
    plan = Reduced(reduction, model.name or None, watch)
    return reconstruct_with_plan(
        model, images, plan, watch, frames_per_chunk=frames_per_chunk, reference=reference, progress=progress
    )


@torch.no_grad()
def reconstruct_with_plan(
    model: Backbone,
    images: Tensor | Iterable[Tensor | NDArray[np.uint8]],
    plan: AttentionPlan,
    watch: Stopwatch | None = None,
    *,
    frames_per_chunk: int = 8,
    reference: int = 0,
    progress: Progress | None = None,
) -> Reconstruction:
    """`reconstruct` with any attention plan; `watch` is the stopwatch given to the plan, for the breakdown."""
    if frames_per_chunk < 1:
        raise ValueError(f"frames_per_chunk must be at least 1, found {frames_per_chunk}")
    watch = watch or Stopwatch()
    device = next(model.parameters()).device
    peak = PeakMemory(device)
    with chunked(model, frames_per_chunk), watch.measure("total", device):
        encoded = [encode_in_chunks(model, images, frames_per_chunk, watch, progress)]
        result = _decode_and_predict(model, encoded, plan, watch, frames_per_chunk, reference, progress)
    return replace(result, seconds=_breakdown(watch), peak_bytes=peak.bytes())


@torch.no_grad()
def reconstruct_encoded(
    model: Backbone, encoded: Encoded, plan: AttentionPlan, *, frames_per_chunk: int = 8, reference: int = 0
) -> Reconstruction:
    """`reconstruct_with_plan` from tokens of `encode_in_chunks`: to compare plans without encoding again."""
    watch, device = Stopwatch(), encoded.tokens.device
    peak = PeakMemory(device)
    with chunked(model, frames_per_chunk), watch.measure("total", device):
        result = _decode_and_predict(model, [encoded], plan, watch, frames_per_chunk, reference, None)
    return replace(result, seconds=_breakdown(watch), peak_bytes=peak.bytes())


def _decode_and_predict(
    model: Backbone,
    held: list[Encoded],
    plan: AttentionPlan,
    watch: Stopwatch,
    frames_per_chunk: int,
    reference: int,
    progress: Progress | None,
) -> Reconstruction:
    """held: one Encoded, taken out of the list so that nobody keeps its tokens alive while the heads run."""
    encoded = held.pop()
    frames, device = encoded.tokens.shape[1], encoded.tokens.device
    if not 0 <= reference < frames:
        raise ImageError(f"reference frame {reference} does not exist: there are {frames} frames")
    if progress is not None:
        progress("decode", 0, frames)
    with watch.measure("decode", device):
        decoded = model.decode(encoded, plan, reference)
    del encoded
    if progress is not None:
        progress("decode", frames, frames)
    height, width = decoded.image_hw
    world_from_camera = np.empty((frames, 4, 4))
    intrinsics = np.empty((frames, 3, 3))
    depth = np.empty((frames, height, width), np.float32)
    confidence = np.empty((frames, height, width), np.float16)
    for first in range(0, frames, frames_per_chunk):
        chunk = slice(first, min(first + frames_per_chunk, frames))
        with watch.measure("heads", device):
            prediction = model.predict(decoded, chunk)
        world_from_camera[chunk] = prediction.world_from_camera[0].double().cpu().numpy()
        intrinsics[chunk] = prediction.intrinsics[0].double().cpu().numpy()
        depth[chunk] = prediction.depth[0].float().cpu().numpy()
        confidence[chunk] = prediction.confidence[0].half().cpu().numpy()
        if progress is not None:
            progress("predict", chunk.stop, frames)
    return Reconstruction(world_from_camera, intrinsics, depth, confidence, seconds={}, peak_bytes=0)


@contextmanager
def chunked(model: Backbone, frames_per_chunk: int) -> Iterator[None]:
    """The model with that many frames at a time through its per-frame parts; its own setting comes back after."""
    before, model.frames_per_chunk = model.frames_per_chunk, frames_per_chunk
    try:
        yield
    finally:
        model.frames_per_chunk = before


@torch.no_grad()
def encode_in_chunks(
    model: Backbone,
    images: Tensor | Iterable[Tensor | NDArray[np.uint8]],
    frames_per_chunk: int = 8,
    watch: Stopwatch | None = None,
    report: Progress | None = None,
) -> Encoded:
    """Encode frames a few at a time, as `reconstruct` takes them; raises ImageError like it."""
    watch = watch or Stopwatch()
    device = next(model.parameters()).device
    total = len(images) if hasattr(images, "__len__") else None  # type: ignore[arg-type]
    parts: list[Encoded] = []
    done = 0
    for chunk in _chunks(images, frames_per_chunk):
        with watch.measure("encode", device):
            pixels = chunk.to(device)
            pixels = pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels.float()
            parts.append(model.encode(pixels[None]))
        done += len(chunk)
        if report is not None:
            report("encode", done, total)
    if not parts:
        raise ImageError("no frame was given; a reconstruction needs at least one")
    return Encoded.cat(parts)


def _chunks(images: Tensor | Iterable[Tensor | NDArray[np.uint8]], size: int) -> Iterator[Tensor]:
    """Stacked frames (n <= size, 3, H, W), checked."""
    if isinstance(images, Tensor):
        if images.ndim != 4 or images.shape[1] != 3:
            raise ImageError(f"images have shape {tuple(images.shape)}; expected (S, 3, H, W)")
        for chunk in images.split(size) if len(images) else ():
            yield _checked(chunk)
        return
    waiting: list[Tensor] = []
    shape: tuple[int, ...] | None = None
    for index, frame in enumerate(images):
        tensor = _frame(frame, index)
        if shape not in (None, tuple(tensor.shape)):
            found, first = f"{tensor.shape[2]}x{tensor.shape[1]}", f"{shape[2]}x{shape[1]}"  # type: ignore[index]
            raise ImageError(f"frame {index} is {found} pixels, the frames before it {first}; resize them to one size")
        shape = tuple(tensor.shape)
        waiting.append(tensor)
        if len(waiting) == size:
            yield _checked(torch.stack(waiting))
            waiting = []
    if waiting:
        yield _checked(torch.stack(waiting))


def _frame(frame: Tensor | NDArray[np.uint8], index: int) -> Tensor:
    """One frame as a (3, H, W) tensor."""
    if isinstance(frame, np.ndarray):
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
            raise ImageError(f"frame {index} is {frame.shape} {frame.dtype}; as an array it must be (H, W, 3) uint8")
        return torch.from_numpy(np.ascontiguousarray(frame.transpose(2, 0, 1)))
    if not isinstance(frame, Tensor) or frame.ndim != 3 or frame.shape[0] != 3:
        found = tuple(frame.shape) if isinstance(frame, Tensor) else type(frame).__name__
        raise ImageError(f"frame {index} is {found}; expected a (3, H, W) tensor or an (H, W, 3) uint8 array")
    return frame


def _checked(images: Tensor) -> Tensor:
    if images.dtype == torch.uint8:
        return images
    if not images.is_floating_point():
        raise ImageError(f"images are {images.dtype}; expected uint8, or floats in [0, 1]")
    low, high = images.min().item(), images.max().item()
    if not (low >= -1e-3 and high <= 1 + 1e-3):  # also false for NaN
        raise ImageError(f"image values reach from {low:g} to {high:g}; floats must lie in [0, 1] (or pass uint8)")
    return images


def _breakdown(watch: Stopwatch) -> dict[str, float]:
    seconds = watch.seconds()
    across = {name: seconds.get(name, 0.0) for name in ("match", "global")}
    local = max(0.0, seconds["decode"] - sum(across.values()))
    rest = {name: seconds.get(name, 0.0) for name in ("encode", "heads", "total")}
    return {"encode": rest["encode"], "local": local, **across, "heads": rest["heads"], "total": rest["total"]}
