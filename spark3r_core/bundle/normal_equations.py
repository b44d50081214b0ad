"""The normal equations at one state, points eliminated by the Schur complement (README.md)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spark3r_core.bundle.problem import Array, Cameras, PoseFactors, Uncertainty
from spark3r_core.bundle.residuals import (
    CAMERA,
    FACTOR_HUBER,
    SCALE_SIGMA,
    Errors,
    Sightings,
    factor_errors,
    jacobians,
)
from spark3r_core.geometry import se3

CHUNK_BYTES = 16 << 20  # of the dense rows of the points that are eliminated at once
MOST_FOCAL_STEP = 0.5  # of the log focal length


class NormalEquations:
    """Columns: the free keyframes, the log focal length, the fixed keyframes; only the first `size` are solved for."""

    def __init__(
        self, cameras: Cameras, points: Array, seen: Sightings, factors: PoseFactors, errors: Errors, sigma: float
    ) -> None:
        self.cameras, self.points, self.seen = cameras, points, seen
        keyframes = len(cameras.fixed)
        free = int((~cameras.fixed).sum())
        self.focal_column = CAMERA * free
        self.size = self.focal_column + (cameras.focal_sigma > 0)
        self.rank = np.empty(keyframes, np.int64)
        self.rank[~cameras.fixed], self.rank[cameras.fixed] = np.arange(free), np.arange(free, keyframes)
        self.columns = CAMERA * self.rank + (self.rank >= free)  # of each keyframe's first unknown
        residual, by_camera = jacobians(cameras, seen, errors, sigma)
        self._add_sightings(residual, by_camera)
        self._add_priors()
        if len(factors.first):
            self._add_factors(factors)

    def _add_sightings(self, residual: Array, by_camera: Array) -> None:
        total = CAMERA * len(self.rank) + 1
        self.matrix, self.gradient = np.zeros((total, total)), np.zeros(total)
        by_point = np.empty((len(residual), 3, 3))
        poses = self.cameras.camera_from_world
        for pose, column, rows in zip(poses, self.columns.tolist(), self.seen.of_keyframe, strict=True):
            flat = by_camera[rows].reshape(-1, CAMERA + 1)
            by_point[rows] = (flat[:, :3] @ pose[:3, :3]).reshape(-1, 3, 3)
            own = np.append(np.arange(column, column + CAMERA), self.focal_column)
            self.matrix[np.ix_(own, own)] += flat.T @ flat
            self.gradient[own] += flat.T @ residual[rows].ravel()
        point, count = self.seen.point, self.seen.points
        transposed = np.ascontiguousarray(by_point.transpose(0, 2, 1))
        self.cross = transposed @ by_camera  # (M, 3, CAMERA + 1)
        block = transposed @ by_point
        towards = (transposed @ residual[:, :, None])[..., 0]
        self.point_matrix = np.empty((count, 3, 3))
        for i in range(3):
            for j in range(i + 1):
                self.point_matrix[:, i, j] = self.point_matrix[:, j, i] = np.bincount(point, block[:, i, j], count)
        self.point_gradient = _sums(point, towards, count)
        self.point_focal = _sums(point, self.cross[:, :, CAMERA], count)

    def _add_priors(self) -> None:
        cameras = self.cameras
        scales = self.columns + 6
        self.matrix[scales, scales] += SCALE_SIGMA**-2
        self.gradient[scales] += cameras.log_scale * SCALE_SIGMA**-2
        if cameras.focal_sigma > 0:
            self.matrix[self.focal_column, self.focal_column] += cameras.focal_sigma**-2
            self.gradient[self.focal_column] += np.log(cameras.focal / cameras.focal_prior) * cameras.focal_sigma**-2

    def _add_factors(self, factors: PoseFactors) -> None:
        errors = factor_errors(self.cameras, factors)
        trust = FACTOR_HUBER / np.maximum(errors.lengths(factors), FACTOR_HUBER)
        jacobian = errors.jacobians()
        weighted = jacobian.transpose(0, 2, 1) @ (factors.information * trust[:, None, None])
        own = np.concatenate([self.columns[k][:, None] + np.arange(CAMERA) for k in (factors.first, factors.second)], 1)
        np.add.at(self.matrix, (own[:, :, None], own[:, None, :]), weighted @ jacobian)
        np.add.at(self.gradient, own, (weighted @ errors.residual[:, :, None])[..., 0])

    def reduced(self, damping: float) -> tuple[Array, Array, Array]:
        """(size, size) Schur complement, (size,) its gradient, and (P, 3, 3) lower roots of the damped point blocks."""
        size = self.size
        matrix, gradient = self.matrix[:size, :size].copy(), self.gradient[:size].copy()
        root = _roots(self.point_matrix, damping)
        per_point = 3 * 8 * (self.focal_column + CAMERA)
        step = max(1, CHUNK_BYTES // per_point)
        used = ~self.cameras.fixed[self.seen.slot]
        for first in range(0, self.seen.points, step):
            last = min(first + step, self.seen.points)
            rows = np.flatnonzero(used & (self.seen.point >= first) & (self.seen.point < last))
            # one more keyframe than is free: its first column is the focal length, the others stay empty
            wide = np.zeros((last - first, 3, self.focal_column // CAMERA + 1, CAMERA))
            wide[self.seen.point[rows] - first, :, self.rank[self.seen.slot[rows]]] = self.cross[rows, :, :CAMERA]
            wide[:, :, -1, 0] = self.point_focal[first:last]
            flat = wide.reshape(last - first, 3, -1)[:, :, :size]
            towards = self.point_gradient[first:last, :, None].copy()
            for values in (flat, towards):
                _forward(root[first:last], values)
            flat = flat.reshape(-1, size)
            matrix -= flat.T @ flat
            gradient -= flat.T @ towards.ravel()
        return matrix, gradient, root

    def step(self, damping: float) -> tuple[Cameras, Array] | None:
        """Cameras and points one damped step away; None where the equations have no answer."""
        matrix, gradient, root = self.reduced(damping)
        diagonal = np.diag_indices(self.size)
        matrix[diagonal] += damping * np.maximum(self.matrix[diagonal], 0) + 1e-9
        try:
            change = -np.linalg.solve(matrix, gradient)
        except np.linalg.LinAlgError:
            return None
        if not np.isfinite(change).all():
            return None
        cameras = self.cameras
        own = np.zeros((len(self.rank), CAMERA + 1))
        own[~cameras.fixed, :CAMERA] = change[: self.focal_column].reshape(-1, CAMERA)
        if cameras.focal_sigma > 0:
            own[:, CAMERA] = np.clip(change[-1], -MOST_FOCAL_STEP, MOST_FOCAL_STEP)
        moved = (self.cross @ own[self.seen.slot][:, :, None])[..., 0]
        towards = self.point_gradient + _sums(self.seen.point, moved, self.seen.points)
        _forward(root, towards[:, :, None])
        _backward(root, towards)
        poses = se3.compose(se3.exp(own[:, :6]), cameras.camera_from_world)
        focal = cameras.focal * float(np.exp(own[0, CAMERA]))
        found = replace(cameras, camera_from_world=poses, log_scale=cameras.log_scale + own[:, 6], focal=focal)
        return found, self.points - towards

    def uncertainty(self) -> Uncertainty:
        """By the inverse of the Schur complement."""
        known = self.cameras.focal_sigma == 0
        covariance = np.zeros((len(self.rank), 6, 6))
        matrix = self.reduced(0.0)[0]
        try:
            inverse = np.linalg.inv(matrix + 1e-9 * np.eye(self.size))
        except np.linalg.LinAlgError:
            covariance[~self.cameras.fixed] = np.inf
            return Uncertainty(0.0 if known else float("inf"), covariance)
        for slot in np.flatnonzero(~self.cameras.fixed).tolist():
            own = slice(int(self.columns[slot]), int(self.columns[slot]) + 6)
            covariance[slot] = inverse[own, own]
        return Uncertainty(0.0 if known else float(np.sqrt(max(inverse[-1, -1], 0.0))), covariance)


def _sums(keys: np.ndarray, values: Array, count: int) -> Array:
    """(count, 3) sums of values (M, 3) by key."""
    return np.stack([np.bincount(keys, values[:, i], count) for i in range(3)], 1)


def _roots(matrix: Array, damping: float) -> Array:
    """Lower Cholesky roots (P, 3, 3) of damped blocks; a hair is added so that blocks without weight have one."""
    a = matrix * (1 + damping * np.eye(3))
    hair = 1e-12 * np.maximum(np.trace(a, axis1=1, axis2=2), 1e-12)
    root = np.zeros_like(a)
    for j in range(3):
        left = a[:, j, j] + hair - np.square(root[:, j, :j]).sum(1)
        root[:, j, j] = np.sqrt(np.maximum(left, hair))
        for i in range(j + 1, 3):
            root[:, i, j] = (a[:, i, j] - (root[:, i, :j] * root[:, j, :j]).sum(1)) / root[:, j, j]
    return root


def _forward(root: Array, values: Array) -> None:
    """values (P, 3, n) become root^-1 values, in place."""
    for i in range(3):
        for j in range(i):
            values[:, i] -= root[:, i, j, None] * values[:, j]
        values[:, i] /= root[:, i, i, None]


def _backward(root: Array, values: Array) -> None:
    """values (P, 3) become root^-T values, in place."""
    for i in (2, 1, 0):
        for j in range(i + 1, 3):
            values[:, i] -= root[:, j, i] * values[:, j]
        values[:, i] /= root[:, i, i]
