"""Levenberg-Marquardt over poses, depth scales, focal length and points, points eliminated first (README.md)."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np

from spark3r_core.bundle.problem import Adjusted, Array, Cameras, Index, Mask, Observations, PoseFactors
from spark3r_core.bundle.triangulate import in_camera, reprojection, triangulate
from spark3r_core.geometry import se3

PIXEL_SIGMA = 1.0  # of a picture 640 wide; Huber bends at it
DEPTH_SIGMA = 2.0  # of log depth: it is off by a fifth, but alike over whole regions, so that hundreds count as few
SCALE_SIGMA = 0.3  # of the log scale between one keyframe's depth and the map
FACTOR_HUBER = 3.0  # sigmas of a pose factor
OUTLIER = 4.0  # pixel sigmas
CAMERA = 7  # unknowns of a keyframe: twist [rho, phi] from the left, log scale of its depth
POINTS_PER_CHUNK = 4096
FIRST_DAMPING, MOST_DAMPING = 1e-4, 1e6


@dataclass(frozen=True)
class _State:
    cameras: Cameras
    points: Array


def solve(
    cameras: Cameras,
    seen: Observations,
    factors: PoseFactors,
    width: int,
    iterations: int = 12,
    rounds: int = 2,
) -> Adjusted:
    """Adjust until the cost settles; sightings that do not fit are dropped between the rounds.

    width: of the picture in pixels. Raises ValueError without a single point to adjust by.
    """
    kept = np.ones(len(seen), bool)
    state, current = cameras, seen
    points, ahead = triangulate(state, current)
    kept &= ahead[seen.point]
    sigma = PIXEL_SIGMA * width / 640
    rms_before, done = float("nan"), 0
    for turn in range(rounds):
        kept &= _enough_views(seen, kept)
        if not kept.any():
            raise ValueError("no point is seen by two keyframes")
        current = seen.where(kept)
        points, _ = triangulate(state, current)
        if turn == 0:
            rms_before = _rms(reprojection(state, current, points))
        result, steps = _round(_State(state, points), current, factors, sigma, iterations)
        state, points, done = result.cameras, result.points, done + steps
        error = np.full(len(seen), np.inf)
        error[kept] = reprojection(state, current, points)
        if turn < rounds - 1:
            kept &= error < OUTLIER * sigma
    std = _System(_State(state, points), current, factors, sigma).focal_std()
    return Adjusted(state, points, current, kept, std, rms_before, _rms(reprojection(state, current, points)), done)


def _enough_views(seen: Observations, kept: Mask) -> Mask:
    views = np.bincount(seen.point[kept], minlength=seen.count)
    return np.asarray(views[seen.point] >= 2)


def _rms(error: Array) -> float:
    finite = error[np.isfinite(error)]
    return float(np.sqrt(np.mean(np.square(finite)))) if len(finite) else float("nan")


def _round(
    state: _State, seen: Observations, factors: PoseFactors, sigma: float, iterations: int
) -> tuple[_State, int]:
    damping, steps = FIRST_DAMPING, 0
    cost = cost_of(state.cameras, state.points, seen, factors, sigma)
    for _ in range(iterations):
        system = _System(state, seen, factors, sigma)
        improved = False
        while damping < MOST_DAMPING:
            proposal = system.step(damping)
            if proposal is not None:
                new_cost = cost_of(proposal.cameras, proposal.points, seen, factors, sigma)
                if new_cost < cost:
                    improved = True
                    break
            damping *= 8
        if not improved or proposal is None:
            break
        steps += 1
        settled = cost - new_cost < 1e-4 * cost
        state, cost, damping = proposal, new_cost, max(damping / 4, 1e-9)
        if settled:
            break
    return state, steps


def cost_of(cameras: Cameras, points: Array, seen: Observations, factors: PoseFactors, sigma: float) -> float:
    """Robust cost: Huber over reprojection, depth and pose factors, and the priors."""
    error = np.minimum(reprojection(cameras, seen, points) / sigma, 1e4)
    z = in_camera(cameras, seen, points)[:, 2]
    off = np.abs(_log_depth_error(cameras, seen, z))
    total = _huber(error, 1.0).sum() + _huber(off, 1.345).sum()
    total += 0.5 * np.square(cameras.log_scale[~cameras.fixed] / SCALE_SIGMA).sum() if len(cameras.log_scale) else 0.0
    if cameras.focal_sigma > 0:
        total += 0.5 * (np.log(cameras.focal / cameras.focal_prior) / cameras.focal_sigma) ** 2
    if len(factors.first):
        residual, _, _ = _factor_residuals(cameras, factors)
        squares = np.einsum("fi,fij,fj->f", residual, factors.information, residual)
        total += _huber(np.sqrt(np.maximum(squares, 0)), FACTOR_HUBER).sum()
    return float(total)


def _huber(x: Array, bend: float) -> Array:
    return np.where(x <= bend, 0.5 * np.square(x), bend * (x - 0.5 * bend))


def _log_depth_error(cameras: Cameras, seen: Observations, z: Array) -> Array:
    """(M,) in sigmas; zero where no dense depth is known."""
    known = np.isfinite(seen.depth) & (seen.depth > 0) & (z > 1e-9)
    ratio = np.log(np.where(known, z, 1.0)) - np.log(np.where(known, seen.depth, 1.0)) - cameras.log_scale[seen.slot]
    return np.where(known, ratio / DEPTH_SIGMA, 0.0)


def _factor_residuals(cameras: Cameras, factors: PoseFactors) -> tuple[Array, Array, Array]:
    """(F, 6) twist of predicted over measured second_from_first; the predicted poses; the measured translations in map
    units (F, 3)."""
    first, second = cameras.camera_from_world[factors.first], cameras.camera_from_world[factors.second]
    predicted = second @ se3.invert(first)
    measured = factors.second_from_first.copy()
    measured[:, :3, 3] *= np.exp(cameras.log_scale[factors.first])[:, None]
    turn = predicted[:, :3, :3] @ measured[:, :3, :3].transpose(0, 2, 1)
    small = 0.5 * (turn - turn.transpose(0, 2, 1))
    phi = np.stack([small[:, 2, 1], small[:, 0, 2], small[:, 1, 0]], 1)
    rho = predicted[:, :3, 3] - np.einsum("fij,fj->fi", turn, measured[:, :3, 3])
    return np.concatenate([rho, phi], 1), predicted, measured[:, :3, 3]


class _System:
    """The linearised problem at one state: normal equations with the points apart."""

    def __init__(self, state: _State, seen: Observations, factors: PoseFactors, sigma: float) -> None:
        self.state, self.seen = state, seen
        cameras = state.cameras
        keyframes = len(cameras.camera_from_world)
        self.size = CAMERA * keyframes + 1
        at = in_camera(cameras, seen, state.points)
        x, y, z = at.T
        z = np.maximum(z, 1e-9)
        focal, count = cameras.focal, len(seen)
        by_camera = np.zeros((count, 3, 3))  # residual rows over the point in the camera
        by_camera[:, 0, 0] = by_camera[:, 1, 1] = focal / z
        by_camera[:, 0, 2], by_camera[:, 1, 2] = -focal * x / z**2, -focal * y / z**2
        residual = np.zeros((count, 3))
        residual[:, 0] = focal * x / z + cameras.centre_xy[0] - seen.places[:, 0]
        residual[:, 1] = focal * y / z + cameras.centre_xy[1] - seen.places[:, 1]
        pixels = np.linalg.norm(residual[:, :2], axis=1) / sigma
        weight = np.ones((count, 3))
        weight[:, :2] = (1 / np.maximum(pixels, 1.0) / sigma**2)[:, None]
        off = _log_depth_error(cameras, seen, z)
        residual[:, 2] = off
        by_camera[:, 2, 2] = np.where(off != 0, 1 / (z * DEPTH_SIGMA), 0)
        weight[:, 2] = 1.345 / np.maximum(np.abs(off), 1.345)
        own = np.zeros((count, 3, CAMERA + 1))
        own[:, :, :3] = by_camera
        own[:, :, 3:6] = by_camera @ _minus_cross(at)
        own[:, 2, 6] = np.where(off != 0, -1 / DEPTH_SIGMA, 0)
        own[:, 0, 7], own[:, 1, 7] = focal * x / z, focal * y / z
        rotations = cameras.camera_from_world[seen.slot][:, :3, :3]
        of_point = by_camera @ rotations
        weighted_own = own * weight[..., None]
        weighted_point = of_point * weight[..., None]
        # cameras
        block = weighted_own.transpose(0, 2, 1) @ own
        towards = np.einsum("mij,mi->mj", weighted_own, residual)
        self.matrix = np.zeros((self.size, self.size))
        self.gradient = np.zeros(self.size)
        by_keyframe = _Groups(seen.slot, keyframes)
        per_camera, per_camera_gradient = by_keyframe.sums(block), by_keyframe.sums(towards)
        for k in range(keyframes):
            at_k = slice(CAMERA * k, CAMERA * (k + 1))
            self.matrix[at_k, at_k] = per_camera[k, :CAMERA, :CAMERA]
            self.matrix[at_k, -1] = self.matrix[-1, at_k] = per_camera[k, :CAMERA, -1]
            self.gradient[at_k] = per_camera_gradient[k, :CAMERA]
        self.matrix[-1, -1] = per_camera[:, -1, -1].sum()
        self.gradient[-1] = per_camera_gradient[:, -1].sum()
        # points
        self.by_point = _Groups(seen.point, seen.count)
        self.point_matrix = self.by_point.sums(weighted_point.transpose(0, 2, 1) @ of_point)
        self.point_gradient = self.by_point.sums(np.einsum("mij,mi->mj", weighted_point, residual))
        self.cross = weighted_point.transpose(0, 2, 1) @ own  # (M, 3, CAMERA + 1)
        self._add_priors()
        self._add_factors(factors)
        self._reduced: Array | None = None

    def _add_priors(self) -> None:
        cameras = self.state.cameras
        scales = np.arange(len(cameras.log_scale)) * CAMERA + 6
        self.matrix[scales, scales] += SCALE_SIGMA**-2
        self.gradient[scales] += cameras.log_scale * SCALE_SIGMA**-2
        if cameras.focal_sigma > 0:
            self.matrix[-1, -1] += cameras.focal_sigma**-2
            self.gradient[-1] += np.log(cameras.focal / cameras.focal_prior) * cameras.focal_sigma**-2

    def _add_factors(self, factors: PoseFactors) -> None:
        if not len(factors.first):
            return
        residual, predicted, shift = _factor_residuals(self.state.cameras, factors)
        squares = np.einsum("fi,fij,fj->f", residual, factors.information, residual)
        trust = FACTOR_HUBER / np.maximum(np.sqrt(np.maximum(squares, 0)), FACTOR_HUBER)
        for f in range(len(factors.first)):
            jacobian = np.zeros((6, 2 * CAMERA))
            jacobian[:, :6] = -_adjoint(predicted[f])
            jacobian[:3, 6] = -shift[f]
            jacobian[:, CAMERA : CAMERA + 6] = np.eye(6)
            columns = np.concatenate([np.arange(CAMERA) + CAMERA * k for k in (factors.first[f], factors.second[f])])
            weighted = jacobian.T @ (trust[f] * factors.information[f])
            self.matrix[np.ix_(columns, columns)] += weighted @ jacobian
            self.gradient[columns] += weighted @ residual[f]

    def _eliminate(self, damping: float) -> tuple[Array, Array, Array]:
        """The reduced camera system (Schur complement), its gradient, and the inverse blocks of the points."""
        seen = self.seen
        damped = self.point_matrix + damping * np.einsum("pii->pi", self.point_matrix)[:, :, None] * np.eye(3)
        damped += 1e-12 * np.eye(3) * np.maximum(np.trace(damped, axis1=1, axis2=2), 1e-12)[:, None, None]
        inverse = np.linalg.inv(damped)
        matrix, gradient = self.matrix.copy(), self.gradient.copy()
        order = np.argsort(seen.point, kind="stable")
        starts = np.searchsorted(seen.point[order], np.arange(0, seen.count + POINTS_PER_CHUNK, POINTS_PER_CHUNK))
        for chunk, (begin, end) in enumerate(itertools.pairwise(starts)):
            rows = order[begin:end]
            first = chunk * POINTS_PER_CHUNK
            local = seen.point[rows] - first
            count = min(POINTS_PER_CHUNK, seen.count - first)
            dense = np.zeros((count, 3, self.size))
            for column in range(CAMERA):
                dense[local, :, seen.slot[rows] * CAMERA + column] = self.cross[rows, :, column]
            dense[:, :, -1] = _Groups(local, count).sums(self.cross[rows, :, CAMERA])
            by_inverse = inverse[first : first + count] @ dense
            flat = dense.reshape(3 * count, self.size)
            matrix -= flat.T @ by_inverse.reshape(3 * count, self.size)
            gradient -= by_inverse.reshape(3 * count, self.size).T @ self.point_gradient[first : first + count].ravel()
        return matrix, gradient, inverse

    def step(self, damping: float) -> _State | None:
        """The state one damped step away; None where the equations have no answer."""
        cameras = self.state.cameras
        matrix, gradient, inverse = self._eliminate(damping)
        self._reduced = matrix
        free = self._free()
        reduced = matrix[np.ix_(free, free)]
        reduced[np.diag_indices_from(reduced)] *= 1 + damping
        reduced[np.diag_indices_from(reduced)] += 1e-9
        try:
            found = -np.linalg.solve(reduced, gradient[free])
        except np.linalg.LinAlgError:
            return None
        if not np.isfinite(found).all():
            return None
        change = np.zeros(self.size)
        change[free] = found
        own = change[:-1].reshape(-1, CAMERA)
        of_camera = np.concatenate([own[self.seen.slot], np.full((len(self.seen), 1), change[-1])], 1)
        towards = self.point_gradient + self.by_point.sums(np.einsum("mij,mj->mi", self.cross, of_camera))
        points = self.state.points - np.einsum("pij,pj->pi", inverse, towards)
        poses = se3.compose(se3.exp(own[:, :6]), cameras.camera_from_world)
        focal = cameras.focal * float(np.exp(np.clip(change[-1], -0.5, 0.5)))
        moved = replace(cameras, camera_from_world=poses, log_scale=cameras.log_scale + own[:, 6], focal=focal)
        return _State(moved, points)

    def focal_std(self) -> float:
        """Standard deviation of the log focal length once everything else is solved for."""
        if self.state.cameras.focal_sigma == 0:
            return 0.0
        matrix = self._eliminate(0.0)[0]
        free = self._free()
        reduced = matrix[np.ix_(free, free)] + 1e-9 * np.eye(len(free))
        try:
            return float(np.sqrt(max(np.linalg.inv(reduced)[-1, -1], 0.0)))
        except np.linalg.LinAlgError:
            return float("inf")

    def _free(self) -> Index:
        cameras = self.state.cameras
        free = np.repeat(~cameras.fixed, CAMERA)
        return np.asarray(np.flatnonzero(np.append(free, cameras.focal_sigma > 0)), np.int64)


class _Groups:
    """Sums over the sightings of each point and of each keyframe: sorted once, summed in runs."""

    def __init__(self, keys: Index, count: int) -> None:
        self._count = count
        self._order = np.argsort(keys, kind="stable")
        present, self._starts = np.unique(keys[self._order], return_index=True)
        self._present = present

    def sums(self, values: Array) -> Array:
        """(count, ...) sums of values (M, ...); zero for a key without any."""
        total = np.zeros((self._count, *values.shape[1:]))
        if len(self._present):
            total[self._present] = np.add.reduceat(values[self._order], self._starts, axis=0)
        return total


def _minus_cross(points: Array) -> Array:
    """(M, 3, 3) so that (phi x point) = matrix @ phi."""
    x, y, z = points.T
    zero = np.zeros_like(x)
    return np.stack([np.stack([zero, z, -y], 1), np.stack([-z, zero, x], 1), np.stack([y, -x, zero], 1)], 1)


def _adjoint(pose: Array) -> Array:
    """(6, 6) that takes a twist [rho, phi] through a pose."""
    rotation, (x, y, z) = pose[:3, :3], pose[:3, 3]
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    adjoint = np.zeros((6, 6))
    adjoint[:3, :3] = adjoint[3:, 3:] = rotation
    adjoint[:3, 3:] = cross @ rotation
    return adjoint
