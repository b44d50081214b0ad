"""Pictures that a keyframe's depth is read off, and which of the keyframes around it are good for that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Image = NDArray[np.float32]

BEST_ANGLE_DEG = (
    8.0  # between two cameras, seen from the surface: less is imprecise, more changes what patches look like
)
ANGLE_SPREAD = 0.9  # of its logarithm
SIZE_SPREAD = 0.5  # of the logarithm of a surface's size in one picture over that in the other
LEAST_GAIN = 0.02  # mean over points, for a view to be worth its time
LEAST_Z = 1e-3  # of a point before a camera, over its depth here


@dataclass(frozen=True)
class View:
    """One picture of the surface.

    grey: (H, W) uint8. intrinsics: (3, 3) of it, pixel centres at integer + 0.5. camera_from_key: (4, 4) rigid, from
    the camera whose depth is wanted, translation in the unit of that depth.
    """

    grey: NDArray[np.uint8]
    intrinsics: Array
    camera_from_key: Array


def usefulness(points: Array, camera_from_key: Array, intrinsics: Array, size_hw: tuple[int, int]) -> Array:
    """(N,) what a camera says of the depth of each point, 0 to 1: 0 where it does not see it.

    Args:
        points: (N, 3) of the keyframe's surface in its camera.
        camera_from_key: (4, 4) of the candidate, in the unit of the points.
        intrinsics: (3, 3) of the candidate's picture of `size_hw` (height, width).
    """
    seen = points @ camera_from_key[:3, :3].T + camera_from_key[:3, 3]
    ahead = seen[:, 2] > LEAST_Z * points[:, 2]
    z = np.where(ahead, seen[:, 2], 1.0)
    u = seen[:, 0] / z * intrinsics[0, 0] + intrinsics[0, 2]
    v = seen[:, 1] / z * intrinsics[1, 1] + intrinsics[1, 2]
    height, width = size_hw
    inside = ahead & (u >= 0) & (u < width) & (v >= 0) & (v < height)
    centre = -camera_from_key[:3, :3].T @ camera_from_key[:3, 3]
    there = points - centre
    distances = np.linalg.norm(points, axis=1) * np.linalg.norm(there, axis=1)
    cosine = (points * there).sum(1) / np.maximum(distances, 1e-12)
    angle = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    worth = np.exp(-0.5 * np.square(np.log(np.maximum(angle, 1e-6) / BEST_ANGLE_DEG) / ANGLE_SPREAD))
    larger = np.log(points[:, 2] / z)  # a surface seen at another size has other patches
    worth *= np.exp(-0.5 * np.square(larger / SIZE_SPREAD))
    return np.where(inside, worth, 0.0)


def choose(worths: Sequence[Array], count: int) -> list[int]:
    """Indices of at most `count` candidates that together say most of all points, best first.

    worths: (N,) per candidate, see `usefulness`. A second view of a point adds less than the first one: the sum of
    square roots grows most where no view is yet, so that all parts of the picture are seen by some.
    """
    chosen: list[int] = []
    known = np.zeros_like(worths[0]) if worths else np.zeros(0)
    while len(chosen) < count:
        gains = [
            -1.0 if index in chosen else float((np.sqrt(known + worth) - np.sqrt(known)).mean())
            for index, worth in enumerate(worths)
        ]
        best = int(np.argmax(gains)) if gains else -1
        if best < 0 or gains[best] < LEAST_GAIN:
            break
        chosen.append(best)
        known = known + worths[best]
    return chosen
