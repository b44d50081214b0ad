"""Rigid poses as 4x4 matrices, float64, any leading batch shape.

`world_from_camera` maps camera points to world points; poses compose in the order of the names:
`world_from_b = compose(world_from_a, a_from_b)`. A twist is (..., 6) = [rho, phi]: translation part first, then the
rotation vector in radians.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from spark3r_core.errors import GeometryError
from spark3r_core.geometry.rotation import (
    Array,
    as_float64,
    exp_so3,
    log_so3,
    matrix_from_quat_xyzw,
    nearest_rotation,
    quat_xyzw_from_matrix,
    rotation_angle,
    skew,
)


def make_pose(rotation: ArrayLike, translation: ArrayLike) -> Array:
    """(..., 3, 3) and (..., 3) -> (..., 4, 4)."""
    rotation = as_float64(rotation, (3, 3), "rotation")
    translation = as_float64(translation, (3,), "translation")
    batch = np.broadcast_shapes(rotation.shape[:-2], translation.shape[:-1])
    pose = np.zeros((*batch, 4, 4))
    pose[..., :3, :3] = rotation
    pose[..., :3, 3] = translation
    pose[..., 3, 3] = 1.0
    return pose


def is_se3(pose: ArrayLike, tolerance: float = 1e-6) -> bool:
    """Whether every (..., 4, 4) is finite, has a rotation within `tolerance`, and last row 0 0 0 1."""
    pose = np.asarray(pose, dtype=np.float64)
    if pose.shape[-2:] != (4, 4) or not np.all(np.isfinite(pose)):
        return False
    rotation = pose[..., :3, :3]
    orthogonal = np.abs(rotation @ np.swapaxes(rotation, -1, -2) - np.eye(3)).max(initial=0.0) <= tolerance
    last_row = np.abs(pose[..., 3, :] - np.array([0.0, 0.0, 0.0, 1.0])).max(initial=0.0) <= tolerance
    return bool(orthogonal and last_row and np.all(np.linalg.det(rotation) > 0))


def require_se3(pose: ArrayLike, name: str = "pose", tolerance: float = 1e-4) -> Array:
    """`pose` as float64 (..., 4, 4) with its rotation cleaned to rounding; raises GeometryError if it is not a pose.

    The default tolerance lets float32 network output through.
    """
    pose = as_float64(pose, (4, 4), name)
    if not is_se3(pose, tolerance):
        raise GeometryError(f"{name} is not a rigid pose (rotation block not orthogonal, or values not finite)")
    return make_pose(nearest_rotation(pose[..., :3, :3]), pose[..., :3, 3])


def compose(first: ArrayLike, *others: ArrayLike) -> Array:
    """Product of poses (..., 4, 4), left to right."""
    result = as_float64(first, (4, 4), "pose")
    for other in others:
        result = result @ as_float64(other, (4, 4), "pose")
    return result


def invert(pose: ArrayLike) -> Array:
    """Inverse of rigid poses (..., 4, 4), by the transpose: exact for exact rotations, no linear solve."""
    pose = as_float64(pose, (4, 4), "pose")
    rotation_t = np.swapaxes(pose[..., :3, :3], -1, -2)
    return make_pose(rotation_t, -(rotation_t @ pose[..., :3, 3:])[..., 0])


def transform_points(pose: ArrayLike, points: ArrayLike) -> Array:
    """One pose (4, 4) applied to points (..., 3)."""
    pose = as_float64(pose, (4, 4), "pose")
    if pose.ndim != 2:
        raise GeometryError(f"transform_points takes one pose, found shape {pose.shape}")
    return as_float64(points, (3,), "points") @ pose[:3, :3].T + pose[:3, 3]


def _jacobian_terms(angle: Array) -> tuple[Array, Array]:
    """(1 - cos t) / t^2 and (t - sin t) / t^3, without cancellation."""
    first = 0.5 * np.sinc(angle / (2 * np.pi)) ** 2
    sq = angle**2
    series = 1 / 6 - sq / 120 * (1 - sq / 42 * (1 - sq / 72 * (1 - sq / 110)))
    safe = np.maximum(angle, 0.3)  # below 0.3 the series' next term is under 1e-14
    return first, np.where(angle < 0.3, series, (safe - np.sin(safe)) / safe**3)


def exp(twist: ArrayLike) -> Array:
    """Twist (..., 6) = [rho, phi] -> pose (..., 4, 4): rotation exp(phi), translation V(phi) rho."""
    twist = as_float64(twist, (6,), "twist")
    rho, phi = twist[..., :3], twist[..., 3:]
    angle = np.linalg.norm(phi, axis=-1)[..., None, None]
    first, second = _jacobian_terms(angle)
    hat = skew(phi)
    v = np.eye(3) + first * hat + second * (hat @ hat)
    return make_pose(exp_so3(phi), (v @ rho[..., None])[..., 0])


def log(pose: ArrayLike) -> Array:
    """Pose (..., 4, 4) -> twist (..., 6) = [rho, phi] with |phi| <= pi; the inverse of `exp` there."""
    pose = as_float64(pose, (4, 4), "pose")
    phi = log_so3(pose[..., :3, :3])
    angle = np.linalg.norm(phi, axis=-1)[..., None, None]
    sq = angle**2
    # (1 - (t/2) cot(t/2)) / t^2, the coefficient of hat^2 in the inverse of V.
    series = 1 / 12 + sq / 720 * (1 + sq / 42 * (1 + sq / 40 * (1 + sq * 5 / 198)))
    safe = np.maximum(angle, 0.2)
    coefficient = np.where(angle < 0.2, series, (1 - 0.5 * safe / np.tan(0.5 * safe)) / safe**2)
    hat = skew(phi)
    v_inverse = np.eye(3) - 0.5 * hat + coefficient * (hat @ hat)
    return np.concatenate([(v_inverse @ pose[..., :3, 3:])[..., 0], phi], -1)


def interpolate(start: ArrayLike, end: ArrayLike, fraction: float | ArrayLike) -> Array:
    """Pose between `start` (fraction 0) and `end` (1), both (..., 4, 4): slerp for rotation, a line for the centre.

    The centre moves on a line and not along the screw motion: between two camera poses that is what is expected.
    """
    start, end = as_float64(start, (4, 4), "start"), as_float64(end, (4, 4), "end")
    t = np.asarray(fraction, dtype=np.float64)[..., None]
    step = log_so3(np.swapaxes(start[..., :3, :3], -1, -2) @ end[..., :3, :3])
    rotation = start[..., :3, :3] @ exp_so3(t * step)
    return make_pose(rotation, (1 - t) * start[..., :3, 3] + t * end[..., :3, 3])


def from_quat_xyzw(translation: ArrayLike, quat_xyzw: ArrayLike) -> Array:
    """Centre (..., 3) and quaternion (..., 4) xyzw (normalised here) -> pose (..., 4, 4)."""
    return make_pose(matrix_from_quat_xyzw(quat_xyzw), translation)


def to_quat_xyzw(pose: ArrayLike) -> tuple[Array, Array]:
    """Pose (..., 4, 4) -> translation (..., 3), unit quaternion (..., 4) xyzw with w >= 0."""
    pose = as_float64(pose, (4, 4), "pose")
    return pose[..., :3, 3].copy(), quat_xyzw_from_matrix(pose[..., :3, :3])


def relative_angle(a: ArrayLike, b: ArrayLike) -> Array:
    """Angle between the orientations of two poses (..., 4, 4), radians in [0, pi]."""
    a, b = as_float64(a, (4, 4), "pose"), as_float64(b, (4, 4), "pose")
    return rotation_angle(np.swapaxes(a[..., :3, :3], -1, -2) @ b[..., :3, :3])


def adjoint(pose: ArrayLike) -> Array:
    """(..., 6, 6) of poses (..., 4, 4): exp(adjoint(T) x) T = T exp(x) for a twist x = [rho, phi]
    (Barfoot, *State Estimation for Robotics*, 2017, §7.1)."""
    poses = np.asarray(pose, np.float64)
    rotation, full = poses[..., :3, :3], np.zeros((*poses.shape[:-2], 6, 6))
    full[..., :3, :3] = full[..., 3:, 3:] = rotation
    full[..., :3, 3:] = skew(poses[..., :3, 3]) @ rotation
    return full
