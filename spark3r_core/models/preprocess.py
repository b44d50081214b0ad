"""From camera images to network input: each family's own resize rule and filter, and what it did to the pixels.

Every function takes images (H, W, 3) uint8 RGB and returns values in [0, 1] with one 3x3 affine map per image, which
takes pixel coordinates of the original to those of the input (centres at integer + 0.5, so a resize is a pure
scaling); intrinsics of the input are map @ K. ImageNet normalisation is the models' own affair.

`StreamResize` is for streams: the network size is chosen once and every later frame is brought to it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from spark3r_core.errors import ImageError
from spark3r_core.geometry.camera import resize_map, shift_map

Pixels = NDArray[np.uint8]
PixelMap = NDArray[np.float64]

PI3_MAX_PIXELS = 255_000


@dataclass(frozen=True)
class Preprocessed:
    """images: (S, 3, h, w) float32 in [0, 1]; pixel_maps: (S, 3, 3) float64, original pixels to input pixels."""

    images: Tensor
    pixel_maps: PixelMap


def as_rgb(image: NDArray[np.generic], *, alpha: str = "white") -> Pixels:
    """Grey (H, W) or (H, W, 1), RGB or RGBA uint8 → RGB (H, W, 3) uint8.

    alpha: "white" composites on white (VGGT, Omega, streams), "drop" ignores it (DA3, π³). Raises ImageError.
    """
    if image.dtype != np.uint8:
        raise ImageError(f"image values are {image.dtype}; expected uint8 (scale 16-bit images to 0..255 first)")
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4) or image.size == 0:
        raise ImageError(f"image has shape {image.shape}; expected (H, W), (H, W, 3) or (H, W, 4), not empty")
    if image.shape[2] == 1:
        return np.repeat(image, 3, axis=2)
    if image.shape[2] == 4:
        if alpha == "white":
            rgba = Image.fromarray(np.ascontiguousarray(image), "RGBA")
            white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
            return np.asarray(Image.alpha_composite(white, rgba))[..., :3].copy()
        return np.ascontiguousarray(image[..., :3])
    return np.ascontiguousarray(image)


def preprocess_da3(images: Sequence[NDArray[np.generic]], long_side: int = 504, patch_size: int = 14) -> Preprocessed:
    """Longest side to `long_side`, then each side to the nearest multiple of the patch: two OpenCV resizes.

    Images that end up in different sizes are cut around their centres to the smallest.
    """
    resized, maps = [], []
    for image in images:
        rgb = as_rgb(image, alpha="drop")
        height, width = rgb.shape[:2]
        scale = long_side / max(height, width)
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        small = _cv_resize(rgb, size)
        small = _cv_resize(small, (nearest_multiple(size[0], patch_size), nearest_multiple(size[1], patch_size)))
        resized.append(small)
        maps.append(resize_map((width, height), small.shape[1::-1]))
    target = (min(r.shape[0] for r in resized), min(r.shape[1] for r in resized))
    return _stacked([_centre_crop(r, target, m) for r, m in zip(resized, maps, strict=True)])


def preprocess_vggt(images: Sequence[NDArray[np.generic]], mode: str = "crop", side: int = 518) -> Preprocessed:
    """Pillow bicubic. "crop": width to 518, height in proportion to a multiple of 14, at most 518 (middle rows).

    "pad": longest side to 518, the other to a multiple of 14, white borders up to a square. Images of different sizes
    get white borders up to the largest.
    """
    if mode not in ("crop", "pad"):
        raise ValueError(f'mode is "crop" or "pad", not {mode!r}')
    results = []
    for image in images:
        rgb = as_rgb(image)
        height, width = rgb.shape[:2]
        if mode == "pad" and height > width:
            size = (side, max(14, round(width * side / height / 14) * 14))
        else:
            size = (max(14, round(height * side / width / 14) * 14), side)
        small, pixel_map = _pil_resize(rgb, size, Image.Resampling.BICUBIC)
        if mode == "crop":
            results.append(_centre_crop(small, (min(size[0], side), side), pixel_map))
        else:
            results.append(_centre_pad(small, (side, side), pixel_map))
    return _stacked(_padded_to_largest(results))


def preprocess_pi3(images: Sequence[NDArray[np.generic]]) -> Preprocessed:
    """Pillow Lanczos; all images to one size, made from the first: at most 255,000 pixels, sides 14 k and 14 m."""
    frames = [as_rgb(image, alpha="drop") for image in images]
    height, width = frames[0].shape[:2]
    scale = math.sqrt(PI3_MAX_PIXELS / (width * height))
    k, m = max(1, round(width * scale / 14)), max(1, round(height * scale / 14))
    while 14 * k * 14 * m > PI3_MAX_PIXELS:
        if k / m > width / height:
            k -= 1
        else:
            m -= 1
    return _stacked([_pil_resize(frame, (14 * m, 14 * k), Image.Resampling.LANCZOS) for frame in frames])


def preprocess_vggt_omega(
    images: Sequence[NDArray[np.generic]], mode: str = "balanced", resolution: int = 512, patch_size: int = 16
) -> Preprocessed:
    """Cut to an aspect of at most 2:1, then Pillow bicubic.

    "balanced": as many patches as a square of `resolution`, split by the aspect; "max_size": longest side to
    `resolution`, the other to a multiple of the patch. Images of different sizes get white borders up to the largest.
    """
    if mode not in ("balanced", "max_size"):
        raise ValueError(f'mode is "balanced" or "max_size", not {mode!r}')
    results = []
    for image in images:
        rgb = as_rgb(image)
        height, width = rgb.shape[:2]
        rgb, cut = _centre_crop(rgb, (min(height, 2 * width), min(width, 2 * height)), np.eye(3))
        height, width = rgb.shape[:2]
        if mode == "balanced":
            budget, aspect = (resolution / patch_size) ** 2, height / width
            columns = math.sqrt(budget / aspect)
            grid = (max(1, round(budget / columns)), max(1, round(columns)))
        else:
            scale = resolution / max(height, width) / patch_size
            grid = (max(1, round(height * scale)), max(1, round(width * scale)))
        small, scaling = _pil_resize(rgb, (grid[0] * patch_size, grid[1] * patch_size), Image.Resampling.BICUBIC)
        results.append((small, scaling @ cut))
    return _stacked(_padded_to_largest(results))


PREPROCESS: dict[str, Callable[[Sequence[NDArray[np.generic]]], Preprocessed]] = {
    "da3": preprocess_da3,
    "vggt": preprocess_vggt,
    "pi3": preprocess_pi3,
    "pi3x": preprocess_pi3,
    "vggt_omega": preprocess_vggt_omega,
}


def preprocess(family: str, images: Sequence[NDArray[np.generic]]) -> Preprocessed:
    """The default rule of a family (`Backbone.family`) for a set of images that are reconstructed together."""
    if not images:
        raise ImageError("no images to reconstruct")
    return PREPROCESS[family](images)


def nearest_multiple(value: int, step: int) -> int:
    """The multiple of `step` nearest to `value`, ties upwards, at least one step."""
    return max(step, (2 * value + step) // (2 * step) * step)


@dataclass(frozen=True)
class StreamResize:
    """Brings every frame of a stream to one network size.

    A frame of the shape that the size was made for is resized whole (its aspect changes by the rounding to patches
    only). A frame of another shape is scaled until it covers the size and cut around its centre, so that no invented
    pixels reach the network.

    Args:
        image_hw: the network size.
        long_side, patch_size: what it was made from.
    """

    image_hw: tuple[int, int]
    long_side: int
    patch_size: int

    @staticmethod
    def fit_patches(frame_hw: Sequence[int], patches: int, patch_size: int) -> StreamResize:
        """The network size for frames (H, W) that has about `patches` patches, whatever the shape of the image."""
        aspect = frame_hw[1] / frame_hw[0]
        rows = max(1, round((patches / aspect) ** 0.5))
        columns = max(1, round(rows * aspect))
        hw = (rows * patch_size, columns * patch_size)
        return StreamResize(hw, max(hw), patch_size)

    @staticmethod
    def fit(frame_hw: Sequence[int], long_side: int, patch_size: int) -> StreamResize:
        """Network size for frames (H, W): longest side nearest to `long_side`, both sides multiples of the patch."""
        if long_side < patch_size:
            raise ImageError(f"size {long_side} is smaller than one patch of {patch_size} pixels; use a larger --size")
        return StreamResize(_fitted(frame_hw, long_side, patch_size), long_side, patch_size)

    def __call__(self, image: NDArray[np.generic]) -> tuple[Pixels, PixelMap]:
        """Frame (H, W, 3) uint8 (grey and RGBA too) → (h, w, 3) uint8 and the pixel map from frame to result."""
        rgb = as_rgb(image)
        height, width = rgb.shape[:2]
        if self._is_resized_whole(height, width):
            return _cv_resize(rgb, self.image_hw), resize_map((width, height), self.image_hw[::-1])
        scale = max(self.image_hw[0] / height, self.image_hw[1] / width)
        size = (max(self.image_hw[0], round(height * scale)), max(self.image_hw[1], round(width * scale)))
        return _centre_crop(_cv_resize(rgb, size), self.image_hw, resize_map((width, height), size[::-1]))

    def _is_resized_whole(self, height: int, width: int) -> bool:
        """Whether the frame has the shape the size was made for, up to the rounding to patches."""
        scale = self.long_side / max(height, width)
        target = self.image_hw
        return all(abs(side * scale - to) < self.patch_size for side, to in ((height, target[0]), (width, target[1])))


def _fitted(frame_hw: Sequence[int], long_side: int, patch_size: int) -> tuple[int, int]:
    height, width = frame_hw[0], frame_hw[1]
    scale = long_side / max(height, width)
    return nearest_multiple(round(height * scale), patch_size), nearest_multiple(round(width * scale), patch_size)


def _cv_resize(image: Pixels, size_hw: tuple[int, int]) -> Pixels:
    """OpenCV: cubic where a side grows, area where none does; nothing at all where the size fits."""
    height, width = image.shape[:2]
    if (height, width) == size_hw:
        return image
    grows = size_hw[0] > height or size_hw[1] > width
    method = cv2.INTER_CUBIC if grows else cv2.INTER_AREA
    return np.asarray(cv2.resize(image, size_hw[::-1], interpolation=method), np.uint8)


def _pil_resize(image: Pixels, size_hw: tuple[int, int], method: Image.Resampling) -> tuple[Pixels, PixelMap]:
    height, width = image.shape[:2]
    resized = np.asarray(Image.fromarray(image).resize(size_hw[::-1], method), np.uint8)
    return resized, resize_map((width, height), size_hw[::-1])


def _centre_crop(image: Pixels, size_hw: tuple[int, int], pixel_map: PixelMap) -> tuple[Pixels, PixelMap]:
    top, left = (image.shape[0] - size_hw[0]) // 2, (image.shape[1] - size_hw[1]) // 2
    cut = image[top : top + size_hw[0], left : left + size_hw[1]]
    return np.ascontiguousarray(cut), shift_map(-left, -top) @ pixel_map


def _centre_pad(image: Pixels, size_hw: tuple[int, int], pixel_map: PixelMap) -> tuple[Pixels, PixelMap]:
    top, left = (size_hw[0] - image.shape[0]) // 2, (size_hw[1] - image.shape[1]) // 2
    padded = np.full((*size_hw, 3), 255, np.uint8)
    padded[top : top + image.shape[0], left : left + image.shape[1]] = image
    return padded, shift_map(left, top) @ pixel_map


def _padded_to_largest(results: Sequence[tuple[Pixels, PixelMap]]) -> list[tuple[Pixels, PixelMap]]:
    target = (max(image.shape[0] for image, _ in results), max(image.shape[1] for image, _ in results))
    return [_centre_pad(image, target, pixel_map) for image, pixel_map in results]


def _stacked(results: Sequence[tuple[Pixels, PixelMap]]) -> Preprocessed:
    pixels = torch.from_numpy(np.stack([image for image, _ in results]))
    return Preprocessed(pixels.permute(0, 3, 1, 2).float() / 255, np.stack([pixel_map for _, pixel_map in results]))
