"""What sightings and tracked steps say of a state: residuals in sigmas, robust cost, derivatives (README.md)."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from spark3r_core.bundle.problem import Array, Cameras, Index, Observations, PoseFactors
from spark3r_core.geometry import se3
from spark3r_core.geometry.rotation import log_so3, skew

PIXEL_SIGMA = 1.0  # of a picture 640 wide; Huber bends at it
DEPTH_SIGMA = 2.0  # of log depth: it is off by a fifth, but alike over whole regions, so that hundreds count as few
DEPTH_HUBER = 1.345  # sigmas
SCALE_SIGMA = 0.3  # of the log scale between one keyframe's depth and the map
FACTOR_HUBER = 3.0  # sigmas of a pose factor
BEHIND = 50.0  # sigmas that a point behind its camera counts: bad, yet one of them must not stop a step
CAMERA = 7  # unknowns of a keyframe: twist [rho, phi] from the left, log scale of its depth
NEAREST = 1e-9  # depth from which a point is before the camera


class Sightings:
    """Observations in the order of their keyframes, so that each keyframe's are one product of matrices.

    order: (M,) where each lay before.
    """

    def __init__(self, seen: Observations, keyframes: int) -> None:
        self.order: Index = np.argsort(seen.slot, kind="stable")
        self.point, self.slot = seen.point[self.order], seen.slot[self.order]
        self.places = np.ascontiguousarray(seen.places[self.order].T, np.float64)
        depth = seen.depth[self.order]
        self.knows_depth = np.isfinite(depth) & (depth > 0)
        self.log_depth = np.log(np.where(self.knows_depth, depth, 1.0))
        self.points = seen.count
        edges = np.searchsorted(self.slot, np.arange(keyframes + 1))
        self.of_keyframe = [slice(a, b) for a, b in itertools.pairwise(edges.tolist())]

    def __len__(self) -> int:
        return len(self.point)


@dataclass(frozen=True)
class Errors:
    """At one state. at: (3, M) the point in the camera; ahead: (M,) whether before it. pixels: (2, M) and depth: (M,)
    in sigmas, zero where nothing is known. cost: robust, over everything."""

    at: Array
    ahead: np.ndarray
    pixels: Array
    depth: Array
    cost: float

    @property
    def pixel_error(self) -> Array:
        """(M,) length in sigmas; infinite behind the camera."""
        return np.where(self.ahead, np.sqrt(np.square(self.pixels).sum(0)), np.inf)


def errors_of(cameras: Cameras, points: Array, seen: Sightings, factors: PoseFactors, sigma: float) -> Errors:
    """points: (P, 3) in the world; sigma: of a place in pixels."""
    at = np.empty((3, len(seen)))
    sighted = points[seen.point].T
    for pose, rows in zip(cameras.camera_from_world, seen.of_keyframe, strict=True):
        at[:, rows] = pose[:3, :3] @ sighted[:, rows] + pose[:3, 3:]
    ahead = at[2] > NEAREST
    z = np.where(ahead, at[2], 1.0)
    pixels = (at[:2] * (cameras.focal / z) + cameras.centre_xy[:, None] - seen.places) / sigma
    pixels[:, ~ahead] = 0
    depth = np.where(
        ahead & seen.knows_depth, (np.log(z) - seen.log_depth - cameras.log_scale[seen.slot]) / DEPTH_SIGMA, 0.0
    )
    error = np.where(ahead, np.sqrt(np.square(pixels).sum(0)), BEHIND)
    cost = huber(error, 1.0).sum() + huber(np.abs(depth), DEPTH_HUBER).sum() + _prior_cost(cameras)
    if len(factors.first):
        cost += huber(factor_errors(cameras, factors).lengths(factors), FACTOR_HUBER).sum()
    return Errors(at, ahead, pixels, depth, float(cost))


def huber(x: Array, bend: float) -> Array:
    return np.where(x <= bend, 0.5 * np.square(x), bend * (x - 0.5 * bend))


def _prior_cost(cameras: Cameras) -> float:
    cost = 0.5 * np.square(cameras.log_scale[~cameras.fixed] / SCALE_SIGMA).sum()
    if cameras.focal_sigma > 0:
        cost += 0.5 * (np.log(cameras.focal / cameras.focal_prior) / cameras.focal_sigma) ** 2
    return float(cost)


def jacobians(cameras: Cameras, seen: Sightings, errors: Errors, sigma: float) -> tuple[Array, Array]:
    """(M, 3) residuals u, v, log depth, and (M, 3, CAMERA + 1) their derivatives by the keyframe and the log focal
    length; the first three columns are also those by the point in the camera. Both times the root of Huber's weight."""
    x, y, z = errors.at
    z = np.where(errors.ahead, z, 1.0)
    length = np.sqrt(np.square(errors.pixels).sum(0))
    root = np.where(errors.ahead, 1 / np.sqrt(np.maximum(length, 1.0)), 0.0)
    depth_root = np.where(errors.ahead & seen.knows_depth, 1.0, 0.0)
    depth_root /= np.sqrt(np.maximum(np.abs(errors.depth) / DEPTH_HUBER, 1.0))
    residual = np.stack([errors.pixels[0] * root, errors.pixels[1] * root, errors.depth * depth_root], 1)
    a = root * (cameras.focal / sigma) / z
    u, v = -a * x / z, -a * y / z
    d = depth_root / (DEPTH_SIGMA * z)
    found = np.zeros((len(seen), 3, CAMERA + 1))
    found[:, 0, 0] = found[:, 1, 1] = a
    found[:, 0, 2], found[:, 1, 2], found[:, 2, 2] = u, v, d
    # turning moves the point by phi x p, so a row b becomes p x b
    found[:, 0, 3], found[:, 0, 4], found[:, 0, 5] = y * u, z * a - x * u, -y * a
    found[:, 1, 3], found[:, 1, 4], found[:, 1, 5] = y * v - z * a, -x * v, x * a
    found[:, 2, 3], found[:, 2, 4] = y * d, -x * d
    found[:, 2, 6] = -depth_root / DEPTH_SIGMA
    found[:, 0, 7], found[:, 1, 7] = a * x, a * y
    return residual, found


