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
from spark3r_stream.errors import SensorError
from spark3r_stream.frame import Frame
from spark3r_stream.sensors.clock import ClockLearner
from spark3r_stream.sensors.feed import Feed, FileFeed, frame_time_ns, open_feed
from spark3r_stream.sensors.lines import Rows

log = logging.getLogger(__name__)

TOPIC, COLUMNS = "/odometry/", 7
EXPECTED = "time tx ty tz qx qy qz qw, and after these nothing, 6 standard deviations or 36 numbers of a covariance"
OPTIONAL, STDS = 36, 6  # numbers after a pose
FIELDS = (("position", 3, True), ("orientation", 4, True), ("covariance", OPTIONAL, False))
LONGEST_GAP_NS = 500_000_000  # between poses that are interpolated
MOST_VARIANCE = 1e12
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
        self.hinted = self.missing = self.wrong = 0  # frames, and poses whose deviation makes no sense
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
        time_ns, scale = frame_time_ns(self.feed, frame) - self._offset_ns, self.scale
        pose = self._pose_at(time_ns)
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
        said = self._variances_at(time_ns) if known else None
        variances = None if said is None else (said[0] * (scale or 0.0) ** 2, said[1])
        return MotionHint.of(
            self._run,
            se3.make_pose(turn, self._place),
            has_position=has_position,
            is_sure=is_sure,
            variances=variances,
        )

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

    def _variances_at(self, time_ns: int) -> tuple[float, float] | None:
        """Of the pose at this time, position and turn; None where they are not said, or make no sense."""
        times_ns, values = self.feed.rows()
        at = min(int(np.searchsorted(times_ns, time_ns)), len(times_ns) - 1)
        try:
            return variances_of(values[at, COLUMNS:])
        except ValueError as error:
            self.wrong += 1
            if self.wrong == 1:
                log.warning("odometry: %s; poses like that count as ones without a deviation", error)
            return None

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
                return se3.from_quat_xyzw(values[at, :3], values[at, 3:COLUMNS]) if near else None
            gap = int(times_ns[after] - times_ns[after - 1])
            if gap > LONGEST_GAP_NS:
                return None
            around = values[after - 1 : after + 1]
            first, second = se3.from_quat_xyzw(around[:, :3], around[:, 3:COLUMNS])
            return np.asarray(se3.interpolate(first, second, (time_ns - int(times_ns[after - 1])) / gap))
        except GeometryError:  # a quaternion of zeros
            return None


def open_odometry(name: str, offset_s: float | None) -> OdometrySensor:
    """name: a file or an address. Raises SensorError, of a file also for deviations that make no sense."""
    feed = open_feed(name, TOPIC, COLUMNS, EXPECTED, OPTIONAL, FIELDS)
    if isinstance(feed, FileFeed):
        for time_ns, row in zip(*feed.rows(), strict=True):
            try:
                variances_of(row[COLUMNS:])
            except ValueError as error:
                raise SensorError(f"{name}, at {time_ns / 1e9:.3f} s: {error}; expected {EXPECTED}") from None
    return OdometrySensor(feed, offset_s)


def variances_of(numbers: Array) -> tuple[float, float] | None:
    """Means over the axes, of position and turn, of what follows a pose: (36,), nan where there is nothing.

    Six are standard deviations: x, y, z in the unit of the poses, and about x, y, z in radians. 36 are a covariance of
    these six, row by row, as of ROS's nav_msgs/Odometry; one of zeros says that it is not known, there as here. Raises
    ValueError for anything else.
    """
    count = int(np.isfinite(numbers).sum())
    if count == 0:
        return None
    if count not in (STDS, OPTIONAL):
        raise ValueError(f"{count} numbers after a pose")
    each = np.square(numbers[:STDS]) if count == STDS else np.diag(numbers.reshape(STDS, STDS))
    if count == STDS and (numbers[:STDS] < 0).any():
        raise ValueError("a standard deviation below zero")
    if (each < 0).any() or (each > MOST_VARIANCE).any():
        raise ValueError("a variance below zero, or beyond all bounds")
    return (float(each[:3].mean()), float(each[3:].mean())) if each.any() else None


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
