"""How well odometry knows the camera: the uncertainty of each frame to its keyframe, carried on from keyframe to
keyframe, and the velocity between frames.

With true poses written as estimate · exp(ξ), ξ = (translation, rotation) in the camera's axes, the camera in odometry
is odom_from_key · exp(ξ_key) · key_from_camera · exp(ξ_rel), so that to first order

    Σ = Ad(camera_from_key) Σ_key Ad(camera_from_key)ᵀ + Σ_rel     (Barfoot, State Estimation for Robotics, 2017, 7.3)

with ξ_key and ξ_rel taken as independent.
"""

from __future__ import annotations

import numpy as np

from spark3r_core.geometry import se3
from spark3r_core.geometry.rotation import Array
from spark3r_stream.wire.messages import FrameResult

UNKNOWN = 1e6  # a variance that says so: (1 km)², and more turns than there are
_KEPT = 512  # frames: more than lie between a keyframe and its adoption


class OdometryCovariance:
    """Of the frames of one session, in their order."""

    def __init__(self) -> None:
        self._keyframe_id: int | None = None
        self._of_keyframe = np.zeros((6, 6))
        self._of_frames: dict[int, Array] = {}

    def of(self, frame: FrameResult) -> Array | None:
        """(6, 6) of the twist in the camera's axes, in the stream's unit; None for a guess.

        Where a map begins after another was lost nobody knows how far the camera had moved; it says so from then on.
        """
        pose = frame.world_from_camera
        if pose is None:
            return None
        if frame.keyframe_id != self._keyframe_id:
            before = self._of_frames.get(-1 if frame.keyframe_id is None else frame.keyframe_id)
            if before is not None:
                self._of_keyframe = before
            elif frame.mapped and self._keyframe_id is not None:
                self._of_keyframe = self._of_keyframe + UNKNOWN * np.eye(6)
            self._keyframe_id = frame.keyframe_id
        if frame.covariance is None:
            return None
        carried = se3.adjoint(se3.invert(pose))
        covariance = carried @ self._of_keyframe @ carried.T + frame.covariance
        self._of_frames[frame.frame_id] = covariance
        if len(self._of_frames) > _KEPT:
            del self._of_frames[next(iter(self._of_frames))]
        return np.asarray((covariance + covariance.T) / 2, np.float64)


class Velocity:
    """Between successive frames, as a twist in the axes of the moving frame."""

    def __init__(self) -> None:
        self._before: tuple[int, Array, Array] | None = None

    def of(self, time_ns: int, pose: Array, covariance: Array) -> tuple[Array, Array]:
        """The twist (6,) per second up to now, and its (6, 6); nothing known for the first frame.

        pose: (4, 4) of the moving frame. covariance: (6, 6) of its twist in its own axes, relative to its keyframe; the
        errors of the two frames are taken as independent, which is on the safe side.
        """
        before, self._before = self._before, (time_ns, pose, covariance)
        seconds = 0.0 if before is None else (time_ns - before[0]) / 1e9
        if before is None or seconds <= 0:
            return np.zeros(6), UNKNOWN * np.eye(6)
        twist = se3.log(se3.invert(before[1]) @ pose) / seconds
        return twist, (before[2] + covariance) / seconds**2


def turned(covariance: Array, rotation: Array, scale: float = 1.0) -> Array:
    """(6, 6) of a twist whose axes are turned by `rotation` (3, 3) and whose lengths are multiplied by `scale`."""
    full = np.zeros((6, 6))
    full[:3, :3], full[3:, 3:] = scale * rotation, rotation
    return np.asarray(full @ covariance @ full.T, np.float64)
