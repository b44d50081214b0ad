"""From a camera's axes (OpenCV: x right, y down, z ahead) to those of REP 103 (x ahead, y left, z up)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spark3r_core.geometry.rotation import Array
from spark3r_stream.errors import StreamError

LEVEL = (0.0, 1.0, 0.0)
BODY_FROM_OPTICAL = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
"""(4, 4) from a camera's optical frame to its body frame (`camera_link`): the same origin, other axes."""
_STEEP = 1e-3  # sine of the angle between view and gravity below which the view has no heading


def upright(gravity: Sequence[float] = LEVEL) -> Array:
    """(4, 4) rotation from a camera's axes to ones with z up and x where the camera looks.

    gravity: (3,) the direction down in the camera's axes, of any length. A camera that looks straight up or down has
    no heading: x is then where the picture's upper (lower) edge points. Raises StreamError for no direction.
    """
    down = np.asarray(gravity, np.float64)
    length = np.linalg.norm(down)
    if down.shape != (3,) or not np.isfinite(length) or length == 0:
        raise StreamError(f"gravity is {list(gravity)}; expected three numbers: where down is in its axes")
    up = -down / length
    ahead = _level_part(np.array([0.0, 0, 1]), up)
    if np.linalg.norm(ahead) < _STEEP:
        ahead = _level_part(np.array([0.0, 1 if up[2] > 0 else -1, 0]), up)
    ahead /= np.linalg.norm(ahead)
    rotation = np.eye(4)
    rotation[:3, :3] = [ahead, np.cross(up, ahead), up]
    return rotation


def _level_part(direction: Array, up: Array) -> Array:
    return np.asarray(direction - (direction @ up) * up, np.float64)
