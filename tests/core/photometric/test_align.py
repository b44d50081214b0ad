"""The fast alignment of one frame: equal to the plain reference in torch, and right about poses and depth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from spark3r_core.geometry import se3
from spark3r_core.photometric import depth_grid, residuals
from spark3r_core.photometric.align import align
from spark3r_core.photometric.assumed import DEPTH_SIGMA, UNSEEN_DEPTH_SIGMA
from spark3r_core.photometric.frame_priors import FramePriors, moved
from spark3r_core.photometric.frame_residuals import BLOCK_ROWS, KeyPoints, _squares, bilinear, linearise, misfit
from spark3r_core.photometric.key_points import key_points
from spark3r_core.photometric.keyframe import Points, choose_points
from spark3r_core.photometric.knowledge import HELD, MOST_PRECISION, Knowledge, more_known
from spark3r_core.photometric.levels import Level, grey_levels
from spark3r_core.photometric.priors import Past, Priors
from spark3r_core.photometric.pyramid import grey_pyramid
from tests.core.photometric.scene import Room, camera, path
from tests.core.photometric.tracking_scene import HW, keyframe, pictures

NODES = depth_grid.NODES


def nothing_known(focal_precision: float = HELD) -> Knowledge:
    information = np.zeros((NODES + 1, NODES + 1))
    information[:-1, :-1] = depth_grid.prior_precision()
    information[-1, -1] = focal_precision
    return Knowledge(np.zeros(NODES + 1), information)


def as_torch(points: KeyPoints) -> Points:
    tensors = (torch.from_numpy(a).double() for a in (points.rays, points.depth, points.intensity, points.basis))
    return Points(*tensors, points.focal_xy, points.centre_xy, points.size_hw)


@pytest.fixture(scope="module")
def room() -> Room:
    return Room(box=False)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_the_normal_equations_are_those_of_the_plain_reference(room: Room, level: int) -> None:
    poses = path(2, step=3)
    images, depths = pictures(room, poses)
    _, points = keyframe(images[0], depths[0])
    pyramid = grey_levels(images[1])
    rng = np.random.default_rng(level)
    pose = se3.compose(se3.exp(0.01 * rng.normal(size=6)), se3.invert(poses[1]), poses[0])
    light, shared = np.array([1.07, -0.04]), np.append(0.08 * rng.normal(size=NODES), 0.03)
    found = linearise(points[level], pyramid[level], pose, light, shared)
    channels = torch.from_numpy(pyramid[level].channels).double().permute(2, 0, 1)[None]
    plain = residuals.linearise(
        as_torch(points[level]),
        channels,
        *(torch.from_numpy(array)[None] for array in (pose, light)),
        torch.from_numpy(shared[:-1]),
        shared[-1],
    )
    np.testing.assert_array_equal(found.visible, plain.visible[0].numpy())
    assert 0.5 < found.visible.mean() < 1, "some points leave the picture"
    seen = found.visible
    np.testing.assert_allclose(found.intensity[seen], plain.intensity[0].numpy()[seen], atol=1e-4)
    np.testing.assert_allclose(found.error[seen], plain.error[0].numpy()[seen], rtol=2e-3, atol=2e-3)
    expected = plain.squares()[0].numpy()
    size = np.sqrt(np.diag(expected))
    assert (size > 0).sum() >= 10 + NODES // 2
    bound = 1e-3 * np.maximum(size[:, None] * size[None], 1e-9)
    assert (np.abs(found.squares - expected) < bound).all()


def test_the_pyramid_and_the_points_are_those_of_the_plain_reference(room: Room) -> None:
    images, depths = pictures(room, path(1))
    pyramid, points = keyframe(images[0], depths[0])
    torch_pyramid = grey_pyramid(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255)
    assert len(pyramid) == len(torch_pyramid) > 2
    for index, (level, plain) in enumerate(zip(pyramid, torch_pyramid, strict=True)):
        np.testing.assert_allclose(level.channels, plain[0].permute(1, 2, 0).numpy(), atol=2e-3)
        same = torch.from_numpy(level.channels).permute(2, 0, 1).contiguous()
        chosen = choose_points(same, torch.from_numpy(depths[0]), camera(HW), index)
        for ours, theirs in ((points[index].rays, chosen.rays), (points[index].depth, chosen.depth)):
            np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-5)
        np.testing.assert_allclose(points[index].basis, chosen.basis.numpy(), atol=1e-5)
        assert points[index].focal_xy == chosen.focal_xy
        assert points[index].centre_xy == chosen.centre_xy


@pytest.mark.parametrize("moving", [False, True])
def test_priors_of_one_frame_are_those_of_the_window(moving: bool) -> None:
    rng = np.random.default_rng(3)
    guess, before, last, pose = (se3.exp(0.05 * rng.normal(size=6)) for _ in range(4))
    past = Past(np.stack([before, last]), 0.03, np.array([0.7, 1.9])) if moving else None
    light = np.array([1.1, -0.05])
    fast, plain = FramePriors(guess, past), Priors(guess[None], past)
    np.testing.assert_allclose(fast.matrix, plain.matrix, rtol=1e-12)
    expected = plain.gradient(pose[None], light[None])
    np.testing.assert_allclose(fast.gradient(pose, light), expected, rtol=1e-9, atol=1e-9)
    still = FramePriors(guess, None)
    assert np.allclose(still.matrix, fast.matrix) is not moving, "steady motion says something"


@pytest.mark.parametrize("size", [0.0, 1e-9, 5e-5, 2e-4, 0.3, 3.0])
def test_a_pose_is_moved_by_the_exponential_of_the_twist(size: float) -> None:
    rng = np.random.default_rng(1)
    pose, twist = se3.exp(rng.normal(size=6)), rng.normal(size=6)
    twist *= size / np.linalg.norm(twist[3:])
    np.testing.assert_allclose(moved(pose, twist), se3.compose(se3.exp(twist), pose), atol=1e-12)


@pytest.mark.parametrize("rows", [0, 1, BLOCK_ROWS - 1, BLOCK_ROWS, 5 * BLOCK_ROWS + 17])
def test_squares_in_blocks_are_the_plain_product(rows: int) -> None:
    jacobian = np.random.default_rng(0).normal(size=(rows, 11)).astype(np.float32)
    plain = jacobian.astype(np.float64).T @ jacobian.astype(np.float64)
    np.testing.assert_allclose(_squares(jacobian), plain, atol=1e-5 * max(rows, 1))


def test_bilinear_goes_through_the_pixels_and_on_planes_between_them() -> None:
    v, u = np.mgrid[:7, :9].astype(np.float32)
    channels = np.stack([3 + 2 * u - v, u * 0.5, v], -1)
    at_u, at_v = np.array([1, 3.25, 6.5], np.float32), np.array([2, 1.75, 4.5], np.float32)
    expected = np.stack([3 + 2 * at_u - at_v, at_u * 0.5, at_v], -1)
    np.testing.assert_allclose(bilinear(channels, at_u, at_v), expected, rtol=1e-6)


def test_a_known_pose_comes_back(room: Room) -> None:
    poses = path(2, step=2)
    images, depths = pictures(room, poses)
    pyramid, points = keyframe(images[0], depths[0])
    frame = grey_levels(images[1])
    truth = se3.compose(se3.invert(poses[1]), poses[0])
    unit = float(np.median(depths[0]))
    for seed in range(4):
        twist = np.random.default_rng(seed).normal(size=6)
        twist[:3] *= 0.03 * unit / np.linalg.norm(twist[:3])
        twist[3:] *= np.deg2rad(2) / np.linalg.norm(twist[3:])
        guess = se3.compose(se3.exp(twist), truth)
        found = align(points, frame, guess, nothing_known(), None, fixed_focal=True)
        off = se3.compose(se3.invert(found.camera_from_key), truth)
        assert np.rad2deg(se3.relative_angle(found.camera_from_key, truth)) < 0.1
        assert np.linalg.norm(off[:3, 3]) < 0.005 * unit
        assert found.inliers > 0.95
        assert found.overlap > 0.8
        assert found.likeness > 0.95
        assert abs(found.knowledge.log_focal) < 1e-9
        before, after = (misfit(points[0], frame[0], pose, nothing_known()) for pose in (guess, found.camera_from_key))
        assert after < 0.5 * before
        assert (np.linalg.eigvalsh(found.covariance) > 0).all()
    aligned_to_itself = align(points, pyramid, np.eye(4), nothing_known(), None, fixed_focal=True)
    np.testing.assert_allclose(aligned_to_itself.camera_from_key, np.eye(4), atol=1e-5)


def log_depth_error(points: KeyPoints, true_depth: np.ndarray, nodes: np.ndarray) -> float:
    """Standard deviation of log depth, corrected by nodes, against the truth; the scale is nobody's."""
    z = np.log(points.depth) + points.basis @ nodes - np.log(true_depth)
    return float(z.std())


