"""How a sensor sits on the camera: which of its axes point along the camera's."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from spark3r_stream.errors import SensorError

_AXIS = re.compile(r"([+-]?)([xyz])")


def camera_from_sensor(words: str) -> NDArray[np.float64]:
    """(3, 3) from words such as "-y,-z,x": the sensor's axes along the camera's x (right), y (down) and z (ahead).

    Raises SensorError where these are no three axes of a right-handed frame.
    """
    matrix = np.zeros((3, 3))
    found = [_AXIS.fullmatch(word.strip()) for word in words.lower().split(",")]
    if len(found) == 3:
        for row, axis in enumerate(found):
            if axis is not None:
                matrix[row, "xyz".index(axis[2])] = -1.0 if axis[1] == "-" else 1.0
    if abs(np.linalg.det(matrix) - 1) > 1e-9:
        raise SensorError(
            f"axes {words!r}: expected the sensor's axes along the camera's right, down and ahead, as in x,y,z or"
            " -y,-z,x; they must be three, and right-handed"
        )
    return matrix
