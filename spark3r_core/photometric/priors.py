"""What is known of a window before its pixels are looked at: the first guess, even light, and steady motion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry import se3

Array = NDArray[np.float64]

PER_FRAME = 8  # unknowns of a frame: twist [rho, phi], gain, bias
GUESS_SIGMA = np.array([0.1] * 3 + [0.05] * 3)  # of the first guess of a pose: map units, radians
BRIGHTNESS_SIGMA = 0.1  # of gain and bias
# A hand or a robot changes its speed little from frame to frame. In pixels whose errors were independent this would
# be a weak opinion; they are not, and where a flat wall leaves turn and sidestep apart only by a hair, it decides.
SPEED_CHANGE = 0.1  # sigma of the change of speed per frame, of the speed
SLOWEST = 0.002  # map units per frame, added to it
TURN_CHANGE = 0.003  # radians per frame


@dataclass(frozen=True)
class Past:
    """The two frames before the window, camera_from_key (2, 4, 4), and the usual speed in map units per frame.

    steps: (n + 1,) time from each frame to the next, of the two and the window's n, in units of the usual interval.
    sigmas: (6,) of the twist by which a frame is off from steady motion, where that is known better than by the speed.
    """

    camera_from_key: Array
    speed: float
    steps: Array
    sigmas: Array | None = None

    @property
    def trust(self) -> Array:
        """(6,) precision of the change of speed."""
        if self.sigmas is not None:
            return np.asarray((self.sigmas / self.steps[1]) ** -2.0)
        return np.array([SPEED_CHANGE * self.speed + SLOWEST] * 3 + [TURN_CHANGE] * 3) ** -2.0


class Priors:
    """Of n frames; unknowns are ordered frame by frame. Their curvature is the same in every iteration.

    matrix: (8 n, 8 n) to be added to the normal equations. guess: (n, 4, 4) camera_from_key.
    """

    def __init__(self, guess: Array, past: Past | None) -> None:
        frames = len(guess)
        self._key_from_guess = se3.invert(guess)
        self._precision = np.append(GUESS_SIGMA**-2.0, [BRIGHTNESS_SIGMA**-2.0] * 2)
        self._past = past
        self.matrix = np.diag(np.tile(self._precision, frames))
        if past is None:
            return
        # change of speed at frame f = sum over frames j of differences[f, j] * twist_j, to first order
        after, before = 1 / past.steps[1:], 1 / past.steps[:-1]
        self._differences = np.zeros((frames, frames))
        for offset, part in enumerate((after, -(after + before)[1:], before[2:])):
            rows = np.arange(offset, frames)
            self._differences[rows, rows - offset] = part
        self._trust = past.trust
        steady = np.kron(self._differences.T @ self._differences, np.diag(np.append(self._trust, [0.0, 0.0])))
        self.matrix += steady

    def gradient(self, poses: Array, brightness: Array) -> Array:
        """(8 n,) at camera_from_key `poses` (n, 4, 4) and (n, 2) gain and bias."""
        off = np.concatenate([_small_twist(poses @ self._key_from_guess), brightness - (1.0, 0.0)], 1)
        gradient = off * self._precision
        if self._past is not None:
            track = np.concatenate([self._past.camera_from_key, poses])
            speeds = _small_twist(track[1:] @ se3.invert(track[:-1])) / self._past.steps[:, None]  # (n + 1, 6)
            gradient[:, :6] += self._differences.T @ ((speeds[1:] - speeds[:-1]) * self._trust)
        return gradient.reshape(-1)


def _small_twist(poses: Array) -> Array:
    """(n, 4, 4) -> (n, 6), to first order: what a prior on small motions needs, at a tenth of `se3.log`'s price."""
    turn = 0.5 * (poses[:, :3, :3] - poses[:, :3, :3].swapaxes(1, 2))
    return np.concatenate([poses[:, :3, 3], np.stack([turn[:, 2, 1], turn[:, 0, 2], turn[:, 1, 0]], 1)], 1)
