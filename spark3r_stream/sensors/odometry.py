"""Hints by poses that something else knows: a robot's odometry, another tracker, a motion capture."""

from __future__ import annotations

import logging
from collections import deque

import numpy as np
from numpy.typing import NDArray

from spark3r_core.errors import GeometryError
from spark3r_core.geometry import se3
from spark3r_core.stream.motion_hint import MotionHint
from spark3r_stream.frame import Frame
from spark3r_stream.sensors.feed import Feed, frame_time_ns

log = logging.getLogger(__name__)

TOPIC, COLUMNS, EXPECTED = "/odometry/", 7, "time tx ty tz qx qy qz qw"
LONGEST_GAP_NS = 500_000_000  # between poses that are interpolated
SPAN = 5  # frames over which lengths are compared
COMPARED, LEAST_COMPARED = 60, 8  # spans that the scale is the median of

Array = NDArray[np.float64]


class OdometrySensor:
    """Poses of the camera, in any frame of reference and any unit; how long that is in odom's unit follows from what
    was tracked, and until it is known only turns are told. offset_s: to be added to their times."""

    def __init__(self, feed: Feed, offset_s: float = 0.0) -> None:
        self.feed = feed
        self.hinted = self.missing = 0  # frames
        self._offset_ns = round(offset_s * 1e9)
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
        return MotionHint.of(
            self._run, se3.make_pose(turn, self._place), has_position=known and scale is not None, is_sure=known
        )

    def tracked(self, frame: Frame, odom_from_camera: Array | None) -> None:
        """What came of the frame, (4, 4); None where it was not aligned."""
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
        log.info("odometry: hints for %d frames, none for %d; scale %s", self.hinted, self.missing, scale)
        if self.feed.refused:
            log.warning("odometry: %d messages could not be read", self.feed.refused)
        self.feed.close()

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
