"""Plane sweep along the network's surface: how well other pictures agree with a keyframe at each step of depth.

The surfaces of the sweep are not planes but the base depth times a factor (Collins' space sweep, 1996, along a prior
surface): what is slanted stays slanted, so that small windows compare like with like. Cost is one minus the zero-mean
normalised cross-correlation (ZNCC) of a window; of all views the better half counts, which leaves out those in which
something stands before the point (Kang, Szeliski and Chai 2001).

`reference.sweep` says the same one pixel at a time, `on_device.sweep` by torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from spark3r_core.depth.views import View

Array = NDArray[np.float64]
Image = NDArray[np.float32]

NOISE = 2.0  # grey levels, standard deviation: a window that varies less says nothing
SIGMA = 0.25  # of the window's weights, over its width
GREY_UNIT = 64.0  # grey levels: keeps squares small
LEAST_Z = 1e-3  # of a point before the other camera, over its depth here


def projections(intrinsics: Array, view: View, size_hw: tuple[int, int]) -> tuple[list[Image], Array]:
    """Where a view sees pixels of the keyframe, as a function of inverse depth w: (a + b w), homogeneous.

    Returns a: three (H, W) maps, and b: (3,), so that column u = (a0 + b0 w) / (a2 + b2 w) and row v likewise, in
    pixels whose first has its centre at 0 (OpenCV's convention).
    """
    height, width = size_hw
    shifted = view.intrinsics.copy()
    shifted[:2, 2] -= 0.5
    rotation, translation = view.camera_from_key[:3, :3], view.camera_from_key[:3, 3]
    a = shifted @ rotation @ np.linalg.inv(intrinsics)
    x, y = np.arange(width) + 0.5, np.arange(height)[:, None] + 0.5
    maps = [(row[0] * x + row[1] * y + row[2]).astype(np.float32) for row in a]
    return maps, shifted @ translation


def sweep(
    grey: NDArray[np.uint8],
    intrinsics: Array,
    views: Sequence[View],
    inverse_depth: Image,
    steps: Array,
    window: int = 5,
) -> Image:
    """Matching cost at each step, (D, H, W) float32 in [0, 1].

    Args:
        grey, intrinsics: (H, W) uint8 of the keyframe and its (3, 3).
        views: at least one.
        inverse_depth: (H, W) of the base surface, one over the keyframe's unit.
        steps: (D,) log of depth over the base's.
        window: pixels, odd.
    """
    size_hw = (grey.shape[0], grey.shape[1])
    here = _centred(grey)
    mean, variance = _moments(here, window)
    cases = [_Case(_centred(view.grey), *projections(intrinsics, view, size_hw)) for view in views]
    shares = _shares([case.seen(inverse_depth) for case in cases])
    cost = np.empty((len(steps), *size_hw), np.float32)
    w = np.empty(size_hw, np.float32)
    for number, step in enumerate(steps):
        np.multiply(inverse_depth, np.float32(np.exp(-step)), out=w)
        smallest: list[Image] = []
        for case in cases:
            one = _dissimilarity(here, mean, variance, case.at(w), window)
            _insert(smallest, one, len(shares))
        total = np.multiply(smallest[0], shares[0], out=cost[number])
        for one, share in zip(smallest[1:], shares[1:], strict=True):
            one *= share
            total += one
    return cost


@dataclass
class _Case:
    """A view, and where it sees the keyframe's pixels: see `projections`."""

    picture: Image
    maps: list[Image]
    offset: Array

    def __post_init__(self) -> None:
        self._column, self._row, self._below = (np.empty_like(self.maps[0]) for _ in range(3))

    def at(self, w: Image) -> Image:
        """(H, W) the view's picture at each pixel's point of inverse depth w; nan beyond its edge."""
        column, row = self._places(w)
        seen = cv2.remap(
            self.picture, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=float("nan")
        )
        return np.asarray(seen, np.float32)

    def seen(self, w: Image) -> NDArray[np.bool_]:
        """(H, W) whether it sees the points."""
        rows, columns = self.picture.shape
        column, row = self._places(w)
        return (column >= 0) & (column <= columns - 1) & (row >= 0) & (row <= rows - 1)

    def _places(self, w: Image) -> tuple[Image, Image]:
        for target, a, b in zip((self._column, self._row, self._below), self.maps, self.offset, strict=True):
            np.multiply(w, np.float32(b), out=target)
            target += a
        np.maximum(self._below, np.float32(LEAST_Z), out=self._below)
        np.reciprocal(self._below, out=self._below)
        self._column *= self._below
        self._row *= self._below
        return self._column, self._row


def _shares(seen: Sequence[NDArray[np.bool_]]) -> list[Image]:
    """How much the smallest cost of a pixel counts, the second smallest, and so on: the better half of those views
    that see its point on the base surface."""
    seers = np.maximum(np.sum(seen, axis=0), 1)
    kept = np.ceil(seers / 2)
    return [np.asarray((place < kept) / kept, np.float32) for place in range(int(kept.max()))]


def _centred(grey: NDArray[np.uint8]) -> Image:
    return (grey.astype(np.float32) - np.float32(128)) * np.float32(1 / GREY_UNIT)


def _moments(image: Image, window: int) -> tuple[Image, Image]:
    """(H, W) mean and variance of windows, that of noise with it."""
    mean = _average(image, window)
    variance = _average(image * image, window)
    variance -= mean * mean
    variance += np.float32((NOISE / GREY_UNIT) ** 2)
    return mean, variance


def _average(image: Image, window: int) -> Image:
    """Weighted average over a window: a bell, which blurs edges less than a box, and OpenCV is faster with it."""
    return np.asarray(cv2.GaussianBlur(image, (window, window), window * SIGMA, borderType=cv2.BORDER_REPLICATE))


def _dissimilarity(here: Image, mean: Image, variance: Image, there: Image, window: int) -> Image:
    """(H, W) one minus ZNCC, at most 1, and 1 of windows that are not seen whole; those without texture are unlike
    anything. mean, variance: of here, see `_moments`."""
    other_mean, other_variance = _moments(there, window)
    covariance = _average(here * there, window)
    other_mean *= mean
    covariance -= other_mean
    other_variance *= variance
    np.sqrt(other_variance, out=other_variance)
    covariance /= other_variance
    np.subtract(1, covariance, out=covariance)
    return np.fmin(covariance, 1, out=covariance)


def _insert(smallest: list[Image], one: Image, kept: int) -> None:
    """Keep, at each pixel, the `kept` smallest values in order."""
    for place, held in enumerate(smallest):
        lower = np.minimum(held, one)
        if place + 1 < kept:
            one = np.maximum(held, one)
        smallest[place] = lower
    if len(smallest) < kept:
        smallest.append(one)
