"""Where another sensor says that a camera is: a gyroscope, an odometer, known poses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry import se3

Array = NDArray[np.float64]

TURN_APART, TURN_APART_SHARE = (
    np.deg2rad(1.5),
    0.05,
)  # and of the turn: a focal length that is not known yet bends turns
TURN_STDS = 3.0  # and of what the sensor says of its deviation
LOOSE_TURN = np.deg2rad(5.0)  # standard deviation of a turn from keyframe to keyframe


@dataclass(frozen=True)
class MotionHint:
    """The pose of a frame's camera in that sensor's own frame of reference.

    run: hints of different runs say nothing of each other (samples were missing between them). quat_xyzw: of
    sensor_from_camera, OpenCV axes. position_xyz: of the camera there, in the unit of odom; None: only the turn is
    known. is_sure: the clocks are known to agree; otherwise it is one guess among others. variances: of the position
    (that unit squared) and of the turn (radians squared) on each axis, where the sensor says them.
    """

    run: int
    quat_xyzw: tuple[float, float, float, float]
    position_xyz: tuple[float, float, float] | None = None
    is_sure: bool = False
    variances: tuple[float, float] | None = None

    @staticmethod
    def of(
        run: int,
        sensor_from_camera: Array,
        *,
        has_position: bool,
        is_sure: bool,
        variances: tuple[float, float] | None = None,
    ) -> MotionHint:
        """sensor_from_camera: (4, 4)."""
        position, quat = se3.to_quat_xyzw(sensor_from_camera)
        x, y, z, w = quat.tolist()
        right, down, ahead = position.tolist()
        return MotionHint(run, (x, y, z, w), (right, down, ahead) if has_position else None, is_sure, variances)

    def to(self, later: MotionHint) -> Array | None:
        """(4, 4) camera_from_later, translation zero where only the turn is known; None across runs."""
        if self.run != later.run:
            return None
        first, second = self.position_xyz, later.position_xyz
        if first is None or second is None:
            first = second = (0.0, 0.0, 0.0)
        here, there = se3.from_quat_xyzw(first, self.quat_xyzw), se3.from_quat_xyzw(second, later.quat_xyzw)
        return np.asarray(se3.compose(se3.invert(here), there), np.float64)

    def stds_to(self, later: MotionHint) -> StepStds | None:
        """Of `to` in the same run; None where the sensor does not say.

        Odometry sums its steps up: what its variances grow by is the step's. Where they do not grow, as with a motion
        capture, each pose errs by itself, and both variances count.
        """
        if self.variances is None or later.variances is None:
            return None
        here, there = np.array(self.variances), np.array(later.variances)
        place, turn = np.sqrt(np.where(there > here, there - here, there + here)).tolist()
        knows_ways = self.position_xyz is not None and later.position_xyz is not None
        return StepStds(place if knows_ways else np.inf, turn)


@dataclass(frozen=True)
class StepStds:
    """Standard deviations of a step on each axis. place: in the unit of odom, infinite where only its turn is known;
    turn: radians."""

    place: float
    turn: float

    @property
    def is_loose(self) -> bool:
        """Whether it says too little to be held against a keyframe."""
        return self.turn > LOOSE_TURN


@dataclass(frozen=True)
class MeasuredTurn:
    """pose: (4, 4), whose turn was measured. radians: how far that is. std: of it, where the sensor says it."""

    pose: Array
    radians: float
    std: float = 0.0

    def is_in(self, pose: Array) -> bool:
        """Whether a pose (4, 4) has that turn."""
        most = TURN_APART + TURN_APART_SHARE * self.radians + TURN_STDS * self.std
        return float(se3.relative_angle(pose, self.pose)) < most
