"""From camera images to network input, and what that did to the pixels.

Images are (H, W, 3) uint8 RGB. A 3x3 affine map takes pixel coordinates of the original to those of the input (centres
at integer + 0.5, so a resize is a pure scaling); intrinsics of the input are map @ K. ImageNet normalisation is the
models' own affair. Every family gets OpenCV's filters, whatever its reference has; its size is that of its reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from spark3r_core.errors import ImageError
from spark3r_core.geometry.camera import resize_map, shift_map

Pixels = NDArray[np.uint8]
PixelMap = NDArray[np.float64]


def as_rgb(image: NDArray[np.generic]) -> Pixels:
    """Grey (H, W) or (H, W, 1), RGB or RGBA (on white) uint8 → RGB (H, W, 3) uint8. Raises ImageError."""
    if image.dtype != np.uint8:
        raise ImageError(f"image values are {image.dtype}; expected uint8 (scale 16-bit images to 0..255 first)")
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4) or image.size == 0:
        raise ImageError(f"image has shape {image.shape}; expected (H, W), (H, W, 3) or (H, W, 4), not empty")
    if image.shape[2] == 1:
        return np.repeat(image, 3, axis=2)
    if image.shape[2] == 4:
        rgba = Image.fromarray(np.ascontiguousarray(image), "RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return np.asarray(Image.alpha_composite(white, rgba))[..., :3].copy()
    return np.ascontiguousarray(image)


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


def _centre_crop(image: Pixels, size_hw: tuple[int, int], pixel_map: PixelMap) -> tuple[Pixels, PixelMap]:
    top, left = (image.shape[0] - size_hw[0]) // 2, (image.shape[1] - size_hw[1]) // 2
    cut = image[top : top + size_hw[0], left : left + size_hw[1]]
    return np.ascontiguousarray(cut), shift_map(-left, -top) @ pixel_map
