"""Similarities (Sim(3)): the group a monocular gauge lives in, as a value. See `alignment.py` for estimating them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from spark3r_core.errors import GeometryError
from spark3r_core.geometry.rotation import Array, as_float64, matrix_from_quat_xyzw, quat_xyzw_from_matrix
from spark3r_core.geometry.se3 import make_pose


@dataclass(frozen=True, eq=False)
class Sim3:
    """target = scale * rotation @ source + translation.

    scale > 0; rotation (3, 3) orthogonal to 1e-4; translation (3,). Raises GeometryError otherwise.
    """

    scale: float = 1.0
    rotation: Array = field(default_factory=lambda: np.eye(3))
    translation: Array = field(default_factory=lambda: np.zeros(3))

    def __post_init__(self) -> None:
        rotation = as_float64(self.rotation, (3, 3), "rotation")
        translation = as_float64(self.translation, (3,), "translation")
        if rotation.ndim != 2 or translation.ndim != 1:
            raise GeometryError(f"Sim3 is one transform, found rotation {rotation.shape} and {translation.shape}")
        if not (np.isfinite(self.scale) and self.scale > 0):
            raise GeometryError(f"Sim3 scale is {self.scale}; expected a positive finite number")
        orthogonal = np.abs(rotation @ rotation.T - np.eye(3)).max() <= 1e-4  # False for NaN as well
        if not orthogonal or np.linalg.det(rotation) < 0 or not np.all(np.isfinite(translation)):
            raise GeometryError("Sim3 needs a rotation matrix (det +1) and a finite translation")
        object.__setattr__(self, "scale", float(self.scale))
        object.__setattr__(self, "rotation", rotation)
        object.__setattr__(self, "translation", translation)

    @staticmethod
    def identity() -> Sim3:
        return Sim3()

    @staticmethod
    def from_quat_xyzw(scale: float, quat_xyzw: ArrayLike, translation: ArrayLike) -> Sim3:
        """From the seven numbers that travel in messages, plus scale; the quaternion is normalised."""
        return Sim3(scale, matrix_from_quat_xyzw(quat_xyzw), as_float64(translation, (3,), "translation"))

    @staticmethod
    def from_matrix(matrix: ArrayLike) -> Sim3:
        """From [[s R, t], [0, 1]] (4, 4)."""
        matrix = as_float64(matrix, (4, 4), "matrix")
        determinant = float(np.linalg.det(matrix[:3, :3]))
        if not determinant > 0:
            raise GeometryError(f"not a similarity: determinant {determinant:.3g}, expected scale^3 > 0")
        scale = float(np.cbrt(determinant))
        return Sim3(scale, matrix[:3, :3] / scale, matrix[:3, 3])

    @property
    def matrix(self) -> Array:
        """[[s R, t], [0, 1]] (4, 4); acts on homogeneous points."""
        return make_pose(self.scale * self.rotation, self.translation)

    @property
    def quat_xyzw(self) -> Array:
        return quat_xyzw_from_matrix(self.rotation)

    def __matmul__(self, other: Sim3) -> Sim3:
        """c_from_a = c_from_b @ b_from_a."""
        return Sim3(
            self.scale * other.scale,
            self.rotation @ other.rotation,
            self.scale * self.rotation @ other.translation + self.translation,
        )

    def inverse(self) -> Sim3:
        rotation_t = self.rotation.T
        return Sim3(1.0 / self.scale, rotation_t, -(rotation_t @ self.translation) / self.scale)

    def apply_to_points(self, points: ArrayLike) -> Array:
        """(..., 3) -> (..., 3)."""
        return self.scale * as_float64(points, (3,), "points") @ self.rotation.T + self.translation

    def apply_to_poses(self, world_from_camera: ArrayLike) -> Array:
        """(..., 4, 4) rigid poses -> rigid poses in the target gauge.

        Centres are mapped like points and orientations are turned. The cameras' depths grow by `scale` besides;
        `new_world = new_pose @ (scale * camera_point)`.
        """
        poses = as_float64(world_from_camera, (4, 4), "world_from_camera")
        return make_pose(self.rotation @ poses[..., :3, :3], self.apply_to_points(poses[..., :3, 3]))
