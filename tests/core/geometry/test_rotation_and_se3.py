"""Laws of rotations and poses, sampled near the singular points (0 and pi)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark3r_core.errors import GeometryError
from spark3r_core.geometry import rotation as so3
from spark3r_core.geometry import se3

ANGLES = st.one_of(
    st.sampled_from([0.0, 1e-300, 1e-12, 1e-9, 1e-7, 1e-5, 1e-3, 0.2, 0.3, 1.0, np.pi / 2, np.pi - 1e-4]),
    st.sampled_from([np.pi - 1e-7, np.pi - 1e-9, np.pi]),
    st.floats(0.0, np.pi),
)
COORDINATE = st.floats(-1e3, 1e3)


@st.composite
def rotvecs(draw: st.DrawFn) -> np.ndarray:
    axis = np.array([draw(st.floats(-1, 1)) for _ in range(3)])
    norm = np.linalg.norm(axis)
    axis = axis / norm if norm > 1e-6 else np.array([0.0, 0.0, 1.0])
    return draw(ANGLES) * axis


@st.composite
def poses(draw: st.DrawFn) -> np.ndarray:
    return se3.make_pose(so3.exp_so3(draw(rotvecs())), np.array([draw(COORDINATE) for _ in range(3)]))


@given(rotvecs())
def test_exp_gives_a_rotation_and_log_returns(rotvec: np.ndarray) -> None:
    matrix = so3.exp_so3(rotvec)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-14)
    assert np.linalg.det(matrix) > 0
    back = so3.log_so3(matrix)
    assert np.linalg.norm(back) <= np.pi + 1e-12
    np.testing.assert_allclose(so3.exp_so3(back), matrix, atol=1e-14)
    if np.linalg.norm(rotvec) < np.pi - 1e-6:
        np.testing.assert_allclose(back, rotvec, atol=1e-13)


@given(rotvecs())
def test_small_and_large_angles_keep_relative_precision(rotvec: np.ndarray) -> None:
    angle = np.linalg.norm(rotvec)
    np.testing.assert_allclose(so3.rotation_angle(so3.exp_so3(rotvec)), angle, rtol=1e-9, atol=1e-16)


@given(rotvecs())
def test_exp_is_the_rodrigues_formula(rotvec: np.ndarray) -> None:
    angle = np.linalg.norm(rotvec)
    hat = so3.skew(rotvec / angle) if angle > 0 else np.zeros((3, 3))
    expected = np.eye(3) + np.sin(angle) * hat + (1 - np.cos(angle)) * hat @ hat
    np.testing.assert_allclose(so3.exp_so3(rotvec), expected, atol=1e-14)


@given(rotvecs())
def test_quaternion_round_trip_in_float32(rotvec: np.ndarray) -> None:
    matrix = so3.exp_so3(rotvec)
    quat = so3.quat_xyzw_from_matrix(matrix.astype(np.float32))
    assert quat.dtype == np.float64
    assert quat[3] >= 0
    np.testing.assert_allclose(np.linalg.norm(quat), 1.0, atol=1e-14)
    np.testing.assert_allclose(so3.matrix_from_quat_xyzw(quat), matrix, atol=1e-6)
    np.testing.assert_allclose(so3.matrix_from_quat_xyzw(-3.0 * quat), so3.matrix_from_quat_xyzw(quat), atol=1e-14)


def test_quaternion_order_is_xyzw() -> None:
    quarter_turn_about_x = so3.matrix_from_quat_xyzw([np.sqrt(0.5), 0, 0, np.sqrt(0.5)])
    np.testing.assert_allclose(quarter_turn_about_x @ [0, 1, 0], [0, 0, 1], atol=1e-15)


@given(rotvecs(), rotvecs())
def test_nearest_rotation_undoes_scale_and_noise(rotvec: np.ndarray, noise: np.ndarray) -> None:
    matrix = so3.exp_so3(rotvec)
    np.testing.assert_allclose(so3.nearest_rotation(2.5 * matrix), matrix, atol=1e-12)
    near = so3.nearest_rotation(matrix + 1e-4 * so3.skew(noise))
    np.testing.assert_allclose(near @ near.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(near, matrix, atol=2e-3)


@given(poses(), poses(), poses())
@settings(max_examples=50)
def test_group_axioms(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> None:
    identity = np.eye(4)
    np.testing.assert_allclose(se3.compose(a, se3.invert(a)), identity, atol=1e-11)
    np.testing.assert_allclose(se3.compose(se3.invert(a), a), identity, atol=1e-11)
    np.testing.assert_allclose(se3.compose(se3.compose(a, b), c), se3.compose(a, se3.compose(b, c)), atol=1e-10)
    np.testing.assert_allclose(se3.invert(se3.compose(a, b)), se3.compose(se3.invert(b), se3.invert(a)), atol=1e-10)
    assert se3.is_se3(se3.compose(a, b, c))


@given(poses())
def test_se3_log_then_exp(pose: np.ndarray) -> None:
    twist = se3.log(pose)
    assert np.all(np.isfinite(twist))
    np.testing.assert_allclose(se3.exp(twist), pose, atol=1e-9)


@given(rotvecs(), st.tuples(COORDINATE, COORDINATE, COORDINATE))
def test_se3_exp_then_log(rotvec: np.ndarray, rho: tuple[float, float, float]) -> None:
    twist = np.concatenate([rho, rotvec])
    if np.linalg.norm(rotvec) < np.pi - 1e-6:
        np.testing.assert_allclose(se3.log(se3.exp(twist)), twist, atol=1e-8)


@given(rotvecs(), st.tuples(COORDINATE, COORDINATE, COORDINATE))
def test_se3_exp_is_the_matrix_exponential(rotvec: np.ndarray, rho: tuple[float, float, float]) -> None:
    generator = np.zeros((4, 4))
    generator[:3, :3], generator[:3, 3] = so3.skew(rotvec), np.array(rho) / 1e3
    expected, term = np.eye(4), np.eye(4)
    for order in range(1, 40):
        term = term @ generator / order
        expected = expected + term
    np.testing.assert_allclose(se3.exp(np.concatenate([np.array(rho) / 1e3, rotvec])), expected, atol=1e-12)


@given(poses(), poses(), st.floats(0, 1))
@settings(max_examples=50)
def test_interpolation(a: np.ndarray, b: np.ndarray, fraction: float) -> None:
    np.testing.assert_allclose(se3.interpolate(a, b, 0.0), a, atol=1e-12)
    np.testing.assert_allclose(se3.interpolate(a, b, 1.0), b, atol=1e-7)
    middle = se3.interpolate(a, b, fraction)
    assert se3.is_se3(middle)
    whole = float(se3.relative_angle(a, b))
    np.testing.assert_allclose(se3.relative_angle(a, middle), fraction * whole, atol=1e-6)


def test_batches_equal_single_poses() -> None:
    twists = np.random.default_rng(1).normal(size=(2, 5, 6))
    twists[0, 0, 3:] = 0.0
    batch = se3.exp(twists)
    assert batch.shape == (2, 5, 4, 4)
    np.testing.assert_allclose(batch[1, 3], se3.exp(twists[1, 3]), atol=1e-15)
    np.testing.assert_allclose(se3.log(batch)[0, 2], se3.log(batch[0, 2]), atol=1e-15)
    np.testing.assert_allclose(se3.interpolate(batch[0], batch[1], np.full(5, 0.5)).shape, (5, 4, 4))


def test_pose_checks() -> None:
    pose = se3.exp([1, 2, 3, 0.1, 0.2, 3.0])
    single = pose.astype(np.float32)
    assert se3.is_se3(pose)
    assert se3.is_se3(se3.require_se3(single), 1e-12)
    mirrored = pose.copy()
    mirrored[:3, 0] *= -1
    assert not se3.is_se3(mirrored)
    assert not se3.is_se3(np.full((4, 4), np.nan))
    assert not se3.is_se3(np.eye(3))
    with pytest.raises(GeometryError, match="anchor pose"):
        se3.require_se3(1.01 * pose, "anchor pose")
    with pytest.raises(GeometryError, match=r"\(3, 4\); expected \(\.\.\., 4, 4\)"):
        se3.invert(pose[:3])
    with pytest.raises(GeometryError, match="zero or not finite"):
        so3.matrix_from_quat_xyzw([0, 0, 0, 0])
    with pytest.raises(GeometryError, match="rank below 2"):
        so3.nearest_rotation(np.zeros((3, 3)))
