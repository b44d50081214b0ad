"""Axes by what they mean, and covariances against samples."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spark3r_core.geometry import se3
from spark3r_stream.errors import StreamError
from spark3r_stream.ros2.axes import BODY_FROM_OPTICAL, upright
from spark3r_stream.ros2.naming import ODOMETRY, TF, Naming
from spark3r_stream.ros2.odometry import UNKNOWN, OdometryCovariance, Velocity, turned
from tests.helpers_wire import make_tracked

RIGHT, DOWN, AHEAD = np.eye(3)


def test_a_level_camera_begins_as_its_body_frame() -> None:
    np.testing.assert_allclose(upright(), BODY_FROM_OPTICAL, atol=1e-15)
    turn = BODY_FROM_OPTICAL[:3, :3]
    np.testing.assert_array_equal([turn @ AHEAD, -turn @ RIGHT, -turn @ DOWN], np.eye(3))


@pytest.mark.parametrize("pitch", [-0.5, 0.2, 1.0])
def test_a_tilted_camera_is_stood_upright(pitch: float) -> None:
    gravity = 9.81 * np.array([0, np.cos(pitch), np.sin(pitch)])
    turn = upright(gravity)[:3, :3]
    assert np.linalg.det(turn) == pytest.approx(1)
    np.testing.assert_allclose(turn @ gravity, [0, 0, -9.81], atol=1e-12)
    view = turn @ AHEAD
    assert (view[0] > 0, view[1]) == (True, pytest.approx(0))
    assert view[2] == pytest.approx(-np.sin(pitch)), "a camera that sees the ground looks down"


@pytest.mark.parametrize(("gravity", "ahead"), [((0, 0, 1), -DOWN), ((0, 0, -2), DOWN)])
def test_a_camera_that_looks_straight_down_or_up_goes_by_its_picture(gravity: tuple, ahead: np.ndarray) -> None:
    np.testing.assert_allclose(upright(gravity)[:3, :3] @ ahead, [1, 0, 0], atol=1e-12)


@pytest.mark.parametrize("gravity", [(0, 0, 0), (0, float("nan"), 1), (1, 2)])
def test_no_direction_is_refused(gravity: tuple) -> None:
    with pytest.raises(StreamError, match="expected three numbers"):
        upright(gravity)


def test_names() -> None:
    names = Naming(prefix="left/eye")
    assert names.topic(ODOMETRY) == "/left/eye/odom"
    assert (names.topic(TF), names.frame(names.base)) == ("/tf", "left/eye/camera_link")
    assert Naming().topic(ODOMETRY) == "/odom"
    for wrong in ({"prefix": "a b"}, {"map": ""}, {"base": "odom"}, {"odom": "/odom"}):
        with pytest.raises(StreamError):
            Naming(**wrong)


def test_the_covariance_of_odometry_is_that_of_samples() -> None:
    """Two keyframes: the second was a frame on the first; what it did not know is carried on."""
    rng = np.random.default_rng(1)
    roots = 1e-3 * rng.normal(size=(2, 6, 6))
    key, later = make_tracked(5), make_tracked(9)
    key = replace(key.result, covariance=roots[0] @ roots[0].T, keyframe_id=0, mapped=False)
    later = replace(later.result, covariance=roots[1] @ roots[1].T, keyframe_id=5, mapped=False)
    known = OdometryCovariance()
    np.testing.assert_allclose(known.of(key), key.covariance)
    covariance = known.of(later)
    assert covariance is not None
    noise = [se3.exp((root @ rng.normal(size=(6, 20_000))).T) for root in roots]
    true = noise[0] @ later.world_from_camera @ noise[1]
    found = np.cov(se3.log(se3.invert(later.world_from_camera) @ true).T)
    np.testing.assert_allclose(covariance, found, atol=0.03 * np.abs(found).max())

    turn = se3.exp(rng.normal(size=6))[:3, :3]
    moved = 2.0 * (later.world_from_camera @ noise[1] - later.world_from_camera)[:, :3, 3]  # twice as long
    in_parent = turned(later.covariance, later.world_from_camera[:3, :3], 2.0)
    np.testing.assert_allclose(in_parent[:3, :3], np.cov(moved.T), atol=0.03 * np.abs(in_parent).max())
    assert turned(np.eye(6), turn, 3.0)[:3, :3] == pytest.approx(9 * np.eye(3))


def test_a_map_begun_anew_says_that_nobody_knows_where_it_is() -> None:
    known = OdometryCovariance()
    first = replace(make_tracked(0).result, covariance=np.zeros((6, 6)), world_from_camera=np.eye(4), keyframe_id=0)
    np.testing.assert_array_equal(known.of(first), np.zeros((6, 6)))
    guess = replace(make_tracked(1).result, covariance=None, mapped=False)
    assert known.of(guess) is None
    again = known.of(replace(first, frame_id=40, keyframe_id=40))
    assert again is not None
    assert again.diagonal().min() >= UNKNOWN


def test_velocity_is_per_second_in_the_moving_frame() -> None:
    velocity = Velocity()
    pose, step = se3.exp(np.array([1.0, 2, 3, 0.3, 0.2, 0.1])), np.array([0.1, 0, 0, 0, 0, 0.02])
    twist, covariance = velocity.of(0, pose, 1e-4 * np.eye(6))
    assert (list(twist), covariance[0, 0]) == ([0] * 6, UNKNOWN)
    twist, covariance = velocity.of(100_000_000, pose @ se3.exp(step), 1e-4 * np.eye(6))
    np.testing.assert_allclose(twist, 10 * step, atol=1e-12)
    assert covariance[0, 0] == pytest.approx(2e-4 / 0.1**2)
