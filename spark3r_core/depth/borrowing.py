"""What other keyframes say of the parts of a picture that its own matches say nothing of.

A surface that this keyframe could not match, because the network was too far off there or few pictures see it so, may
be certain in a neighbour's depth. Their points are seen from here, and what several agree on is taken over.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spark3r_core.depth.consistency import AGREE, LEAST_Z, Neighbour
from spark3r_core.depth.fill import spread

Array = NDArray[np.float64]
Image = NDArray[np.float32]

EVERY = 2  # pixels of a neighbour, of which one is a point, and of this picture, of which one is a cell
TRUSTED = 0.3  # a neighbour's pixel that is less sure says nothing
ALONE = 0.5  # weight of what one neighbour says, fully sure, against one's own full certainty; of two it is twice that
REACH, EDGE, BACKGROUND = 6.0, 8.0, 0.02  # of what is taken over: cells, grey levels, weight of one's own depth


def borrowed(
    depth: Image, certainty: Image, grey: NDArray[np.uint8], intrinsics: Array, others: Sequence[Neighbour]
) -> Image:
    """(H, W) logarithm of what takes the depth to what other keyframes say of it; near 0 where it is certain itself.

    depth, certainty: (H, W), certainty 0 to 1; grey: (H, W) uint8 picture; intrinsics: (3, 3).
    """
    seen, weight = seen_from_here(depth.shape, intrinsics, others)
    own, sure, small = (image[EVERY // 2 :: EVERY, EVERY // 2 :: EVERY] for image in (depth, certainty, grey))
    weight = weight * (1 - sure)
    off = np.where(weight > 0, np.log(np.where(weight > 0, seen, 1) / own), 0).astype(np.float32)
    total = sure + weight
    known = np.asarray(off * weight / np.maximum(total, np.float32(1e-6)), np.float32)
    return spread(known, np.asarray(total, np.float32), np.ascontiguousarray(small), REACH**2, EDGE, BACKGROUND)


def seen_from_here(size_hw: tuple[int, ...], intrinsics: Array, others: Sequence[Neighbour]) -> tuple[Image, Image]:
    """Depth of the neighbours' points in cells of `EVERY` pixels, and how far to believe it, 0 where there is none."""
    cells = tuple(-(-(side - EVERY // 2) // EVERY) for side in size_hw)
    views = [_one(cells, intrinsics, other) for other in others]
    if not views:
        return np.zeros(cells, np.float32), np.zeros(cells, np.float32)
    logs, trusts = (np.stack(images) for images in zip(*views, strict=True))
    best, most = np.zeros(cells, np.float32), np.zeros(cells, np.float32)
    for candidate, own in zip(logs, trusts, strict=True):
        agreeing = trusts * ((np.abs(logs - candidate) < AGREE) & (own > 0))
        support = agreeing.sum(0)
        mean = (agreeing * logs).sum(0) / np.maximum(support, np.float32(1e-6))
        better = support > most
        best, most = np.where(better, mean, best), np.where(better, support, most)
    weight = np.minimum(ALONE * most, 1)
    return np.exp(best).astype(np.float32), weight.astype(np.float32)


def _one(cells: tuple[int, ...], intrinsics: Array, other: Neighbour) -> tuple[Image, Image]:
    """Log of the depth of one neighbour's trusted points in each cell, the nearest, and how far they are trusted."""
    depth, trust = other.depth[::EVERY, ::EVERY].ravel(), other.confidence[::EVERY, ::EVERY].ravel()
    rows, columns = np.divmod(np.arange(len(depth)), -(-other.depth.shape[1] // EVERY))
    keep = (trust > TRUSTED) & np.isfinite(depth) & (depth > 0)
    pixels = np.stack([EVERY * columns[keep] + 0.5, EVERY * rows[keep] + 0.5, np.ones(keep.sum())])
    key_from_camera = np.linalg.inv(other.camera_from_key)
    points = key_from_camera[:3, :3] @ np.linalg.inv(other.intrinsics) @ pixels * depth[keep]
    u, v, z = intrinsics @ (points + key_from_camera[:3, 3:])
    ahead = z > LEAST_Z
    z, trusted = z[ahead], trust[keep][ahead]
    row, column = (np.floor(axis[ahead] / z / EVERY).astype(np.int64) for axis in (v, u))
    inside = (row >= 0) & (row < cells[0]) & (column >= 0) & (column < cells[1])
    far_first = np.argsort(-z[inside], kind="stable")  # the nearest is written last
    cell = (row[inside] * cells[1] + column[inside])[far_first]
    log_z, found = np.zeros(cells, np.float32), np.zeros(cells, np.float32)
    log_z.reshape(-1)[cell] = np.log(z[inside][far_first])
    found.reshape(-1)[cell] = trusted[inside][far_first]
    return log_z, found