def test_a_smooth_depth_error_is_found_and_knowledge_of_it_grows(room: Room) -> None:
    poses = path(10, step=2)
    images, depths = pictures(room, poses)
    wrong = 0.12 * np.random.default_rng(5).normal(size=NODES)
    exact = keyframe(images[0], depths[0])[1][0].depth
    _, points = keyframe(images[0], depths[0] * depth_grid.factors(wrong, *HW))
    known, pose, errors, precision = nothing_known(), np.eye(4), [], []
    for i in range(1, len(poses)):
        found = align(points, grey_levels(images[i]), pose, known, None, fixed_focal=True)
        pose, known = found.camera_from_key, found.knowledge
        errors.append(log_depth_error(points[0], exact, known.nodes))
        precision.append(np.trace(known.information[:-1, :-1]))
    before = log_depth_error(points[0], exact, np.zeros(NODES))
    assert before > 0.06
    assert errors[-1] < 0.5 * before
    assert (np.diff(precision) > 0).all()
    assert abs(known.log_focal) < 1e-9
    truth = se3.compose(se3.invert(poses[-1]), poses[0])
    assert np.rad2deg(se3.relative_angle(pose, truth)) < 0.5


@pytest.mark.parametrize("focal_precision", [10.0, HELD], ids=["focal free", "focal held"])
def test_knowledge_is_bounded(focal_precision: float) -> None:
    """Nothing is known arbitrarily well from pixels; a focal length that is held stays held."""
    rng = np.random.default_rng(0)
    half = rng.normal(size=(NODES + 1, NODES + 1))
    known = nothing_known(focal_precision)
    for _ in range(3000):
        known = more_known(known, half @ half.T)
    diagonal = np.diag(known.information)
    assert (diagonal[:-1] <= MOST_PRECISION * (1 + 1e-9)).all()
    assert diagonal[:-1].min() > 0.99 * MOST_PRECISION
    assert diagonal[-1] >= HELD if focal_precision >= HELD else diagonal[-1] <= MOST_PRECISION * (1 + 1e-9)
    assert (np.linalg.eigvalsh(known.information) > 0).all()


