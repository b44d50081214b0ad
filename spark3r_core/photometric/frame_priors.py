"""What is expected of a frame's pose and light before it is seen: `priors.Priors` of one frame, in plain numpy.

This runs in every iteration of every frame; tests hold the two against each other.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from spark3r_core.photometric.priors import BRIGHTNESS_SIGMA, GUESS_SIGMA, Past

Array = NDArray[np.float64]
_POSE_DIAGONAL = np.diag_indices(6)


class FramePriors:
    """`priors.Priors` of one frame.

    matrix: (8, 8) to be added to the normal equations.
    """

    def __init__(self, guess: Array, past: Past | None) -> None:
        self._precision = np.append(GUESS_SIGMA**-2.0, [BRIGHTNESS_SIGMA**-2.0] * 2)
        self._key_from_guess = _inverse(guess)
        self.matrix = np.diag(self._precision)
        self._trust: Array | None = None
        if past is not None:
            before, last = past.camera_from_key
            self._key_from_last = _inverse(last)
            self._rate = 1 / past.steps[1]
            self._speed = _small_twist(last @ _inverse(before)) / past.steps[0]
            self._trust = past.trust
            self.matrix[_POSE_DIAGONAL] += self._rate**2 * self._trust

    def gradient(self, pose: Array, light: Array) -> Array:
        """(8,) at camera_from_key `pose` (4, 4) and (2,) gain and bias."""
        off = np.empty(8)
        off[:6] = _small_twist(pose @ self._key_from_guess)
        off[6], off[7] = light[0] - 1, light[1]
        off *= self._precision
        if self._trust is not None:
            speed = _small_twist(pose @ self._key_from_last) * self._rate
            off[:6] += self._rate * self._trust * (speed - self._speed)
        return off


def moved(pose: Array, twist: Array) -> Array:
    """exp(twist) pose for one (4, 4) and one (6,) [rho, phi]: `se3.exp` in scalars, at a tenth of its price."""
    x, y, z = (float(value) for value in twist[3:])
    angle = math.sqrt(x * x + y * y + z * z)
    if angle < 1e-4:
        a, b, c = 1 - angle**2 / 6, 0.5 - angle**2 / 24, 1 / 6 - angle**2 / 120
    else:
        a, b = math.sin(angle) / angle, (1 - math.cos(angle)) / angle**2
        c = (1 - a) / angle**2
    hat = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    square = hat @ hat
    step = np.eye(4)
    step[:3, :3] += a * hat + b * square
    step[:3, 3] = twist[:3] + (b * hat + c * square) @ twist[:3]
    return step @ pose


def _inverse(pose: Array) -> Array:
    inverse = np.eye(4)
    inverse[:3, :3] = pose[:3, :3].T
    inverse[:3, 3] = -pose[:3, :3].T @ pose[:3, 3]
    return inverse


def _small_twist(pose: Array) -> Array:
    """(4, 4) -> (6,), to first order."""
    r = pose[:3, :3]
    turn = (0.5 * (r[2, 1] - r[1, 2]), 0.5 * (r[0, 2] - r[2, 0]), 0.5 * (r[1, 0] - r[0, 1]))
    return np.array([pose[0, 3], pose[1, 3], pose[2, 3], *turn])
