"""What is expected of frames before they are looked at, and which pixels of a keyframe they are aligned to."""

from __future__ import annotations

import numpy as np
import pytest

from spark3r_core.geometry import se3
from spark3r_core.photometric.assumed import MIN_GRADIENT
from spark3r_core.photometric.key_points import key_points
from spark3r_core.photometric.levels import grey_levels
from spark3r_core.photometric.priors import SLOWEST, SPEED_CHANGE, TURN_CHANGE, Past, Priors
from tests.core.photometric.scene import Room, camera, path
from tests.core.photometric.tracking_scene import HW, keyframe, pictures

STEADY = se3.exp(np.array([0.02, -0.01, 0.015, 0.004, 0.012, -0.003]))
EVEN = np.tile([1.0, 0.0], (3, 1))


def steady_window(steps: np.ndarray) -> tuple[np.ndarray, Past]:
    """Three frames that go on as the two before them did, seen `steps` apart."""
    twist = se3.log(STEADY)
    track = [np.eye(4)]
    for step in steps:
        track.append(se3.compose(se3.exp(step * twist), track[-1]))
    return np.stack(track[2:]), Past(np.stack(track[:2]), float(np.linalg.norm(twist[:3])), steps)


@pytest.mark.parametrize("steps", [np.ones(4), np.array([1.0, 2.0, 0.5, 3.0])], ids=["even", "uneven"])
def test_steady_motion_pulls_nowhere(steps: np.ndarray) -> None:
    poses, past = steady_window(steps)
    gradient = Priors(poses, past).gradient(poses, EVEN)
    stiffness = np.sqrt(np.diag(Priors(poses, past).matrix))
    assert (np.abs(gradient) / stiffness < 0.1).all(), "in sigmas; what is left is of second order"
    pushed = poses.copy()
    pushed[1, 0, 3] += 0.01
    assert np.abs(Priors(pushed, past).gradient(pushed, EVEN) / stiffness).max() > 0.5


@pytest.mark.parametrize("moving", [False, True])
def test_the_gradient_is_what_the_curvature_says(moving: bool) -> None:
    """A quadratic: moving one unknown changes the gradient by its column of the matrix."""
    poses, past = steady_window(np.array([1.0, 1.5, 1.0, 0.5]))
    priors = Priors(poses, past if moving else None)
    rest = priors.gradient(poses, EVEN)
    for frame in range(3):
        for unknown in range(8):
            change = np.zeros((3, 8))
            change[frame, unknown] = 1e-6
            moved = se3.compose(se3.exp(change[:, :6]), poses)
            found = (priors.gradient(moved, EVEN + change[:, 6:]) - rest) / 1e-6
            expected = priors.matrix[:, 8 * frame + unknown]
            np.testing.assert_allclose(found, expected, atol=0.04 * np.abs(priors.matrix).max())
    assert (np.linalg.eigvalsh(priors.matrix) > 0).all()


def test_the_faster_the_camera_the_less_its_speed_says() -> None:
    poses, past = steady_window(np.ones(4))
    slow, fast = (Priors(poses[:1], Past(past.camera_from_key, speed, np.ones(2))).matrix for speed in (0.0, 0.1))
    alone = Priors(poses[:1], None).matrix
    assert (slow - alone)[0, 0] == pytest.approx(SLOWEST**-2)
    assert (fast - alone)[0, 0] == pytest.approx((SPEED_CHANGE * 0.1 + SLOWEST) ** -2)
    assert (fast - alone)[3, 3] == (slow - alone)[3, 3] == pytest.approx(TURN_CHANGE**-2)
    assert (fast - alone)[6, 6] == 0, "light is not a motion"


def test_key_points_are_seen_where_they_are() -> None:
    images, depths = pictures(Room(), path(1))
    pyramid, points = keyframe(images[0], depths[0])
    cam = camera(HW)
    for index, (level, of_level) in enumerate(zip(pyramid, points, strict=True)):
        assert of_level.size_hw == level.size_hw
        u = of_level.rays[:, 0] * of_level.focal_xy[0] + of_level.centre_xy[0]
        v = of_level.rays[:, 1] * of_level.focal_xy[1] + of_level.centre_xy[1]
        columns, rows = np.floor(u).astype(int), np.floor(v).astype(int)
        np.testing.assert_allclose(u - columns, 0.5, atol=1e-3)
        np.testing.assert_array_equal(of_level.intensity, level.channels[rows, columns, 0])
        strength = np.hypot(*level.channels[rows, columns, 1:].T)
        assert (strength > MIN_GRADIENT).all()
        step = 2**index
        middle = depths[0][rows * step + step // 2, columns * step + step // 2]
        np.testing.assert_array_equal(of_level.depth, middle)
        assert of_level.focal_xy[0] * step == pytest.approx(cam[0, 0])
    assert len(points[0].depth) > len(points[-1].depth) > 0


def test_each_key_point_knows_how_well_its_depth_is_known() -> None:
    images, depths = pictures(Room(), path(1))
    pyramid, sigma = grey_levels(images[0]), np.full(HW, 0.03, np.float32)
    sigma[:, HW[1] // 2 :] = 0.4
    for of_level in key_points(pyramid, depths[0], camera(HW), sigma):
        right = of_level.rays[:, 0] * of_level.focal_xy[0] + of_level.centre_xy[0] > of_level.size_hw[1] / 2
        np.testing.assert_array_equal(of_level.depth_sigma, np.where(right, np.float32(0.4), np.float32(0.03)))


def test_pixels_without_texture_or_depth_are_no_key_points() -> None:
    images, depths = pictures(Room(), path(1))
    grey = images[0].copy()
    grey[:, :96] = 90
    depth = depths[0].copy()
    depth[:40], depth[40:50], depth[50:60] = np.nan, np.inf, 0
    finest = key_points(grey_levels(grey), depth, camera(HW))[0]
    u = finest.rays[:, 0] * finest.focal_xy[0] + finest.centre_xy[0]
    v = finest.rays[:, 1] * finest.focal_xy[1] + finest.centre_xy[1]
    assert len(u) > 100
    assert u.min() > 90  # the edge of the grey half, blurred
    assert v.min() > 60
    assert not len(key_points(grey_levels(np.full((*HW, 3), 90, np.uint8)), depths[0], camera(HW))[0].depth)


def test_points_spread_over_the_picture() -> None:
    """One point a cell: a corner full of texture does not take them all."""
    images, depths = pictures(Room(), path(1))
    noisy = images[0].copy()
    noisy[:36, :48] = np.random.default_rng(0).integers(0, 255, (36, 48, 1), np.uint8)
    finest = keyframe(noisy, depths[0])[1][0]
    u = finest.rays[:, 0] * finest.focal_xy[0] + finest.centre_xy[0]
    v = finest.rays[:, 1] * finest.focal_xy[1] + finest.centre_xy[1]
    in_corner = float(((u < 48) & (v < 36)).mean())
    assert in_corner < 0.1  # a sixteenth of the picture
