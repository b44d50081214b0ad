"""Hints by a gyroscope: its samples, integrated to where each frame's camera is turned."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry import se3
from spark3r_core.geometry.clocks import ClockOffset
from spark3r_core.geometry.gyro import angles_of, turn_between
from spark3r_core.stream.motion_hint import MotionHint
from spark3r_stream.frame import Frame
from spark3r_stream.sensors.clock import ClockLearner
from spark3r_stream.sensors.feed import Feed, frame_time_ns
from spark3r_stream.sensors.lines import Rows

log = logging.getLogger(__name__)

TOPIC, COLUMNS, EXPECTED = "/gyro/", 3, "time, and radians per second about x, y and z"

Array = NDArray[np.float64]


class GyroSensor:
    """Turns between frames. offset_s: to be added to the samples' times; None: 0 until what was tracked says what it
    is, and until then hints are not sure. camera_from_sensor: (3, 3)."""

    def __init__(self, feed: Feed, offset_s: float | None, camera_from_sensor: Array) -> None:
        self.offset: ClockOffset | None = None
        self.hinted = self.missing = 0  # frames
        self.feed = feed
        self._offset_ns = round((offset_s or 0.0) * 1e9)
        self._is_sure = offset_s is not None
        self._sensor_from_camera = camera_from_sensor.T
        self._turned_rows: Rows | None = None  # what `_camera_rates` was made of
        self._camera_rates = np.empty((0, 3))
        self._run = 0
        self._newest_ns: int | None = None
        self._turned = np.eye(3)  # first_from_camera, since the run began
        self._clock = ClockLearner(lambda rows: angles_of(rows.times_ns, rows.values @ self._sensor_from_camera))

    def of(self, frame: Frame) -> MotionHint:
        """Where the frame's camera is turned; where samples are missing, another run begins."""
        time_ns = frame_time_ns(self.feed, frame)
        if self._newest_ns is not None:
            turn = turn_between(*self._rates(), self._newest_ns - self._offset_ns, time_ns - self._offset_ns)
            if turn is None:
                self._run, self._turned = self._run + 1, np.eye(3)
                self.missing += 1
            else:
                self._turned = self._turned @ turn
                self.hinted += 1
        self._newest_ns = time_ns
        pose = se3.make_pose(self._turned, np.zeros(3))
        return MotionHint.of(self._run, pose, has_position=False, is_sure=self._is_sure)

    def tracked(self, frame: Frame, odom_from_camera: Array | None) -> None:
        """What came of the frame, (4, 4); None where it was not aligned. The clocks' offset is learnt from it."""
        if self._is_sure:
            return
        found = self._clock.tracked(frame_time_ns(self.feed, frame), odom_from_camera, self.feed.rows)
        if found is not None:
            self.offset, self._is_sure = found, True
            self._offset_ns = round(found.seconds * 1e9)
            self._run, self._turned = self._run + 1, np.eye(3)  # turns by the old offset are not continued
            log.info("gyroscope: its clock is off by %+.3f ± %.3f s", found.seconds, found.sigma)

    def close(self) -> None:
        """And say what it was good for."""
        log.info(
            "gyroscope: hints for %d frames, none for %d; clock %s%s",
            self.hinted, self.missing,
            f"{self._offset_ns / 1e9:+.3f} s" if self._is_sure else "offset not found (0 was taken)",
            "" if self.offset is None else f" ± {self.offset.sigma:.3f} s",
        )  # fmt: skip
        if self.feed.refused:
            log.warning("gyroscope: %d messages could not be read", self.feed.refused)
        self.feed.close()

    def _rates(self) -> tuple[NDArray[np.int64], Array]:
        """Times (N,) by the sensor's own clock, and rates (N, 3) in the camera; turned once per set of samples."""
        rows = self.feed.rows()
        if self._turned_rows is not rows:
            self._turned_rows, self._camera_rates = rows, rows.values @ self._sensor_from_camera
        return rows.times_ns, self._camera_rates
