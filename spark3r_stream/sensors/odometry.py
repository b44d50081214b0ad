"""Hints by poses that something else knows: a robot's odometry, another tracker, a motion capture."""

from __future__ import annotations

import logging
from collections import deque

import numpy as np
from numpy.typing import NDArray

from spark3r_core.errors import GeometryError
from spark3r_core.geometry import se3
from spark3r_core.geometry.clocks import ClockOffset
from spark3r_core.geometry.rotation import log_so3, matrix_from_quat_xyzw
from spark3r_core.stream.motion_hint import MotionHint
from spark3r_stream.frame import Frame
from spark3r_stream.sensors.clock import ClockLearner
from spark3r_stream.sensors.feed import Feed, frame_time_ns
from spark3r_stream.sensors.lines import Rows

log = logging.getLogger(__name__)

TOPIC, COLUMNS, EXPECTED = "/odometry/", 7, "time tx ty tz qx qy qz qw"
LONGEST_GAP_NS = 500_000_000  # between poses that are interpolated
SPAN = 5  # frames over which lengths are compared
COMPARED, LEAST_COMPARED = 60, 8  # spans that the scale is the median of

Array = NDArray[np.float64]


class OdometrySensor:
    """Poses of the camera, in any frame of reference and any unit; how long that is in odom's unit follows from what
    was tracked, and until it is known only turns are told. offset_s: to be added to their times; None: 0 until what was
    tracked says what it is, and until then hints are not sure."""

    def __init__(self, feed: Feed, offset_s: float | None = 0.0) -> None:
        self.feed = feed
        self.offset: ClockOffset | None = None
        self.hinted = self.missing = 0  # frames
        self._offset_ns = round((offset_s or 0.0) * 1e9)
        self._is_sure = offset_s is not None
        self._clock = ClockLearner(_turned, _gone)
        self._run = 0
        self._newest: Array | None = None  # (4, 4) as given
        self._place = np.zeros(3)  # of the newest in odom's unit, since the run began
        self._tracked: deque[tuple[Array, Array]] = deque(maxlen=SPAN + 1)  # centres as given and in odom
        self._ratios: deque[float] = deque(maxlen=COMPARED)

    @property
    def scale(self) -> float | None:
        """Units of odom per unit of the poses; None while too little was tracked."""
        return float(np.median(self._ratios)) if len(self._ratios) >= LEAST_COMPARED else None

    def of(self, frame: Frame) -> MotionHint:
        """Where the frame's camera is; where poses are missing, another run begins."""
        pose, scale = self._pose_at(frame_time_ns(self.feed, frame) - self._offset_ns), self.scale
        if pose is None or self._newest is None:
            self._run, self._place = self._run + 1, np.zeros(3)
        elif scale is not None:
            self._place = self._place + scale * (pose[:3, 3] - self._newest[:3, 3])
        self.missing += pose is None
        self.hinted += pose is not None
        self._newest = pose
        turn = np.eye(3) if pose is None else pose[:3, :3]
        known = pose is not None
        has_position, is_sure = known and scale is not None, known and self._is_sure
        return MotionHint.of(self._run, se3.make_pose(turn, self._place), has_position=has_position, is_sure=is_sure)

    def tracked(self, frame: Frame, odom_from_camera: Array | None) -> None:
        """What came of the frame, (4, 4); None where it was not aligned. The clocks' offset is learnt from it."""
        if not self._is_sure:
            found = self._clock.tracked(frame_time_ns(self.feed, frame), odom_from_camera, self.feed.rows)
            if found is not None:
                self._begin_again(found)
                return
        if odom_from_camera is None or self._newest is None:
            self._tracked.clear()
            return
        self._tracked.append((self._newest[:3, 3], odom_from_camera[:3, 3]))
        if len(self._tracked) > SPAN:
            given, seen = (float(np.linalg.norm(self._tracked[-1][one] - self._tracked[0][one])) for one in (0, 1))
            if given > 0 and seen > 0:
                self._ratios.append(seen / given)

    def close(self) -> None:
        """And say what it was good for."""
        scale = "not found" if self.scale is None else f"{self.scale:.4g}"
        clock = f"clock {self._offset_ns / 1e9:+.3f} s" if self._is_sure else "clock's offset not found (0 was taken)"
        log.info("odometry: hints for %d frames, none for %d; scale %s; %s", self.hinted, self.missing, scale, clock)
        if self.feed.refused:
            log.warning("odometry: %d messages could not be read", self.feed.refused)
        self.feed.close()

    def _begin_again(self, offset: ClockOffset) -> None:
        """By the offset that was found: poses by the old one are not continued."""
        self.offset, self._is_sure, self._offset_ns = offset, True, round(offset.seconds * 1e9)
        self._newest = None
        self._tracked.clear()
        self._ratios.clear()
        log.info("odometry: its clock is off by %+.3f ± %.3f s", offset.seconds, offset.sigma)

    def _pose_at(self, time_ns: int) -> Array | None:
        """(4, 4), interpolated; the newest one for a frame that is newer by no more than a gap."""
        times_ns, values = self.feed.rows()
        after = int(np.searchsorted(times_ns, time_ns))
        if not len(times_ns) or (after == 0 and times_ns[0] != time_ns):
            return None
        try:
            if after == len(times_ns) or times_ns[after] == time_ns:
                at = min(after, len(times_ns) - 1)
                near = abs(int(times_ns[at]) - time_ns) <= LONGEST_GAP_NS
                return se3.from_quat_xyzw(values[at, :3], values[at, 3:]) if near else None
            gap = int(times_ns[after] - times_ns[after - 1])
            if gap > LONGEST_GAP_NS:
                return None
            first, second = se3.from_quat_xyzw(values[after - 1 : after + 1, :3], values[after - 1 : after + 1, 3:])
            return np.asarray(se3.interpolate(first, second, (time_ns - int(times_ns[after - 1])) / gap))
        except GeometryError:  # a quaternion of zeros
            return None


def _turned(rows: Rows) -> Array:
    """(N, 3) about the camera's axes since the first pose, summed over the steps."""
    quats = rows.values[:, 3:7]
    norms = np.linalg.norm(quats, axis=1, keepdims=True)
    turns = matrix_from_quat_xyzw(np.where(norms > 0, quats, [0.0, 0.0, 0.0, 1.0]))
    steps = log_so3(turns[:-1].transpose(0, 2, 1) @ turns[1:])
    return np.concatenate([np.zeros((1, 3)), np.cumsum(steps, axis=0)])


def _gone(rows: Rows) -> Array:
    """(N, 1) along the way since the first pose."""
    steps = np.linalg.norm(np.diff(rows.values[:, :3], axis=0), axis=1)
    return np.concatenate([[0.0], np.cumsum(steps)])[:, None]
