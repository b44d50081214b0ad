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


@dataclass(frozen=True)
class MotionHint:
    """The pose of a frame's camera in that sensor's own frame of reference.

    run: hints of different runs say nothing of each other (samples were missing between them). quat_xyzw: of
    sensor_from_camera, OpenCV axes. position_xyz: of the camera there, in the unit of odom; None: only the turn is
    known. is_sure: the clocks are known to agree; otherwise it is one guess among others.
    """

    run: int
    quat_xyzw: tuple[float, float, float, float]
    position_xyz: tuple[float, float, float] | None = None
    is_sure: bool = False

    @staticmethod
    def of(run: int, sensor_from_camera: Array, *, has_position: bool, is_sure: bool) -> MotionHint:
        """sensor_from_camera: (4, 4)."""
        position, quat = se3.to_quat_xyzw(sensor_from_camera)
        x, y, z, w = quat.tolist()
        right, down, ahead = position.tolist()
        return MotionHint(run, (x, y, z, w), (right, down, ahead) if has_position else None, is_sure)

    def to(self, later: MotionHint) -> Array | None:
        """(4, 4) camera_from_later, translation zero where only the turn is known; None across runs."""
        if self.run != later.run:
            return None
        first, second = self.position_xyz, later.position_xyz
        if first is None or second is None:
            first = second = (0.0, 0.0, 0.0)
        here, there = se3.from_quat_xyzw(first, self.quat_xyzw), se3.from_quat_xyzw(second, later.quat_xyzw)
        return np.asarray(se3.compose(se3.invert(here), there), np.float64)


@dataclass(frozen=True)
class MeasuredTurn:
    """pose: (4, 4), whose turn was measured. radians: how far that is."""

    pose: Array
    radians: float

    def is_in(self, pose: Array) -> bool:
        """Whether a pose (4, 4) has that turn."""
        return float(se3.relative_angle(pose, self.pose)) < TURN_APART + TURN_APART_SHARE * self.radians
