"""Coloured points with confidence, as plain arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class PointCloud(NamedTuple):
    """points: (n, 3) float32; colours: (n, 3) uint8 RGB; confidence: (n,) float32."""

    points: NDArray[np.float32]
    colours: NDArray[np.uint8]
    confidence: NDArray[np.float32]

    def take(self, index: NDArray | slice) -> PointCloud:
        """The points of an index array, mask or slice."""
        return PointCloud(self.points[index], self.colours[index], self.confidence[index])
