"""Alignment to a keyframe whose depth is known: the same equations with less in them, and exact poses."""

from __future__ import annotations

import numpy as np
import pytest

from spark3r_core.geometry import se3
from spark3r_core.photometric.frame_residuals import POSE_AND_LIGHT, SHARED, linearise
from spark3r_core.photometric.known_depth import align_to_known
from spark3r_core.photometric.levels import grey_levels
from tests.core.photometric.scene import Room, path
from tests.core.photometric.tracking_scene import HW, keyframe, pictures


@pytest.fixture(scope="module")
def room() -> Room:
    return Room(box=False)


def test_the_equations_are_those_of_tracking_without_the_keyframes_unknowns(room: Room) -> None:
    poses = path(2, step=3)
    images, depths = pictures(room, poses)
    _, points = keyframe(images[0], depths[0])
    level = grey_levels(images[1])[0]
    pose = se3.compose(se3.invert(poses[1]), poses[0])
    light = np.array([1.03, -0.02])
    whole, less = (linearise(points[0], level, pose, light, shared) for shared in (np.zeros(SHARED), None))
    kept = [*range(POSE_AND_LIGHT), -1]
    np.testing.assert_allclose(less.squares, whole.squares[np.ix_(kept, kept)], rtol=1e-4, atol=1e-3)
    np.testing.assert_array_equal(less.visible, whole.visible)
    np.testing.assert_allclose(less.error, whole.error, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("off", [0.0, 0.03])
def test_a_pose_is_found_from_a_guess_that_is_degrees_away(room: Room, off: float) -> None:
    poses = path(2, step=4)
    images, depths = pictures(room, poses)
    _, points = keyframe(images[0], depths[0])
    true = se3.compose(se3.invert(poses[1]), poses[0])
    guess = se3.compose(se3.exp(off * np.array([1, -1, 1, 0.5, -1, 0.5])), true)
    found = align_to_known(points, grey_levels(images[1]), guess)
    assert found.inliers > 0.9
    assert found.overlap > 0.6
    assert np.degrees(se3.relative_angle(found.camera_from_key, true)) < 0.05
    np.testing.assert_allclose(found.camera_from_key[:3, 3], true[:3, 3], atol=3e-3)


def test_a_keyframe_out_of_view_moves_nothing_and_agrees_with_nothing(room: Room) -> None:
    poses = path(1)
    images, depths = pictures(room, poses)
    pyramid, points = keyframe(images[0], depths[0])
    behind = se3.compose(se3.exp(np.array([0, 0, 0, 0, np.pi - 0.1, 0])), np.eye(4))
    found = align_to_known(points, pyramid, behind)
    assert found.overlap == found.inliers == 0
    np.testing.assert_array_equal(found.camera_from_key, behind)


def test_a_picture_without_texture_is_not_like_the_keyframe(room: Room) -> None:
    poses = path(1)
    images, depths = pictures(room, poses)
    _, points = keyframe(images[0], depths[0])
    found = align_to_known(points, grey_levels(np.full(HW, 7, np.uint8)), np.eye(4))
    assert np.isfinite(found.camera_from_key).all()
    assert found.likeness < 0.1, "its pixels agree with anything once the gain is zero"
