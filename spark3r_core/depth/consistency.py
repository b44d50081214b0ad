"""Whether neighbouring keyframes see the same surface: support, contradiction, and the mean of those that agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Image = NDArray[np.float32]

AGREE = 0.03  # log depth: closer is the same surface
APART = 0.06  # a point so far before what another keyframe sees hangs in the air
LEAST_Z = 1e-6


@dataclass(frozen=True)
class Neighbour:
    """Another keyframe's surface. depth, confidence: (h, w), in the unit of the one that is checked; intrinsics: (3, 3)
    of them; camera_from_key: (4, 4) in the same unit."""

    depth: Image
    confidence: Image
    intrinsics: Array
    camera_from_key: Array


@dataclass(frozen=True)
class Agreement:
    """(H, W) each. support, conflict: sums of the confidences of neighbours that see the same, or see beyond.
    log_shift: what takes the depth to the mean of all that agree, by confidence."""

    support: Image
    conflict: Image
    log_shift: Image


def agreement(depth: Image, confidence: Image, intrinsics: Array, others: Sequence[Neighbour]) -> Agreement:
    """What other keyframes say of each pixel's point. A point behind another's surface is hidden from it, no more."""
    height, width = depth.shape
    inverse = np.linalg.inv(intrinsics)
    x, y = np.arange(width) + 0.5, np.arange(height)[:, None] + 0.5
    support, conflict, shift = (np.zeros(depth.shape, np.float32) for _ in range(3))
    for other in others:
        shifted = other.intrinsics.copy()
        shifted[:2, 2] -= 0.5  # OpenCV's pixel centres
        a = shifted @ other.camera_from_key[:3, :3] @ inverse
        b = shifted @ other.camera_from_key[:3, 3]
        column, row, z = (
            (line[0] * x + line[1] * y + line[2]).astype(np.float32) * depth + np.float32(move)
            for line, move in zip(a, b, strict=True)
        )
        z = np.maximum(z, np.float32(LEAST_Z))
        column /= z
        row /= z
        there = cv2.remap(other.depth, column, row, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
        trust = cv2.remap(
            other.confidence, column, row, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=0
        )
        off = np.log(np.maximum(there, np.float32(LEAST_Z)) / z)
        same = trust * (np.abs(off) < AGREE)
        support += same
        conflict += trust * (off > APART)
        shift += same * off
    shift /= np.maximum(confidence + support, np.float32(1e-6))
    return Agreement(support, conflict, shift)