def pose_error(found: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Degrees and map units."""
    off = se3.compose(se3.invert(found), truth)
    return float(np.rad2deg(se3.relative_angle(found, truth))), float(np.linalg.norm(off[:3, 3]))


@pytest.fixture(scope="module")
def two_views(room: Room):
    """Points of a keyframe, the picture of another view, camera_from_key of it and the median depth."""
    poses = path(2, step=2)
    images, depths = pictures(room, poses)
    _, points = keyframe(images[0], depths[0])
    return points, images[1], se3.compose(se3.invert(poses[1]), poses[0]), float(np.median(depths[0]))


def test_something_before_the_camera_does_not_pull_the_pose(two_views) -> None:
    points, picture, truth, unit = two_views
    hidden = picture.copy()
    hidden[40:110, 60:120] = np.random.default_rng(0).integers(0, 255, (70, 60, 1), np.uint8)  # 15 percent
    free = align(points, grey_levels(picture), np.eye(4), nothing_known(), None, fixed_focal=True)
    found = align(points, grey_levels(hidden), np.eye(4), nothing_known(), None, fixed_focal=True)
    turn, shift = pose_error(found.camera_from_key, truth)
    assert turn < 0.6  # least squares without a bound on residuals: 1.3 degrees, 0.025 units
    assert shift < 0.015 * unit
    assert 0.7 < found.inliers < 0.95 < free.inliers, "what is hidden disagrees and is counted so"


def test_a_pixel_whose_depth_is_not_sure_disagrees_less_where_depth_would_shift_it(room: Room) -> None:
    poses = path(2, step=6)
    images, depths = pictures(room, poses)
    truth, light = se3.compose(se3.invert(poses[1]), poses[0]), np.array([1.0, 0.0])
    sigma = np.full(HW, DEPTH_SIGMA, np.float32)
    sigma[:, HW[1] // 2 :] = UNSEEN_DEPTH_SIGMA
    level, nothing = grey_levels(images[1])[0], np.zeros(NODES + 1)

    def errors(pose: np.ndarray, depth_sigma: np.ndarray | None) -> np.ndarray:
        points = key_points(grey_levels(images[0]), 1.3 * depths[0], camera(HW), depth_sigma)[0]
        return linearise(points, level, pose, light, nothing).error

    told = key_points(grey_levels(images[0]), depths[0], camera(HW), sigma)[0].depth_sigma
    moved_on, untold = errors(truth, sigma), errors(truth, None)
    np.testing.assert_array_equal(moved_on[told == np.float32(DEPTH_SIGMA)], untold[told == np.float32(DEPTH_SIGMA)])
    unsure = told == np.float32(UNSEEN_DEPTH_SIGMA)
    assert moved_on[unsure].mean() < 0.7 * untold[unsure].mean()
    turned = se3.make_pose(truth[:3, :3], np.zeros(3))  # depth shifts nothing where the camera only turns
    np.testing.assert_allclose(errors(turned, sigma), errors(turned, None), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("gain", "bias"), [(0.8, 0), (1.2, -12), (1.0, 30)])
def test_brighter_and_darker_pictures_give_the_same_pose(two_views, gain: float, bias: float) -> None:
    points, picture, truth, unit = two_views
    changed = np.clip(picture * gain + bias, 0, 255).astype(np.uint8)
    found = align(points, grey_levels(changed), np.eye(4), nothing_known(), None, fixed_focal=True)
    turn, shift = pose_error(found.camera_from_key, truth)
    assert turn < 0.1
    assert shift < 0.005 * unit
    assert found.inliers > 0.9
    assert found.likeness > 0.95


def test_a_picture_of_another_place_disagrees(two_views) -> None:
    points = two_views[0]
    other, _ = pictures(Room(seed=7, box=False), path(1))
    found = align(points, grey_levels(other[0]), np.eye(4), nothing_known(), None, fixed_focal=True)
    assert found.inliers < 0.6


def test_the_covariance_is_that_of_the_noise_and_shrinks_with_texture(two_views) -> None:
    points, picture, _, _ = two_views
    sizes = []
    for contrast in (1.0, 0.5, 0.25):
        levels = [replace(level, intensity=0.5 + contrast * (level.intensity - 0.5)) for level in points]
        flatter = np.round(127.5 + contrast * (picture.astype(float) - 127.5)).astype(np.uint8)
        found = align(levels, grey_levels(flatter), np.eye(4), nothing_known(), None, fixed_focal=True)
        np.testing.assert_allclose(found.covariance, found.covariance.T, rtol=1e-6, atol=1e-15)
        assert (np.linalg.eigvalsh(found.covariance) > 0).all()
        sizes.append(np.sqrt(np.diag(found.covariance)))
    weak, weaker = sizes[1] / sizes[0], sizes[2] / sizes[0]
    assert (weak > 1.3).all()
    assert (weaker > weak).all()


def test_steady_motion_decides_where_pixels_say_nothing(two_views) -> None:
    """A grey picture: the pose is the one that the past promises, and its covariance says what that is worth."""
    points, picture, _, _ = two_views
    grey = np.full_like(picture, 128)
    step = se3.exp(np.array([0.02, 0.0, 0.01, 0.0, 0.01, 0.0]))
    past = Past(np.stack([np.eye(4), step]), 0.022, np.array([1.0, 1.0]))
    promised = se3.compose(step, step)
    found = align(points, grey_levels(grey), promised, nothing_known(), past, fixed_focal=True)
    sure = align(points, grey_levels(picture), promised, nothing_known(), past, fixed_focal=True)
    turn, shift = pose_error(found.camera_from_key, promised)
    assert turn < 0.05
    assert shift < 0.002
    assert found.likeness < 0.5 < sure.likeness, "gain and bias explain any grey; likeness does not fall for it"
    assert (np.diag(found.covariance) > 2 * np.diag(sure.covariance)).all()


def test_a_picture_that_is_no_number_confirms_nothing(two_views) -> None:
    points, picture, _, _ = two_views
    levels = grey_levels(picture)
    broken = [Level(np.full_like(level.channels, np.nan)) for level in levels]
    found = align(points, broken, np.eye(4), nothing_known(), None, fixed_focal=True)
    np.testing.assert_array_equal(found.camera_from_key, np.eye(4))
    assert found.inliers == 0


def test_the_levels_of_a_strip_stay_high_enough_to_sample() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (8, 192, 3), dtype=np.uint8)
    levels = grey_levels(picture)
    assert [level.channels.shape[:2] for level in levels] == [(8, 192), (4, 96)]
    assert bilinear(levels[-1].channels, np.ones(1, np.float32), np.ones(1, np.float32)).shape == (1, 3)
