"""Cameras of a rig while they run: steps of both go in, and where one map lies in the other comes out."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest

from spark3r_core.geometry import se3
from spark3r_core.geometry.rotation import Array, exp_so3
from spark3r_core.geometry.sim3 import Sim3
from spark3r_stream.engine.results import StepOutput
from spark3r_stream.engine.rig_watch import RigWatch
from spark3r_stream.wire.messages import PathCorrection, TrackingState
from tests.helpers_wire import make_keyframe, make_output

NAMES = {0: "front", 1: "side"}
SIDE = np.asarray(se3.make_pose(exp_so3(np.array([0, np.pi / 2, 0])), np.array([0.2, 0, 0])))
RIG = {0: np.eye(4), 1: SIDE}
UNITS = {0: 0.5, 1: 2.0}
PERIOD_NS = 33_000_000


def way(frames: int, turn: float = 1.5) -> Array:
    t = np.linspace(0, 1, frames)
    rotation = exp_so3(np.stack([0 * t, turn * t, 0 * t], 1))
    return np.asarray(se3.make_pose(rotation, np.stack([np.sin(3 * t), 0 * t, 2 * t], 1)))


class Camera:
    """Gives steps as an engine does: a keyframe every 20 frames, frames tracked on it."""

    def __init__(self, number: int, world_from_rig: Array) -> None:
        self.poses = world_from_rig @ RIG[number]
        self.poses[:, :3, 3] *= UNITS[number]
        self.shift = number * PERIOD_NS // 3  # it is not triggered with the other
        self.newest = -1

    def step(self, index: int, *, begins: bool = False, state: TrackingState = TrackingState.TRACKING) -> StepOutput:
        keyframes = []
        if index % 20 == 0:
            before, self.newest = (None if begins or self.newest < 0 else self.newest // 20), index
            lies = Sim3(1.0, self.poses[index, :3, :3], self.poses[index, :3, 3])
            keyframe = make_keyframe(index)
            keyframes = [replace(keyframe, submap=index // 20, map_from_submap=lies, tracked_submap=before)]
        relative = se3.invert(self.poses[self.newest]) @ self.poses[index]
        output = make_output(index)
        result = replace(
            output.result, submap=self.newest // 20, world_from_camera=relative, state=state, valid=True,
            captured_ns=index * PERIOD_NS + self.shift,
        )  # fmt: skip
        return StepOutput([replace(output, result=result)], keyframes=keyframes)


def watched(rig: dict[int, Array] | None = None) -> tuple[RigWatch, list[tuple[int, int, Sim3, float]]]:
    told: list[tuple[int, int, Sim3, float]] = []
    return RigWatch(RIG if rig is None else rig, NAMES, lambda *one: told.append(one)), told


def test_where_one_map_lies_in_the_other() -> None:
    watch, told = watched()
    body = way(200)
    cameras = [Camera(number, body) for number in RIG]
    sinks = [watch.sink(number) for number in RIG]
    for index in range(200):
        for camera, sink in zip(cameras, sinks, strict=True):
            sink.window([], camera.step(index))
    assert told
    assert len(told) < 10, "what changes little is not told again"
    first, second, lies, std = told[-1]
    assert (first, second) == (0, 1)
    assert lies.scale == pytest.approx(0.25, rel=0.02)
    assert std < 0.05
    placed = lies.apply_to_points(cameras[1].poses[:, :3, 3])
    assert np.linalg.norm(placed - 0.5 * (body @ SIDE)[:, :3, 3], axis=1).max() < 0.02
    before = len(told)
    watch.finish()
    assert len(told) == before + 1, "the last word, however little it changes"


def test_a_map_that_begins_anew_is_compared_by_itself() -> None:
    watch, told = watched()
    body = way(400, turn=3.0)
    cameras = [Camera(number, body) for number in RIG]
    for index in range(200):
        for number, camera in enumerate(cameras):
            watch.take(number, camera.step(index))
    cameras[1].poses[200:, :3, 3] *= 3.0
    count = len(told)
    for index in range(200, 400):
        for number, camera in enumerate(cameras):
            watch.take(number, camera.step(index, begins=index == 200 and number == 1))
    assert len(told) > count
    assert told[-1][2].scale == pytest.approx(0.25 / 3, rel=0.02)


def test_frames_that_nobody_is_sure_of_say_nothing() -> None:
    watch, told = watched()
    body = way(200)
    cameras = [Camera(number, body) for number in RIG]
    for index in range(200):
        watch.take(0, cameras[0].step(index))
        watch.take(1, cameras[1].step(index, state=TrackingState.LOW_CONFIDENCE))
    watch.finish()
    assert not told


def test_a_rig_that_is_another_one_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    wrong = {0: np.eye(4), 1: np.eye(4)}
    watch, told = watched(wrong)
    body = way(200, turn=0.0)
    body[:, :3, :3] = exp_so3(np.stack([np.sin(np.linspace(0, 9, 200)), 0 * body[:, 0, 3], 0 * body[:, 0, 3]], 1))
    cameras = [Camera(number, body) for number in RIG]
    with caplog.at_level(logging.WARNING):
        for index in range(200):
            for number, camera in enumerate(cameras):
                watch.take(number, camera.step(index))
        watch.finish()
    assert not told
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == 1
    assert "front and side do not turn together" in warnings[0]


def test_frames_that_were_tracked_again_count_as_they_are_in_the_end() -> None:
    watch, told = watched()
    body = way(200)
    cameras = [Camera(number, body) for number in RIG]
    true = cameras[1].poses.copy()
    cameras[1].poses[:, :3, 3] *= np.linspace(1, 1.3, 200)[:, None]
    for index in range(200):
        for number, camera in enumerate(cameras):
            watch.take(number, camera.step(index))
    tracked_as = cameras[1].poses
    key = np.arange(200) // 20 * 20
    again = [PathCorrection(i, i // 20, np.asarray(se3.invert(tracked_as[key[i]]) @ true[i])) for i in range(200)]
    watch.take(1, StepOutput([], retracked=again))
    watch.finish()
    placed = told[-1][2].apply_to_points(true[:, :3, 3])
    assert np.linalg.norm(placed - 0.5 * (body @ SIDE)[:, :3, 3], axis=1).max() < 0.02
