from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark3r_core.errors import GeometryError
from spark3r_core.geometry import Sim3, align_points, align_poses, robust_scale, se3, umeyama
from spark3r_core.geometry.rotation import exp_so3, rotation_angle


def random_sim3(seed: int, scale: float = 0.0) -> Sim3:
    rng = np.random.default_rng(seed)
    return Sim3(scale or float(np.exp(rng.uniform(-4, 4))), exp_so3(rng.normal(size=3)), 10 * rng.normal(size=3))


def random_poses(seed: int, count: int) -> np.ndarray:
    return se3.exp(np.random.default_rng(seed).normal(size=(count, 6)))


def assert_close(a: Sim3, b: Sim3, tolerance: float) -> None:
    assert abs(np.log(a.scale / b.scale)) < tolerance
    assert rotation_angle(a.rotation.T @ b.rotation) < tolerance
    assert np.linalg.norm(a.translation - b.translation) < tolerance * max(1.0, float(np.linalg.norm(b.translation)))


SEEDS = st.integers(0, 10**6)


@given(SEEDS, SEEDS)
@settings(max_examples=50)
def test_sim3_group_laws(seed_a: int, seed_b: int) -> None:
    a, b = random_sim3(seed_a), random_sim3(seed_b)
    points = np.random.default_rng(seed_a).normal(size=(4, 5, 3))
    np.testing.assert_allclose((a @ b).apply_to_points(points), a.apply_to_points(b.apply_to_points(points)), rtol=1e-9)
    np.testing.assert_allclose((a @ b).matrix, a.matrix @ b.matrix, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose((a @ a.inverse()).matrix, np.eye(4), atol=1e-9)
    assert_close(Sim3.from_matrix(a.matrix), a, 1e-9)
    assert_close(Sim3.from_quat_xyzw(a.scale, a.quat_xyzw, a.translation), a, 1e-9)


@given(SEEDS)
@settings(max_examples=30)
def test_poses_and_scaled_depths_move_like_points(seed: int) -> None:
    target_from_source, pose = random_sim3(seed), random_poses(seed, 1)[0]
    camera_points = np.random.default_rng(seed).normal(size=(7, 3))
    moved = target_from_source.apply_to_poses(pose)
    assert se3.is_se3(moved)
    np.testing.assert_allclose(
        se3.transform_points(moved, target_from_source.scale * camera_points),
        target_from_source.apply_to_points(se3.transform_points(pose, camera_points)),
        rtol=1e-9,
        atol=1e-9,
    )


@given(SEEDS, st.integers(3, 40))
@settings(max_examples=50)
def test_umeyama_is_exact_on_exact_points(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    truth, source = random_sim3(seed), rng.normal(size=(count, 3))
    weights = rng.uniform(0.1, 1, count)
    assert_close(umeyama(source, truth.apply_to_points(source), weights), truth, 1e-5 if count == 3 else 1e-7)
    planar = source * [1, 1, 0]
    assert_close(umeyama(planar, truth.apply_to_points(planar)), truth, 1e-5 if count == 3 else 1e-7)


def test_umeyama_minimises_the_weighted_error() -> None:
    rng = np.random.default_rng(3)
    source = rng.normal(size=(30, 3))
    target = random_sim3(4, 2.0).apply_to_points(source) + 0.1 * rng.normal(size=(30, 3))
    weights = rng.uniform(0, 1, 30)

    def cost(transform: Sim3) -> float:
        return float(weights @ np.sum((transform.apply_to_points(source) - target) ** 2, 1))

    best = umeyama(source, target, weights)
    for step in np.random.default_rng(5).normal(size=(50, 7)) * 1e-3:
        nudge = Sim3(float(np.exp(step[0])), exp_so3(step[1:4]), step[4:])
        assert cost(nudge @ best) >= cost(best)


def test_mirror_images_are_not_matched_by_a_reflection() -> None:
    source = np.random.default_rng(0).normal(size=(20, 3))
    found = umeyama(source, source * [1, 1, -1])
    assert np.linalg.det(found.rotation) > 0.99


@pytest.mark.parametrize(
    "source",
    [
        np.linspace(0, 1, 10)[:, None] * [1.0, 2.0, 3.0],
        np.zeros((10, 3)),
        np.full((10, 3), 1e6),
        (1e3 + np.linspace(0, 1, 10)[:, None] * [1.0, 2.0, 3.0]).astype(np.float32),
    ],
)
def test_degenerate_points_are_refused(source: np.ndarray) -> None:
    with pytest.raises(GeometryError, match="on a line or in one place"):
        umeyama(source, source)


def test_bad_arguments_say_what_is_wrong() -> None:
    points = np.random.default_rng(0).normal(size=(5, 3))
    with pytest.raises(GeometryError, match="2 pairs; at least 3"):
        umeyama(points[:2], points[:2])
    with pytest.raises(GeometryError, match="1 pairs with a weight"):
        umeyama(points, points, [1, 0, 0, 0, 0])
    with pytest.raises(GeometryError, match="expected equal"):
        umeyama(points, points[:4])
    with pytest.raises(GeometryError, match="not finite"):
        umeyama(points, points * np.nan)
    with pytest.raises(GeometryError, match="scale is -1"):
        Sim3(-1.0)
    with pytest.raises(GeometryError, match="rotation matrix"):
        Sim3(1.0, np.diag([1.0, 1.0, -1.0]))


def test_point_alignment_survives_a_fifth_of_outliers() -> None:
    rng = np.random.default_rng(7)
    truth, source = random_sim3(8, 1.7), rng.normal(size=(200, 3))
    target = truth.apply_to_points(source) + 0.005 * rng.normal(size=(200, 3))
    target[:40] += 5 * rng.normal(size=(40, 3))
    found = align_points(source, target)
    assert_close(found.target_from_source, truth, 0.01)
    least_squares = umeyama(source, target)
    assert rotation_angle(least_squares.rotation.T @ truth.rotation) > 0.02
    assert found.weights[:40].max() < 0.2 * np.median(found.weights[40:])
    assert found.rms > 1.0  # the outliers stay visible in the health measure


@given(SEEDS, st.integers(2, 12))
@settings(max_examples=40)
def test_pose_alignment_is_exact_and_symmetric(seed: int, count: int) -> None:
    truth, source = random_sim3(seed), random_poses(seed, count)
    target = truth.apply_to_poses(source)
    assert_close(align_poses(source, target).target_from_source, truth, 1e-8)
    assert_close(align_poses(target, source).target_from_source, truth.inverse(), 1e-8)


def test_pose_alignment_on_a_straight_line_and_with_an_outlier() -> None:
    source = np.tile(np.eye(4), (9, 1, 1))
    source[:, 2, 3] = np.arange(9)
    truth = random_sim3(2, 0.5)
    target = truth.apply_to_poses(source)
    assert_close(align_poses(source, target).target_from_source, truth, 1e-8)
    target[4, :3, 3] += [0.0, 3.0, 0.0]
    target[4, :3, :3] = exp_so3([0, 0.5, 0]) @ target[4, :3, :3]
    found = align_poses(source, target)
    assert_close(found.target_from_source, truth, 1e-6)
    assert np.argmax(found.residuals) == 4


def test_still_camera_needs_a_scale() -> None:
    source = random_poses(1, 4)
    source[:, :3, 3] = [1.0, 2.0, 3.0]
    truth = random_sim3(3, 2.0)
    target = truth.apply_to_poses(source)
    with pytest.raises(GeometryError, match="carry no scale"):
        align_poses(source, target)
    assert_close(align_poses(source, target, scale=2.0).target_from_source, truth, 1e-8)
    with pytest.raises(GeometryError, match="at least 2"):
        align_poses(source[:1], target[:1])


def test_robust_scale_ignores_a_third_of_garbage() -> None:
    rng = np.random.default_rng(0)
    depth = rng.uniform(1, 5, (20, 30)).astype(np.float32)
    scaled = 3.0 * depth * np.exp(0.01 * rng.normal(size=depth.shape))
    scaled[:6] *= 20
    scaled[6, :5] = np.nan
    assert abs(robust_scale(depth, scaled) - 3.0) < 0.05
    with pytest.raises(GeometryError, match="at least 16"):
        robust_scale(depth[:3, :5], scaled[:3, :5])
