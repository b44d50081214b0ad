"""The same problem solved the plain way: one vector of unknowns, numeric derivatives, Gauss-Newton without elimination.

Residuals are written down here a second time, one sighting after the other.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from spark3r_core.bundle.problem import Array, Cameras, Observations, PoseFactors
from spark3r_core.bundle.residuals import DEPTH_HUBER, DEPTH_SIGMA, FACTOR_HUBER, SCALE_SIGMA
from spark3r_core.geometry import se3

STEP = 1e-6


def unknowns(cameras: Cameras, points: Array) -> int:
    return 7 * int((~cameras.fixed).sum()) + (cameras.focal_sigma > 0) + points.size


def moved(cameras: Cameras, points: Array, change: Array) -> tuple[Cameras, Array]:
    """State after a change (n,): [twist, log scale] of each free keyframe, log focal length if free, points."""
    poses, scales, at = cameras.camera_from_world.copy(), cameras.log_scale.copy(), 0
    for k in np.flatnonzero(~cameras.fixed):
        poses[k] = se3.exp(change[at : at + 6]) @ poses[k]
        scales[k] += change[at + 6]
        at += 7
    focal = cameras.focal
    if cameras.focal_sigma > 0:
        focal, at = focal * math.exp(change[at]), at + 1
    found = replace(cameras, camera_from_world=poses, log_scale=scales, focal=focal)
    return found, points + change[at:].reshape(points.shape)


def residuals(
    cameras: Cameras, points: Array, seen: Observations, factors: PoseFactors, sigma: float
) -> list[tuple[Array, float]]:
    """Each with the length in sigmas at which its cost turns linear."""
    found: list[tuple[Array, float]] = []
    for point, slot, place, depth in zip(seen.point, seen.slot, seen.places, seen.depth, strict=True):
        pose = cameras.camera_from_world[slot]
        x, y, z = pose[:3, :3] @ points[point] + pose[:3, 3]
        off = np.array([x, y]) / z * cameras.focal + cameras.centre_xy - place
        found.append((off / sigma, 1.0))
        if depth > 0:
            error = (math.log(z) - math.log(depth) - cameras.log_scale[slot]) / DEPTH_SIGMA
            found.append((np.array([error]), DEPTH_HUBER))
    for k in np.flatnonzero(~cameras.fixed):
        found.append((np.array([cameras.log_scale[k] / SCALE_SIGMA]), math.inf))
    if cameras.focal_sigma > 0:
        found.append((np.array([math.log(cameras.focal / cameras.focal_prior) / cameras.focal_sigma]), math.inf))
    for first, second, measured, information in zip(
        factors.first, factors.second, factors.second_from_first, factors.information, strict=True
    ):
        poses = cameras.camera_from_world
        predicted = poses[second] @ np.linalg.inv(poses[first])
        turn = predicted[:3, :3] @ measured[:3, :3].T
        shift = predicted[:3, 3] - turn @ measured[:3, 3] * math.exp(cameras.log_scale[first])
        twist = np.concatenate([shift, se3.log(se3.make_pose(turn, np.zeros(3)))[3:]])
        found.append((np.linalg.cholesky(information).T @ twist, FACTOR_HUBER))
    return found


def cost(cameras: Cameras, points: Array, seen: Observations, factors: PoseFactors, sigma: float) -> float:
    total = 0.0
    for residual, bend in residuals(cameras, points, seen, factors, sigma):
        length = float(np.linalg.norm(residual))
        total += 0.5 * length**2 if length <= bend else bend * (length - 0.5 * bend)
    return total


def weighted(
    cameras: Cameras, points: Array, seen: Observations, factors: PoseFactors, sigma: float
) -> tuple[Array, Array]:
    """(n,) residuals and (n, unknowns) numeric derivatives, both times the root of the Huber weight at this state."""
    here = residuals(cameras, points, seen, factors, sigma)
    roots = np.concatenate(
        [np.full(len(r), 1 / math.sqrt(max(float(np.linalg.norm(r)) / bend, 1.0))) for r, bend in here]
    )

    def flat(change: Array) -> Array:
        state = moved(cameras, points, change)
        return np.concatenate([residual for residual, _ in residuals(*state, seen, factors, sigma)])

    n = unknowns(cameras, points)
    columns = [(flat(STEP * unit) - flat(-STEP * unit)) / (2 * STEP) for unit in np.eye(n)]
    return np.concatenate([r for r, _ in here]) * roots, np.stack(columns, 1) * roots[:, None]


def solve_slowly(
    cameras: Cameras, points: Array, seen: Observations, factors: PoseFactors, sigma: float, iterations: int = 15
) -> tuple[Cameras, Array]:
    damping = 1e-4
    now = cost(cameras, points, seen, factors, sigma)
    for _ in range(iterations):
        residual, jacobian = weighted(cameras, points, seen, factors, sigma)
        matrix = jacobian.T @ jacobian
        matrix[np.diag_indices_from(matrix)] *= 1 + damping
        proposal = moved(cameras, points, -np.linalg.solve(matrix, jacobian.T @ residual))
        new = cost(*proposal, seen, factors, sigma)
        if new < now:
            (cameras, points), now, damping = proposal, new, damping / 4
        else:
            damping *= 8
    return cameras, points
