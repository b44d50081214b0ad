"""How far a keyframe's depth is to be trusted: by how far a pixel is from points that several keyframes agree on."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Mean error of log depth at a point, by how much it grows per longer side of the picture, and its most. On validation
# worlds: 0.055 within 0.05 sides, 0.12 from there to 0.15, 0.17 to 0.3, and 0.2 beyond.
AT_POINTS, GROWS, MOST = 0.05, 0.6, 0.2
RIGHT = 0.1  # of log depth: what trust is the probability of


def expected_error(fractions: Array, size_hw: tuple[int, int]) -> NDArray[np.float32]:
    """(h, w) mean error of log depth that was bent to points. fractions: (N, 2) of width and height, N > 0."""
    height, width = size_hw
    column, row = np.minimum((fractions * [width, height]).astype(int), [width - 1, height - 1]).T
    away = np.ones(size_hw, np.uint8)
    away[row, column] = 0
    distance = cv2.distanceTransform(away, cv2.DIST_L2, cv2.DIST_MASK_5) / max(height, width)
    return np.minimum(AT_POINTS + GROWS * distance, MOST).astype(np.float32)


def trust(error: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probability that depth is right to 10 percent, if errors of its log are Laplace's with this mean."""
    return (1 - np.exp(-RIGHT / error)).astype(np.float32)
