"""Depth of a keyframe that was read off several pictures; how it is made: `dense.py`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST_CONFIDENCE = 0.5  # from which on such a depth is more likely right to 3 percent than not


@dataclass(frozen=True)
class DenseDepth:
    """A keyframe's depth from several views, in its own camera and unit.

    depth, confidence: (h, w) float32, confidence between 0 and 1. picture: (h, w, 3) uint8 RGB. intrinsics: (3, 3).
    """

    depth: NDArray[np.float32]
    confidence: NDArray[np.float32]
    picture: NDArray[np.uint8]
    intrinsics: NDArray[np.float64]
