"""Poses that something else knows become hints: turns at once, ways once their unit is known."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path

import numpy as np
import pytest
import zmq

from spark3r_core.geometry import se3
from spark3r_core.geometry.rotation import exp_so3
from spark3r_stream.config import ConfigError, RunConfig
from spark3r_stream.errors import SensorError
from spark3r_stream.frame import Frame
from spark3r_stream.map.trajectory import Trajectory, write_trajectory
from spark3r_stream.sensors import odometry
from spark3r_stream.sensors.feed import open_feed
from spark3r_stream.sensors.odometry import OdometrySensor, open_odometry, variances_of

PICTURE = np.zeros((4, 4, 3), np.uint8)
UNITS = 2.5  # of the poses per unit of odom
ELSEWHERE = se3.exp([3.0, -2.0, 1.0, 0.3, 0.9, -0.2])  # their frame of reference from odom


def odom_pose(seconds: float) -> np.ndarray:
    return se3.exp([0.4 * seconds, 0.1 * np.sin(seconds), 0.0, 0.0, 0.3 * seconds, 0.0])


def frame(index: int) -> Frame:
    return Frame(PICTURE, index, 0, round(index * 1e9 / 30), round(index * 1e9 / 30), "test")


def sensor(tmp_path: Path, until_s: float = 3.0, shift_s: float = 0.0) -> OdometrySensor:
    """Ten poses per second, written as a TUM file."""
    seconds = np.arange(0, until_s, 0.1)
    poses = np.stack([se3.compose(ELSEWHERE, odom_pose(one)) for one in seconds])
    poses[:, :3, 3] *= UNITS
    path = tmp_path / "poses.txt"
    write_trajectory(path, Trajectory(np.round((seconds - shift_s) * 1e9).astype(np.int64), poses))
    feed = open_feed(str(path), odometry.TOPIC, odometry.COLUMNS, odometry.EXPECTED)
    return OdometrySensor(feed, shift_s)


@pytest.mark.parametrize("shift_s", [0.0, 0.7])
def test_ways_are_told_in_the_unit_of_odom_once_it_is_known(tmp_path: Path, shift_s: float) -> None:
    known = sensor(tmp_path, shift_s=shift_s)
    hints = []
    for index in range(60):
        hints.append(known.of(frame(index)))
        known.tracked(frame(index), odom_pose(index / 30))
    assert hints[0].position_xyz is None, "nothing was tracked yet"
    assert all(hint.is_sure for hint in hints)
    assert known.scale == pytest.approx(1 / UNITS, rel=0.02)
    for first, second in ((40, 41), (40, 55)):
        truth = se3.compose(se3.invert(odom_pose(first / 30)), odom_pose(second / 30))
        step = hints[first].to(hints[second])
        assert np.linalg.norm(step[:3, 3] - truth[:3, 3]) < 0.03 * np.linalg.norm(truth[:3, 3])
        assert se3.relative_angle(step, truth) < 0.002
    turn_only = hints[2].to(hints[50])
    assert not turn_only[:3, 3].any()


def test_where_poses_are_missing_another_run_begins(tmp_path: Path) -> None:
    known = sensor(tmp_path, until_s=0.5)
    hints = [known.of(frame(index)) for index in range(40)]
    assert hints[0].to(hints[12]) is not None
    assert hints[12].to(hints[39]) is None
    assert not hints[39].is_sure
    assert known.missing > 5


def unsteady(seconds: float, turns: bool, stops: bool) -> np.ndarray:
    """A camera that goes unevenly, and turns or does not."""
    gone = seconds + 0.3 * np.sin(2.1 * seconds) + 0.15 * np.sin(5.3 * seconds) if stops else seconds
    turned = 0.4 * np.sin(1.7 * seconds) + 0.2 * np.sin(4.1 * seconds) if turns else 0.0
    return se3.make_pose(exp_so3(np.array([0.0, turned, 0.0])), np.array([0.3 * gone, 0.0, 0.0]))


@pytest.mark.parametrize(("turns", "stops"), [(True, False), (False, True), (False, False)])
@pytest.mark.parametrize("shift_s", [0.23, -0.4])
def test_the_offset_of_the_clock_is_found_by_turns_or_ways_and_not_guessed(
    tmp_path: Path, turns: bool, stops: bool, shift_s: float, caplog: pytest.LogCaptureFixture
) -> None:
    seconds = np.arange(-2, 12.0, 0.05)
    poses = np.stack([se3.compose(ELSEWHERE, unsteady(one, turns, stops)) for one in seconds])
    poses[:, :3, 3] *= UNITS
    path = tmp_path / "poses.txt"
    write_trajectory(path, Trajectory(np.round((seconds - shift_s) * 1e9).astype(np.int64), poses))
    known = OdometrySensor(open_feed(str(path), odometry.TOPIC, odometry.COLUMNS, odometry.EXPECTED), None)
    rng = np.random.default_rng(0)
    hints = []
    for index in range(200):
        hints.append(known.of(frame(index)))
        shaken = se3.exp(rng.normal(0, 0.001, 6) * [1, 1, 1, 0.3, 0.3, 0.3])
        known.tracked(frame(index), se3.compose(unsteady(index / 30, turns, stops), shaken))
    assert not hints[0].is_sure
    with caplog.at_level(logging.INFO):
        known.close()
    if not turns and not stops:
        assert known.offset is None
        assert not hints[-1].is_sure
        assert "offset not found" in caplog.text
        return
    assert known.offset is not None
    assert abs(known.offset.seconds - shift_s) < 1 / 30 / 4
    assert hints[-1].is_sure
    first, last = 185, 199
    truth = se3.compose(se3.invert(unsteady(first / 30, turns, stops)), unsteady(last / 30, turns, stops))
    step = hints[first].to(hints[last])
    assert se3.relative_angle(step, truth) < 0.02
    assert np.linalg.norm(step[:3, 3] - truth[:3, 3]) < 0.1 * np.linalg.norm(truth[:3, 3])
    assert hints[0].to(hints[-1]) is None, "poses by the old offset are not continued"


def test_what_is_no_trajectory_and_what_does_not_go_together_is_refused(tmp_path: Path) -> None:
    (tmp_path / "poses.txt").write_text("0.1 1 2 3\n")
    with pytest.raises(SensorError, match="expected time tx ty tz"):
        open_feed(str(tmp_path / "poses.txt"), odometry.TOPIC, odometry.COLUMNS, odometry.EXPECTED)
    for config, said in (
        (RunConfig("a.mp4", gyro="g", odometry="o"), "both say"),
        (RunConfig("a.mp4", odometry="o", track="off"), "--odometry is a hint for tracking"),
        (RunConfig("a.mp4", odometry_offset=1.0), "--odometry-offset is about"),
        (RunConfig("a.mp4", odometry="o", odometry_offset=float("nan")), "expected seconds"),
        (RunConfig("a.mp4", gyro_offset=1.0), "--gyro-offset and"),
    ):
        with pytest.raises(ConfigError, match=said):
            config.check()


def with_deviations(path: Path, numbers: str) -> OdometrySensor:
    """Three seconds of poses, each with these numbers after it."""
    seconds = np.arange(0, 3, 0.1)
    rows = []
    for one in seconds:
        position, quat = se3.to_quat_xyzw(odom_pose(one))
        rows.append(" ".join(f"{value:.9f}" for value in (one, *(UNITS * position), *quat)) + f" {numbers}\n")
    path.write_text("".join(rows))
    return open_odometry(str(path), 0.0)


COVARIANCE = np.diag([0.04, 0.05, 0.06, 0.001, 0.002, 0.003]) + 0.0001


@pytest.mark.parametrize(
    ("numbers", "place", "turn"),
    [
        ("0.2 0.2 0.2 0.05 0.05 0.05", 0.04, 0.0025),
        (" ".join(map(str, COVARIANCE.ravel())), 0.0501, 0.0021),
        (" ".join(["0"] * 36), None, None),
        ("", None, None),
    ],
    ids=["six deviations", "a covariance", "ROS does not know it", "none"],
)
def test_what_follows_a_pose_is_its_deviation(
    tmp_path: Path, numbers: str, place: float | None, turn: float | None
) -> None:
    known = with_deviations(tmp_path / "poses.txt", numbers)
    for index in range(60):
        hint = known.of(frame(index))
        known.tracked(frame(index), odom_pose(index / 30))
    assert known.scale is not None
    expected = None if place is None else (pytest.approx(place * known.scale**2), pytest.approx(turn))
    assert hint.variances == expected


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ("1 2 3", "3 numbers after a pose"),
        ("1 1 1 1 1 -1", "below zero"),
        (" ".join(["-1"] * 36), "below zero"),
        ("1 1 1 1 1 1e7", "beyond all bounds"),
    ],
)
def test_what_is_no_deviation_is_refused(tmp_path: Path, numbers: str, said: str) -> None:
    with pytest.raises(SensorError, match=said):
        with_deviations(tmp_path / "poses.txt", numbers)


def test_a_topic_sends_lines_or_json(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    endpoint, begin_s = f"ipc://{tmp_path}/odometry", 1_700_000_000
    with zmq.Context() as context, context.socket(zmq.PUB) as publisher:
        publisher.setsockopt(zmq.LINGER, 0)
        publisher.bind(endpoint)
        known = open_odometry(endpoint, 0.0)
        deadline = time.monotonic() + 20
        while not len(known.feed.rows().times_ns):  # subscriptions take their time
            publisher.send_multipart([b"/odometry/", f"{begin_s}.0 1 2 3 0 0 0 1".encode()])
            time.sleep(0.01)
            assert time.monotonic() < deadline
        pose = {"time": begin_s + 0.1, "position": [4, 5, 6], "orientation": [0, 0, 0, 1]}
        for message in (
            {**pose, "covariance": [1, 2]}, {**pose, "position": None}, {**pose, "time": [1]}, [1],
            {**pose, "position": [1, 2, float("nan")]}, {**pose, "position": [1, 2, 10**400]},
            {**pose, "position": [1, 2, -1e300]}, {**pose, "covariance": COVARIANCE.ravel().tolist()},
        ):  # fmt: skip
            publisher.send_multipart([b"/odometry/", json.dumps(message).encode()])
        publisher.send_multipart([b"/odometry/", json.dumps({**pose, "time": (begin_s * 10 + 2) * 10**8}).encode()])
        while known.feed.rows().times_ns[-1] < begin_s * 10**9 + 2 * 10**8:
            time.sleep(0.01)
            assert time.monotonic() < deadline
        rows, refused = known.feed.rows(), known.feed.refused
        known.close()
    assert rows.times_ns.tolist() == [begin_s * 10**9 + n * 10**8 for n in range(3)]
    assert variances_of(rows.values[1, 7:]) == (pytest.approx(0.0501), pytest.approx(0.0021))
    assert variances_of(rows.values[2, 7:]) is None
    assert refused == 7
    assert '"covariance" is no list of 36 numbers' in caplog.text
