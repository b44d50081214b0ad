"""Odometry as it is published: it goes on without a jump when a unit of it becomes a metre, or a better one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class SteadyOdometry:
    """Steps of the tracker's odometry, each in the unit that was known when it was made.

    A change of unit scales what comes after it and moves nothing that came before (REP 105): what steers by `odom` sees
    the right speed from then on, and no jump.
    """

    def __init__(self) -> None:
        self._factor = 1.0
        self._offset = np.zeros(3)
        self._before = np.zeros(3)  # where the tracker's odometry was last

    def published(self, odom_from_camera: Array, factor: float) -> Array:
        """odom_from_camera: (4, 4) of the next frame, in the tracker's unit. factor: metres per unit of it; 1 while
        that is not known."""
        if factor != self._factor:
            self._offset = self._offset + (self._factor - factor) * self._before
            self._factor = factor
        self._before = odom_from_camera[:3, 3].copy()
        pose = odom_from_camera.copy()
        pose[:3, 3] = self._offset + factor * self._before
        return pose
