"""The sizes one picture is used at, and the maps between their pixels: the tracker's, the network's, the whole picture.

Pixel maps are (3, 3) and take pixels of the whole picture to those of a smaller one; pixel centres at integer + 0.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from spark3r_core.models.facts import ModelFacts
from spark3r_core.models.preprocess import StreamResize, resize_map

Array = NDArray[np.float64]
Pixels = NDArray[np.uint8]

TRACKER_LONG_SIDE = 192  # pixels; more brings little accuracy and costs in proportion to the points (docs/mapping.md)
TRACKER_MULTIPLE = 8  # so that each level of the pyramid is half of the one before


@dataclass(frozen=True)
class CameraSizes:
    """How pictures of one shape (H, W) become the tracker's and the network's."""

    picture_hw: tuple[int, int]
    tracker: StreamResize
    network: StreamResize

    @staticmethod
    def fit(picture_hw: Sequence[int], model: ModelFacts, long_side: int | None) -> CameraSizes:
        """long_side: of the network's input; None: the model's own."""
        hw = (int(picture_hw[0]), int(picture_hw[1]))
        native = model.capabilities
        if long_side is None and native.native_patches is not None:
            network = StreamResize.fit_patches(hw, native.native_patches, model.patch_size)
        else:
            network = StreamResize.fit(hw, long_side or native.native_long_side, model.patch_size)
        return CameraSizes(hw, StreamResize.fit(hw, TRACKER_LONG_SIDE, TRACKER_MULTIPLE), network)

    @property
    def tracker_map(self) -> Array:
        """(3, 3) from pixels of the picture to the tracker's."""
        height, width = self.picture_hw
        return resize_map((width, height), self.tracker.image_hw[::-1])

    def for_tracker(self, picture: Pixels) -> tuple[Pixels, Array]:
        return self.tracker(picture)

    def for_network(self, picture: Pixels) -> tuple[Pixels, Array]:
        return self.network(picture)


def intrinsics_of(focal: float, picture_hw: tuple[int, int]) -> Array:
    """(3, 3) of square pixels with the centre in the middle. focal: pixels of the picture."""
    height, width = picture_hw
    return np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])


def focal_of(intrinsics: Array) -> float:
    """Focal length of square pixels: the geometric mean of both."""
    return float(np.sqrt(intrinsics[0, 0] * intrinsics[1, 1]))


def resampled(image: NDArray[np.float32], target_from_source: Array, target_hw: tuple[int, int]) -> NDArray[np.float32]:
    """A map (h, w) of one size seen at another, linear in between, edges repeated."""
    source_from_target = np.linalg.inv(target_from_source)
    if image.shape == target_hw and np.allclose(source_from_target, np.eye(3), atol=1e-9):
        return image
    u = ((np.arange(target_hw[1]) + 0.5) * source_from_target[0, 0] + source_from_target[0, 2] - 0.5).astype(np.float32)
    v = ((np.arange(target_hw[0]) + 0.5) * source_from_target[1, 1] + source_from_target[1, 2] - 0.5).astype(np.float32)
    map_u, map_v = np.meshgrid(u, v)
    return np.asarray(cv2.remap(image, map_u, map_v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)


def sampled(image: NDArray[np.float32], places: NDArray[np.float32], image_from_picture: Array) -> Array:
    """(N,) values of a map (h, w) at places (N, 2) of the picture, nearest pixel; nan outside."""
    at = np.floor(places * image_from_picture[[0, 1], [0, 1]] + image_from_picture[:2, 2]).astype(int)
    inside = ((at >= 0) & (at < np.array(image.shape[::-1]))).all(1) if len(places) else np.zeros(0, bool)
    values = np.full(len(places), np.nan)
    values[inside] = image[at[inside, 1], at[inside, 0]]
    return values
