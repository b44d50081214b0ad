"""Estimating a similarity between two gauges: Umeyama in closed form, and robust versions with Huber weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from spark3r_core.errors import GeometryError
from spark3r_core.geometry.rotation import Array, as_float64, nearest_rotation, rotation_angle
from spark3r_core.geometry.sim3 import Sim3

# Second over first singular value of the covariance. 1e-8 is a spread 1e-4 as wide as it is long: below it the turn
# around the line of points is decided by noise.
_MIN_RANK_RATIO = 1e-8
# Median length of a 3-vector of unit normal components: turns a median residual into a standard deviation.
_CHI3_MEDIAN = 1.5382
# Huber's bound in standard deviations; a 3-vector residual exceeds 2 sigma in 26 % of clean samples, which keeps
# nearly all of the efficiency of least squares.
_HUBER_SIGMAS = 2.0

_Fit = tuple[Sim3, Array, Array]  # transform, residuals (n,), angles (n,)


@dataclass(frozen=True, eq=False)
class Alignment:
    """target_from_source with what is left over.

    residuals: (n,) distances after alignment, target units; angles: (n,) radians (poses only, else zeros);
    weights: (n,) final weights, sum 1; rms: weighted by the caller's weights, not the robust ones, so that it is
    an honest measure of health.
    """

    target_from_source: Sim3
    residuals: Array
    angles: Array
    weights: Array
    rms: float


def umeyama(source: ArrayLike, target: ArrayLike, weights: ArrayLike | None = None, with_scale: bool = True) -> Sim3:
    """Weighted least-squares similarity taking source (n, 3) to target (n, 3) (Umeyama 1991, eq. 38-42).

    Raises GeometryError for fewer than 3 points, points on one line or in one place, or non-finite values.
    """
    source, target, weights = _checked_pairs(source, target, weights, minimum=3)
    mean_s, mean_t = weights @ source, weights @ target
    centred_s, centred_t = source - mean_s, target - mean_t
    covariance = (centred_t * weights[:, None]).T @ centred_s
    u, singular, vt = np.linalg.svd(covariance)
    spread = max(np.abs(source).max(), 1e-300) * max(np.abs(target).max(), 1e-300)
    if singular[0] <= 1e-20 * spread or singular[1] <= _MIN_RANK_RATIO * singular[0]:
        raise GeometryError(
            f"{len(source)} point pairs lie on a line or in one place (singular values "
            f"{', '.join(f'{value:.2g}' for value in singular)}): a similarity is not determined; "
            "use more spread points or align poses"
        )
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = (u * sign) @ vt
    scale = float(singular @ sign / (weights @ np.sum(centred_s**2, 1))) if with_scale else 1.0
    return Sim3(scale, rotation, mean_t - scale * rotation @ mean_s)


def align_points(
    source: ArrayLike, target: ArrayLike, weights: ArrayLike | None = None, *, with_scale: bool = True, rounds: int = 20
) -> Alignment:
    """Robust similarity from point pairs (n, 3), n >= 3: Umeyama, iteratively re-weighted after Huber.

    The noise level is the median residual of each round, so there is no threshold to tune. Stands up to a fifth or
    so of gross outliers; it is not a replacement for RANSAC. Raises GeometryError like `umeyama`.
    """
    source, target, prior = _checked_pairs(source, target, weights, minimum=3)
    no_angles = np.zeros(len(source))

    def fit(current: Array) -> _Fit:
        transform = umeyama(source, target, current, with_scale)
        return transform, np.linalg.norm(transform.apply_to_points(source) - target, axis=1), no_angles

    return _reweighted(fit, prior, rounds)


def align_poses(
    source: ArrayLike,
    target: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    scale: float | None = None,
    rounds: int = 20,
) -> Alignment:
    """Robust similarity from pairs of rigid poses (n, 4, 4), world_from_camera in each gauge, n >= 2.

    Rotation is the (weighted, chordal) mean of target_i @ source_i^T: two frames determine it, where two centres do
    not. Scale and translation follow from the centres; with `scale` given (from depths, say) one moving frame is not
    needed. Raises GeometryError when centres coincide and no scale is given: a still camera has none.
    """
    source, target = as_float64(source, (4, 4), "source poses"), as_float64(target, (4, 4), "target poses")
    if source.ndim != 3 or target.ndim != 3:
        raise GeometryError(f"poses have shapes {source.shape} and {target.shape}; expected (n, 4, 4) each")
    centres_s, centres_t, prior = _checked_pairs(source[:, :3, 3], target[:, :3, 3], weights, minimum=2)
    turns = target[:, :3, :3] @ np.swapaxes(source[:, :3, :3], 1, 2)
    if not np.all(np.isfinite(turns)):
        raise GeometryError("poses contain rotations that are not finite")

    def fit(current: Array) -> _Fit:
        rotation = nearest_rotation(np.einsum("n,nij->ij", current, turns))
        transform = _scale_and_translation(centres_s, centres_t, rotation, current, scale)
        residuals = np.linalg.norm(transform.apply_to_points(centres_s) - centres_t, axis=1)
        return transform, residuals, rotation_angle(rotation.T @ turns)

    return _reweighted(fit, prior, rounds if len(source) > 2 else 0)  # two frames cannot outvote each other


def robust_scale(source_depth: ArrayLike, target_depth: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Weighted median of target / source over positive finite pairs of equal shape; what a still camera can offer.

    Raises GeometryError with fewer than 16 usable pairs.
    """
    source, target = np.asarray(source_depth, np.float64).ravel(), np.asarray(target_depth, np.float64).ravel()
    weight = np.ones_like(source) if weights is None else np.asarray(weights, np.float64).ravel()
    if source.shape != target.shape or weight.shape != source.shape:
        raise GeometryError(f"depths and weights differ in size: {source.size}, {target.size}, {weight.size}")
    usable = np.isfinite(source) & np.isfinite(target) & (source > 0) & (target > 0) & (weight > 0)
    if usable.sum() < 16:
        raise GeometryError(f"{int(usable.sum())} usable depth pairs; a scale needs at least 16")
    ratio = np.log(target[usable] / source[usable])
    return float(np.exp(weighted_median(ratio, weight[usable])))


