"""Grey pyramids of a frame with their derivatives: what the tracker compares. `pyramid.py` is the same for tensors."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from spark3r_core.photometric.assumed import BLUR_SIGMA, level_count

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Level:
    """One level of a grey pyramid: (h, w, 3) float32, blurred intensity in [0, 1], d/du, d/dv per pixel."""

    channels: Floats

    @property
    def size_hw(self) -> tuple[int, int]:
        return self.channels.shape[0], self.channels.shape[1]


def grey_of(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W) of an RGB image (H, W, 3)."""
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)


def grey_levels(image: NDArray[np.uint8]) -> list[Level]:
    """Pyramid of an (H, W, 3) RGB or (H, W) grey image, finest level first, each half the size of the one before."""
    grey: Floats = (image if image.ndim == 2 else grey_of(image)).astype(np.float32) * np.float32(1 / 255)
    levels = []
    for level in range(level_count(grey.shape[1])):
        if level:
            if min(grey.shape) < 8:
                break  # a strip; of less than 4 rows none is inside by a pixel
            height, width = grey.shape[0] // 2 * 2, grey.shape[1] // 2 * 2
            half = cv2.resize(grey[:height, :width], (width // 2, height // 2), interpolation=cv2.INTER_AREA)
            grey = np.asarray(half, np.float32)
        radius = math.ceil(2 * BLUR_SIGMA)
        kernel = (2 * radius + 1, 2 * radius + 1)
        blurred = cv2.GaussianBlur(grey, kernel, BLUR_SIGMA, borderType=cv2.BORDER_REPLICATE)
        padded = cv2.copyMakeBorder(blurred, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
        channels = np.empty((*grey.shape, 3), np.float32)
        channels[..., 0] = blurred
        np.subtract(padded[1:-1, 2:], padded[1:-1, :-2], out=channels[..., 1])
        np.subtract(padded[2:, 1:-1], padded[:-2, 1:-1], out=channels[..., 2])
        channels[..., 1:] *= 0.5
        levels.append(Level(channels))
    return levels
