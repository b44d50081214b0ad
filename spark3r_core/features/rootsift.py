"""RootSIFT features of one picture, spread over it, and their matches to another's.

SIFT: Lowe, 2004. The square root of the normalised histogram: Arandjelović, Zisserman, *Three things everyone should
know to improve object retrieval*, 2012. OpenCV finds and describes; what is ours is the choice and the matching.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

LONG_SIDE = 640  # pixels that features are looked for at; more costs time and finds smaller things
CONTRAST = 0.005  # SIFT's threshold; an eighth of its default: where texture is poor, weak features are all there is
EDGE = 20.0
CELLS = 8  # along the longer side: no cell gives more than its share twice over


@dataclass(frozen=True)
class Features:
    """places: (N, 2) float32, pixels of the whole picture, centres at integer + 0.5. histograms: (N, 128) uint8 of
    SIFT, a quarter of the bytes of what is made of them. sizes: (N,) diameters in pixels of the whole picture."""

    places: NDArray[np.float32]
    histograms: NDArray[np.uint8]
    sizes: NDArray[np.float32]

    @property
    def descriptors(self) -> NDArray[np.float32]:
        """(N, 128) of unit length: RootSIFT, made anew each time."""
        histograms = self.histograms.astype(np.float32)
        return np.sqrt(histograms / np.maximum(histograms.sum(1, keepdims=True), np.float32(1e-12)))

    def __len__(self) -> int:
        return len(self.places)

    @property
    def nbytes(self) -> int:
        return self.places.nbytes + self.histograms.nbytes + self.sizes.nbytes


def extract(picture: NDArray[np.uint8], max_features: int = 1500, long_side: int = LONG_SIDE) -> Features:
    """Features of an (H, W, 3) RGB or (H, W) grey picture, the strongest of each part of it.

    long_side: pixels that they are looked for at.
    """
    grey = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    scale = min(1.0, long_side / max(grey.shape))
    if scale < 1:
        size = (round(grey.shape[1] * scale), round(grey.shape[0] * scale))
        small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    else:
        small = grey
    sift = cv2.SIFT.create(nfeatures=max_features * 4 // 3, contrastThreshold=CONTRAST, edgeThreshold=EDGE)
    found, described = sift.detectAndCompute(small, None)
    if not found or described is None:
        return Features(np.zeros((0, 2), np.float32), np.zeros((0, 128), np.uint8), np.zeros(0, np.float32))
    at = np.array([point.pt for point in found], np.float32)
    chosen = _spread(at, np.array([point.response for point in found]), small.shape, max_features)
    to_picture = np.array([grey.shape[1] / small.shape[1], grey.shape[0] / small.shape[0]], np.float32)
    places = (at[chosen] + np.float32(0.5)) * to_picture
    sizes = np.array([found[i].size for i in chosen], np.float32) * to_picture[0]
    return Features(places, described[chosen].astype(np.uint8), sizes)


def match(a: Features, b: Features, ratio: float = 0.8) -> NDArray[np.int64]:
    """(M, 2) indices of features that are each other's nearest, and nearer than `ratio` times a's second choice."""
    if len(a) < 2 or len(b) < 2:
        return np.zeros((0, 2), np.int64)
    likeness = a.descriptors @ b.descriptors.T
    best = likeness.argmax(1)
    rows = np.arange(len(a))
    nearest = likeness[rows, best]
    is_mutual = nearest >= likeness.max(0)[best]  # five times faster than argmax along the columns
    likeness[rows, best] = -1
    second = likeness.max(1)
    distance, next_distance = 2 - 2 * np.minimum(nearest, 1), 2 - 2 * np.minimum(second, 1)
    good = np.flatnonzero(is_mutual & (distance < ratio**2 * next_distance))
    good = good[np.sort(np.unique(best[good], return_index=True)[1])]  # of equal ones the first
    return np.stack([good, best[good]], 1)


def _spread(
    places: NDArray[np.float32], strength: NDArray[np.float64], shape: tuple[int, ...], max_features: int
) -> NDArray[np.int64]:
    """Indices of the strongest, but no more than twice its share from any cell; equal strengths keep their order."""
    order = np.argsort(-strength, kind="stable")
    if len(order) <= max_features:
        return order
    cell = max(shape[:2]) / CELLS
    rows, columns = int(np.ceil(shape[0] / cell)), int(np.ceil(shape[1] / cell))
    most = 2 * max_features // (rows * columns) + 1
    number = (places[order, 1] // cell * columns + places[order, 0] // cell).astype(np.int64)
    by_cell = np.argsort(number, kind="stable")
    first = np.searchsorted(number[by_cell], number[by_cell])
    rank = np.empty(len(order), np.int64)
    rank[by_cell] = np.arange(len(order)) - first
    return np.concatenate([order[rank < most], order[rank >= most]])[:max_features]