def weighted_median(values: Array, weights: Array) -> float:
    """The lower one, of values (n,) with weights (n,)."""
    order = np.argsort(values)
    heaped = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(heaped, 0.5 * heaped[-1])])


def cauchy_weights(residuals: Array, least: float) -> Array:
    """Cauchy's weights (n,) in (0, 1]; the scale is twice the median residual, and at least `least`."""
    return 1 / (1 + (residuals / max(2 * float(np.median(residuals)), least)) ** 2)


def huber_weights(residuals: Array, median_of_unit: float) -> Array:
    """Huber's weights (n,) in (0, 1]; the scale is the median residual over `median_of_unit`."""
    sigma = np.median(residuals) / median_of_unit
    bound = max(_HUBER_SIGMAS * sigma, 1e-12 * max(1.0, float(residuals.max(initial=0.0))), 1e-300)
    return np.minimum(1.0, bound / np.maximum(residuals, bound))


def _reweighted(fit: Callable[[Array], _Fit], prior: Array, rounds: int) -> Alignment:
    """Fit, then weigh pairs down by Huber's rule for distance and angle, until the weights settle."""
    robust = prior
    transform, residuals, angles = fit(prior)
    for _ in range(rounds):
        both = np.minimum(huber_weights(residuals, _CHI3_MEDIAN), huber_weights(angles, _CHI3_MEDIAN))
        updated = _normalised(prior * both)
        if np.abs(updated - robust).max() < 1e-6 / len(prior):
            break
        robust = updated
        transform, residuals, angles = fit(robust)
    return Alignment(transform, residuals, angles, robust, float(np.sqrt(prior @ residuals**2)))


def _scale_and_translation(source: Array, target: Array, rotation: Array, weights: Array, scale: float | None) -> Sim3:
    mean_s, mean_t = weights @ source, weights @ target
    turned, centred_t = (source - mean_s) @ rotation.T, target - mean_t
    if scale is None:
        spread_s, spread_t = weights @ np.sum(turned**2, 1), weights @ np.sum(centred_t**2, 1)
        magnitude = max(1.0, np.abs(source).max(), np.abs(target).max())
        if min(spread_s, spread_t) <= (1e-9 * magnitude) ** 2:
            raise GeometryError("the camera centres coincide, so they carry no scale; pass `scale`, e.g. from depths")
        along = weights @ np.sum(turned * centred_t, 1)
        # Least squares (along / spread_s) shrinks the scale when the two shapes disagree; the ratio of spreads is
        # symmetric: swapping source and target gives exactly the inverse (Horn 1987, sec. 2.E).
        if along <= 0:
            raise GeometryError("the camera centres move in opposite ways in the two gauges; poses do not correspond")
        scale = float(np.sqrt(spread_t / spread_s))
    return Sim3(scale, rotation, mean_t - scale * rotation @ mean_s)


def _checked_pairs(
    source: ArrayLike, target: ArrayLike, weights: ArrayLike | None, minimum: int
) -> tuple[Array, Array, Array]:
    source, target = as_float64(source, (3,), "source points"), as_float64(target, (3,), "target points")
    if source.ndim != 2 or source.shape != target.shape:
        raise GeometryError(f"source and target have shapes {source.shape} and {target.shape}; expected equal (n, 3)")
    if len(source) < minimum:
        raise GeometryError(f"{len(source)} pairs; at least {minimum} are needed")
    weight = np.ones(len(source)) if weights is None else np.asarray(weights, np.float64)
    if weight.shape != (len(source),) or not np.all(np.isfinite(weight)) or np.any(weight < 0):
        raise GeometryError(f"weights have shape {weight.shape}; expected ({len(source)},), finite and not negative")
    if np.count_nonzero(weight) < minimum:
        raise GeometryError(f"{np.count_nonzero(weight)} pairs with a weight; at least {minimum} are needed")
    if not (np.all(np.isfinite(source)) and np.all(np.isfinite(target))):
        raise GeometryError("points are not finite; remove invalid pairs first")
    return source, target, _normalised(weight)


def _normalised(weights: Array) -> Array:
    return weights / weights.sum()
