"""What a camera has just done, and so will probably do next."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry import se3
from spark3r_core.photometric.priors import Past

Array = NDArray[np.float64]

LONG_STEP = 8.0  # usual intervals: after a longer pause the old speed means nothing
SHORT_STEP = 0.25  # usual intervals: stamps that were taken late lie close together
INTERVALS = 32  # newest ones, whose median is the usual one


class Motion:
    """The newest two poses with their times."""

    def __init__(self) -> None:
        self._poses: list[Array] = []  # world_from_camera, (4, 4)
        self._times_s: list[float] = []
        self._intervals_s: list[float] = []

    @property
    def newest(self) -> Array:
        return self._poses[-1]

    def next_times(self, count: int) -> list[float]:
        """Times of frames that came without: one second each."""
        last = self._times_s[-1] if self._times_s else -1.0
        return [last + 1.0 + i for i in range(count)]

    def append(self, world_from_camera: Array, time_s: float) -> None:
        if self._times_s and time_s > self._times_s[-1]:
            self._intervals_s = [*self._intervals_s[1 - INTERVALS :], time_s - self._times_s[-1]]
        self._poses = [*self._poses[-1:], world_from_camera]
        self._times_s = [*self._times_s[-1:], time_s]

    def steps(self, times_s: Sequence[float]) -> Array:
        """(n + 1,) intervals between the newest two poses and frames at `times_s`, in units of the usual interval."""
        intervals = np.diff([*self._times_s, *times_s])
        positive = [*self._intervals_s, *intervals[intervals > 0]]
        usual = float(np.median(positive)) if positive else 1.0
        steps = np.maximum(intervals / usual, SHORT_STEP)
        return np.where(intervals > 0, steps, np.where(intervals == 0, 1.0, np.inf))  # inf: a clock that was set back

    def speed(self, times_s: Sequence[float]) -> Array | None:
        """Twist (6,) per usual interval in the moving camera; None when nothing says how frames at `times_s` move."""
        return self._speed(self.steps(times_s))

    def _speed(self, steps: Array) -> Array | None:
        if len(self._poses) < 2 or steps.max() > LONG_STEP:
            return None
        before, last = self._poses
        return np.asarray(se3.log(se3.compose(se3.invert(before), last))) / steps[0]

    def continued(self, times_s: Sequence[float]) -> list[Array] | None:
        """Poses (4, 4) at `times_s` at the same speed."""
        steps = self.steps(times_s)
        speed = self._speed(steps)
        if speed is None:
            return None
        poses, pose = [], self.newest
        for step in steps[1:]:
            pose = se3.compose(pose, se3.exp(speed * step))
            poses.append(pose)
        return poses

    def past(self, times_s: Sequence[float], world_from_key: Array) -> Past | None:
        """What `adjust` may expect of frames at `times_s`."""
        steps = self.steps(times_s)
        speed = self._speed(steps)
        if speed is None:
            return None
        seen = np.stack([se3.compose(se3.invert(pose), world_from_key) for pose in self._poses])
        return Past(seen, float(np.linalg.norm(speed[:3])), steps)
