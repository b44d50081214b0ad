"""Which way is up: the axes that a map takes once that is known (REP 103: x ahead, y left, z up)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spark3r_core.geometry.rotation import exp_so3, nearest_rotation

Array = NDArray[np.float64]

ROBOT_FROM_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
"""A camera's axes (x right, y down, z ahead) as a robot's (x ahead, y left, z up)."""
_UP = np.array([0.0, 0.0, 1.0])


def levelled(target_from_source: ArrayLike, up: ArrayLike) -> Array:
    """The rotation (3, 3) nearest to this one that takes `up` (3,), given in the source's axes, to the target's z."""
    rotation = np.asarray(target_from_source, np.float64)
    leans = rotation @ (np.asarray(up, np.float64) / np.linalg.norm(up))
    axis = np.cross(leans, _UP)
    length = float(np.linalg.norm(axis))
    if length < 1e-12:  # up already, or upside down: then about the robot's x, as good as any
        turn = np.eye(3) if leans[2] > 0 else np.diag([1.0, -1.0, -1.0])
    else:
        turn = exp_so3(axis / length * np.arctan2(length, leans[2]))
    return nearest_rotation(turn @ rotation)
