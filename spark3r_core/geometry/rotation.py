"""Rotations: 3x3 matrices, rotation vectors and quaternions (xyzw), float64, any leading batch shape.

Everything goes through unit quaternions, because they have no singular point: the trace formula of the matrix
logarithm loses all digits near 0 and pi, `atan2` on a quaternion does not.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spark3r_core.errors import GeometryError

Array = NDArray[np.float64]


def as_float64(value: ArrayLike, tail: tuple[int, ...], name: str) -> Array:
    """`value` as float64 with the trailing shape `tail`; raises GeometryError otherwise."""
    array = np.asarray(value, dtype=np.float64)
    if array.ndim < len(tail) or array.shape[array.ndim - len(tail) :] != tail:
        expected = ", ".join(map(str, tail))
        raise GeometryError(f"{name} has shape {array.shape}; expected (..., {expected})")
    return array


def skew(vector: ArrayLike) -> Array:
    """(..., 3) -> (..., 3, 3) with skew(a) @ b = a x b."""
    x, y, z = np.moveaxis(as_float64(vector, (3,), "vector"), -1, 0)
    zero = np.zeros_like(x)
    rows = [np.stack(row, -1) for row in ((zero, -z, y), (z, zero, -x), (-y, x, zero))]
    return np.stack(rows, -2)


def quat_xyzw_from_rotvec(rotvec: ArrayLike) -> Array:
    """Rotation vector (..., 3), radians, -> unit quaternion (..., 4) xyzw."""
    rotvec = as_float64(rotvec, (3,), "rotvec")
    half = 0.5 * np.linalg.norm(rotvec, axis=-1, keepdims=True)
    # sin(half) / (2 half) without a division by zero: np.sinc is the normalised sinc.
    return np.concatenate([0.5 * np.sinc(half / np.pi) * rotvec, np.cos(half)], -1)


def rotvec_from_quat_xyzw(quat_xyzw: ArrayLike) -> Array:
    """Quaternion (..., 4) xyzw (normalised here) -> rotation vector (..., 3) of length at most pi."""
    quat = normalise_quat(quat_xyzw)
    quat = np.where(quat[..., 3:] < 0, -quat, quat)  # q and -q are one rotation; w >= 0 is the short way
    xyz, w = quat[..., :3], quat[..., 3:]
    sine = np.linalg.norm(xyz, axis=-1, keepdims=True)
    # angle / sin(angle / 2); below 1e-6 the series 2 (1 + sine^2 / 6) is exact to rounding.
    ratio = np.where(sine < 1e-6, 2.0 + sine**2 / 3.0, 2.0 * np.arctan2(sine, w) / np.maximum(sine, 1e-6))
    return ratio * xyz


def normalise_quat(quat_xyzw: ArrayLike) -> Array:
    """Unit quaternion of any non-zero one (..., 4); raises GeometryError for zero or non-finite input."""
    quat = as_float64(quat_xyzw, (4,), "quat_xyzw")
    norm = np.linalg.norm(quat, axis=-1, keepdims=True)
    if not np.all(np.isfinite(norm)) or np.any(norm < 1e-12):
        raise GeometryError("a quaternion is zero or not finite; expected a unit quaternion in the order x y z w")
    return quat / norm


def matrix_from_quat_xyzw(quat_xyzw: ArrayLike) -> Array:
    """Quaternion (..., 4) xyzw (normalised here) -> rotation matrix (..., 3, 3)."""
    x, y, z, w = np.moveaxis(normalise_quat(quat_xyzw), -1, 0)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
        (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
        (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
    )
    return np.stack([np.stack(row, -1) for row in rows], -2)


def quat_xyzw_from_matrix(rotation: ArrayLike) -> Array:
    """Rotation matrix (..., 3, 3) -> unit quaternion (..., 4) xyzw with w >= 0.

    Shepperd's method: of the four equivalent formulas the one with the largest divisor, so no angle is ill-conditioned.
    """
    m = as_float64(rotation, (3, 3), "rotation")
    m00, m11, m22 = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    a, b, c = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    p, q, r = m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0], m[..., 1, 2] + m[..., 2, 1]
    candidates = np.stack(
        [
            np.stack([1 + m00 - m11 - m22, p, q, a], -1),
            np.stack([p, 1 - m00 + m11 - m22, r, b], -1),
            np.stack([q, r, 1 - m00 - m11 + m22, c], -1),
            np.stack([a, b, c, 1 + m00 + m11 + m22], -1),
        ],
        -2,
    )  # (..., 4 formulas, 4): each row is 4 q_i * q
    best = np.argmax(np.stack([m00, m11, m22, m00 + m11 + m22], -1), -1)
    quat = np.take_along_axis(candidates, best[..., None, None], -2)[..., 0, :]
    quat = normalise_quat(quat)
    return np.where(quat[..., 3:] < 0, -quat, quat)


def exp_so3(rotvec: ArrayLike) -> Array:
    """Rotation vector (..., 3), radians, -> rotation matrix (..., 3, 3)."""
    return matrix_from_quat_xyzw(quat_xyzw_from_rotvec(rotvec))


def log_so3(rotation: ArrayLike) -> Array:
    """Rotation matrix (..., 3, 3) -> rotation vector (..., 3) of length in [0, pi]."""
    return rotvec_from_quat_xyzw(quat_xyzw_from_matrix(rotation))


def rotation_angle(rotation: ArrayLike) -> Array:
    """Angle in [0, pi], radians, of rotation matrices (..., 3, 3) -> (...)."""
    return np.linalg.norm(log_so3(rotation), axis=-1)


def nearest_rotation(matrix: ArrayLike) -> Array:
    """The rotation closest to (..., 3, 3) in the Frobenius norm (orthogonal Procrustes, determinant +1).

    Raises GeometryError where the answer is not unique (the two smallest singular directions carry nothing).
    """
    matrix = as_float64(matrix, (3, 3), "matrix")
    if not np.all(np.isfinite(matrix)):
        raise GeometryError("a matrix is not finite; expected a near-rotation")
    u, s, vt = np.linalg.svd(matrix)
    if np.any(s[..., 1] <= 1e-12 * np.maximum(s[..., 0], np.finfo(float).tiny)):
        raise GeometryError("no unique nearest rotation: the matrix has rank below 2")
    vt = vt.copy()
    vt[..., 2, :] *= np.sign(np.linalg.det(u @ vt))[..., None]
    return u @ vt
