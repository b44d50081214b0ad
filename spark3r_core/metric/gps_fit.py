"""A map laid over positions that something else knows, in metres: the similarity between both, by robust least squares.

With camera centres c and rotations R of keyframes in the map, positions g, and the antenna at a in the camera's frame,
in metres: g = s Q c + Q R a + t. The unknowns are s, Q and t. Positions that a reflection made wrong are left aside by
graduated non-convexity with Geman-McClure's kernel (Yang, Antonante, Tzoumas, Carlone, *Graduated non-convexity for
robust spatial perception*, 2020), whose width shrinks to what the middle of the residuals is off: drift of the map is
among that. Errors that follow each other are alike, so variances grow by (1 + r) / (1 - r) with the residuals'
correlation r from one keyframe to the next, as that of the mean of a first-order autoregressive process does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry.rotation import exp_so3, nearest_rotation, skew
from spark3r_core.geometry.sim3 import Sim3

Array = NDArray[np.float64]

LEAST_PLACES = 12  # keyframes whose positions agree: fewer are explained by many a similarity
AGREES = 0.25  # weight of a position that is off by the kernel's width
WIDTH = 3.0  # sigmas: of the kernel, once it is narrow
NARROWER = 1.4  # by which it shrinks from one fit to the next
ROUNDS, STEPS = 60, 3  # fits at most, and steps of Gauss and Newton in each
MIDDLE = 1.5382  # median length of three numbers of sigma 1
MOST_ALIKE = 0.95  # correlation of one residual with the next that is believed
UNKNOWN_TURN = np.pi  # radians, of a turn that nothing says
UNEXPLAINED = 0.25  # of the spread of the positions, which neither a similarity nor their deviations may leave more of


@dataclass(frozen=True, eq=False)
class PlacesFit:
    """metres_from_map: of the positions' frame. log_std: of its scale. up_std: radians, of which way is up there.
    weights: (N,) in [0, 1], what each position counts. rms_m: of those that count."""

    metres_from_map: Sim3
    log_std: float
    up_std: float
    weights: Array
    rms_m: float


@dataclass(frozen=True, eq=False)
class _Laid:
    """A trial: metres_from_map by its parts."""

    rotation: Array
    shift: Array
    scale: float

    def off(self, centres: Array, levers: Array, places: Array) -> Array:
        """(N, 3) metres."""
        return (self.scale * centres + levers) @ self.rotation.T + self.shift - places


def fit_places(centres: Array, levers: Array, places: Array, stds: Array) -> PlacesFit | None:
    """None for fewer than LEAST_PLACES, and where map and positions are not of one path: where most of them disagree,
    or those that agree leave more than their deviations and drift may.

    centres: (N, 3) of cameras in the map, in the order of time. levers: (N, 3) metres from camera to antenna in the
    map's axes. places, stds: (N, 3) metres.
    """
    if len(centres) < LEAST_PLACES:
        return None
    given = (centres, levers, places)
    laid, weights, width = _begun(centres, places), np.ones(len(centres)), np.inf
    for _ in range(ROUNDS):
        for _ in range(STEPS):
            laid, normal = _improved(laid, *given, weights[:, None] / np.square(stds))
        sigmas = np.linalg.norm(laid.off(*given) / stds, axis=1)
        narrowest = max(1.0, float(np.median(sigmas)) / MIDDLE)
        is_narrow = width <= narrowest
        width = max(narrowest, min(float(sigmas.max()), width) / NARROWER)
        weights = np.square(1 / (1 + np.square(sigmas / (width * WIDTH))))
        if is_narrow:
            break
    residual, share = laid.off(*given), weights / weights.sum()
    agreeing = int((weights >= AGREES).sum())
    rms = float(np.sqrt(share @ np.square(residual).sum(1)))
    spread = float(np.sqrt(share @ np.square(places - share @ places).sum(1)))
    expected = float(share @ np.square(stds).sum(1))
    if agreeing < LEAST_PLACES or 2 * agreeing < len(weights) or rms**2 - expected > (UNEXPLAINED * spread) ** 2:
        return None
    if laid.scale <= 0:
        return None
    more = max(1.0, float(share @ np.square(sigmas)) / 3) * _dependence(residual / stds, weights)
    covariance = np.linalg.inv(normal) * more
    log_std, up_std = np.sqrt(covariance[6, 6]) / laid.scale, np.sqrt(covariance[0, 0] + covariance[1, 1])
    return PlacesFit(Sim3(laid.scale, laid.rotation, laid.shift), float(log_std), float(up_std), weights, rms)


def _improved(laid: _Laid, centres: Array, levers: Array, places: Array, information: Array) -> tuple[_Laid, Array]:
    """After one step, and the (7, 7) normal matrix: turn from the left, shift, scale. information: (N, 3)."""
    off = laid.off(centres, levers, places)
    rows = np.zeros((len(off), 3, 7))
    rows[:, :, :3] = -skew(off + places - laid.shift)
    rows[:, :, 3:6] = np.eye(3)
    rows[:, :, 6] = centres @ laid.rotation.T
    normal = np.einsum("nai,na,naj->ij", rows, information, rows)
    normal[:3, :3] += np.eye(3) / UNKNOWN_TURN**2
    normal[6, 6] += 1e-300  # of cameras in one place
    step = -np.linalg.solve(normal, np.einsum("nai,na,na->i", rows, information, off))
    turned = nearest_rotation(exp_so3(step[:3]) @ laid.rotation)
    return _Laid(turned, laid.shift + step[3:6], laid.scale + float(step[6])), normal


def _begun(centres: Array, places: Array) -> _Laid:
    """By Umeyama (1991, equations 38 to 42); of a path on one line with any turn about it."""
    middle, there = centres.mean(0), places.mean(0)
    u, singular, vt = np.linalg.svd((places - there).T @ (centres - middle))
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = nearest_rotation((u * sign) @ vt)
    scale = float(singular @ sign / max(np.square(centres - middle).sum(), 1e-300))
    return _Laid(rotation, there - scale * rotation @ middle, scale)


def _dependence(sigmas: Array, weights: Array) -> float:
    """By how much a variance grows since neighbours (N, 3) err alike."""
    both = np.sqrt(weights[1:] * weights[:-1])[:, None]
    along = float((both * sigmas[1:] * sigmas[:-1]).sum())
    size = float((both * (np.square(sigmas[1:]) + np.square(sigmas[:-1]))).sum()) / 2
    alike = float(np.clip(along / size, 0.0, MOST_ALIKE)) if size > 0 else 0.0
    return (1 + alike) / (1 - alike)
