"""Flat parts of a picture: where nothing changes for many pixels, the surface is mostly one plane.

A wall without texture cannot be matched, and a network makes waves of it. Its rim can be matched, and its whole by the
network in the mean: a plane through both is better than either. Inverse depth of a plane is affine in pixels. What is
no plane disagrees with its own matches and is left alone.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Image = NDArray[np.float32]

FLAT = 2.5  # grey levels per pixel: beyond, a picture changes
LEAST_SHARE = 0.004  # of the picture's pixels, for a part to be worth a plane
ROUNDS = 4  # of reweighting
INLIER = 0.03  # log depth: beyond, a match or the network is of another surface
NETWORK = 0.03  # weight of the network's depth at a pixel, against a certain match
LEAST_KNOWN = 30.0  # certain matches, for a plane not to be the network's alone
AGREES = 0.5  # share of the matches in a part that its plane must explain


def flat_parts(grey: NDArray[np.uint8]) -> tuple[NDArray[np.int32], int]:
    """(H, W) number of each pixel's part, 0: none; and how many numbers there are, 0 included."""
    smooth = cv2.GaussianBlur(grey, (3, 3), 0).astype(np.float32)
    across, down = cv2.Sobel(smooth, -1, 1, 0, scale=1 / 8), cv2.Sobel(smooth, -1, 0, 1, scale=1 / 8)
    quiet = (across * across + down * down < FLAT**2).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(quiet, connectivity=4)
    large = stats[:, cv2.CC_STAT_AREA] >= LEAST_SHARE * grey.size
    large[0] = False
    renumbered = np.zeros(count, np.int32)
    renumbered[large] = np.arange(1, large.sum() + 1)
    return renumbered[labels], int(large.sum()) + 1


def flattened(inverse_depth: Image, network: Image, weight: Image, grey: NDArray[np.uint8]) -> tuple[Image, Image]:
    """Inverse depth of the planes through flat parts, (H, W), and how far to believe it there, 0 to 1.

    Args:
        inverse_depth, weight: (H, W) as matched, and how certain a match is, 0 to 1.
        network: (H, W) inverse depth by the network.
    """
    labels, count = flat_parts(grey)
    wide = np.asarray(cv2.dilate(labels.astype(np.float32), np.ones((5, 5), np.uint8)), np.int32)
    part = np.where(labels > 0, labels, wide)  # with its rim, which has the texture
    rows, columns = np.nonzero(part)
    part = part[rows, columns]
    x = (columns / grey.shape[1] - 0.5).astype(np.float64)
    y = (rows / grey.shape[0] - 0.5).astype(np.float64)
    matched, by_network = (a[rows, columns].astype(np.float64) for a in (inverse_depth, network))
    certain = weight[rows, columns].astype(np.float64)
    known = np.bincount(part, certain, count)
    basis = np.stack([np.ones_like(x), x, y])
    plane = _fit(part, count, basis, [(matched, certain), (by_network, np.full_like(certain, NETWORK))])
    for _ in range(ROUNDS):
        there = np.maximum((plane[part].T * basis).sum(0), 1e-9)
        data = []
        for value, trust in ((matched, certain), (by_network, np.full_like(certain, NETWORK))):
            off = np.log(value / there) / INLIER
            data.append((value, trust / np.square(1 + off * off)))
        plane = _fit(part, count, basis, data)
    there = (plane[part].T * basis).sum(0)
    off = np.log(matched / np.maximum(there, 1e-9)) / INLIER
    agreeing = np.bincount(part, certain * (np.abs(off) < 1), count) / np.maximum(known, 1e-9)
    good = (known > LEAST_KNOWN) & (agreeing > AGREES)
    value, belief = np.zeros(grey.shape, np.float32), np.zeros(grey.shape, np.float32)
    sane = good[part] & (labels[rows, columns] > 0) & (there > 0.3 * by_network) & (there < 3 * by_network)
    value[rows[sane], columns[sane]] = there[sane]
    belief[rows[sane], columns[sane]] = agreeing[part[sane]]
    return value, belief


def _fit(part: NDArray[np.int32], count: int, basis: Array, data: list[tuple[Array, Array]]) -> Array:
    """(count, 3) affine inverse depth per part, by weighted least squares. data: values and weights per pixel."""
    normal = np.zeros((count, 3, 3))
    right = np.zeros((count, 3))
    for value, weight in data:
        for i in range(3):
            weighted = weight * basis[i]
            right[:, i] += np.bincount(part, weighted * value, count)
            for j in range(i, 3):
                normal[:, i, j] += np.bincount(part, weighted * basis[j], count)
    normal[:, [1, 2, 2], [0, 0, 1]] = normal[:, [0, 0, 1], [1, 2, 2]]
    normal += 1e-6 * (1 + np.trace(normal, axis1=1, axis2=2))[:, None, None] * np.eye(3)
    return np.asarray(np.linalg.solve(normal, right[..., None])[..., 0])