@dataclass(frozen=True)
class FactorErrors:
    """residual: (F, 6) of predicted over measured step, [difference of translation, turn]. predicted: (F, 4, 4).
    turned: (F, 3) the measured translation in map units, as the prediction is turned."""

    residual: Array
    predicted: Array
    turned: Array

    def lengths(self, factors: PoseFactors) -> Array:
        """(F,) in sigmas."""
        squares = np.einsum("fi,fij,fj->f", self.residual, factors.information, self.residual)
        return np.sqrt(np.maximum(squares, 0))

    def jacobians(self) -> Array:
        """(F, 6, 2 CAMERA) by the first and the second keyframe; of the turn up to its second order."""
        rho, phi = self.residual[:, :3], self.residual[:, 3:]
        by_second = np.zeros((len(rho), 6, 6))
        by_second[:, :3, :3] = np.eye(3)
        by_second[:, :3, 3:] = -skew(rho)
        by_second[:, 3:, 3:] = np.eye(3) - 0.5 * skew(phi) + skew(phi) @ skew(phi) / 12
        found = np.zeros((len(rho), 6, 2 * CAMERA))
        found[:, :, :6] = -by_second @ se3.adjoint(self.predicted)
        found[:, :3, 6] = -self.turned
        found[:, :, CAMERA : CAMERA + 6] = by_second
        return found


def factor_errors(cameras: Cameras, factors: PoseFactors) -> FactorErrors:
    first, second = cameras.camera_from_world[factors.first], cameras.camera_from_world[factors.second]
    predicted = se3.compose(second, se3.invert(first))
    shift = factors.second_from_first[:, :3, 3] * np.exp(cameras.log_scale[factors.first])[:, None]
    turn = predicted[:, :3, :3] @ factors.second_from_first[:, :3, :3].transpose(0, 2, 1)
    turned = np.einsum("fij,fj->fi", turn, shift)
    residual = np.concatenate([predicted[:, :3, 3] - turned, log_so3(turn)], 1)
    return FactorErrors(residual, predicted, turned)
