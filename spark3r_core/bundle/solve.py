"""Levenberg-Marquardt over poses, depth scales, focal length and points, points eliminated first (README.md)."""

from __future__ import annotations

import numpy as np

from spark3r_core.bundle.normal_equations import NormalEquations
from spark3r_core.bundle.problem import Adjusted, Array, Cameras, Mask, Observations, PoseFactors
from spark3r_core.bundle.residuals import PIXEL_SIGMA, Errors, Sightings, errors_of
from spark3r_core.bundle.triangulate import reprojection, triangulate

OUTLIER = 4.0  # pixel sigmas
FIRST_DAMPING, LEAST_DAMPING, MOST_DAMPING = 1e-4, 1e-9, 1e6
SETTLED = 1e-4  # share of the cost by which a step must lower it for another to follow


def solve(
    cameras: Cameras,
    seen: Observations,
    factors: PoseFactors,
    width: int,
    iterations: int = 12,
    rounds: int = 2,
    settled: float = SETTLED,
    most_error: float = np.inf,
) -> Adjusted:
    """Adjust until the cost settles; sightings that do not fit are dropped between the rounds.

    width: of the picture in pixels. most_error: pixel sigmas beyond which a sighting is left out from the start: where
    poses are known already, what is further off is a false match, and a few of them bend the first round to where the
    true ones do not fit. settled: a camera that moves along its view says so little of its focal length that
    the cost falls by a ten thousandth while it changes by a tenth. Raises ValueError without a single point to adjust
    by.
    """
    sigma = PIXEL_SIGMA * width / 640
    start, done = cameras, 0
    kept = np.ones(len(seen), bool)
    if np.isfinite(most_error):
        kept = reprojection(cameras, seen, triangulate(cameras, seen)[0]) < most_error * sigma
    known = np.full((seen.count, 3), np.nan)  # points that the round before found
    for turn in range(rounds):
        kept, current, points = _startable(cameras, seen, kept, known)
        ordered = Sightings(current, len(cameras.fixed))
        cameras, points, errors, steps = _round(cameras, points, ordered, factors, sigma, iterations, settled)
        done += steps
        if turn < rounds - 1:
            error = np.empty(len(current))
            error[ordered.order] = errors.pixel_error
            numbers = np.unique(seen.point[kept])
            known[numbers] = points
            fits = error < OUTLIER
            known[seen.point[kept][~fits]] = np.nan  # what bent it is gone: triangulate anew
            kept[kept] = fits
    equations = NormalEquations(cameras, points, ordered, factors, errors, sigma)
    before, after = (reprojection(start, current, triangulate(start, current)[0]), errors.pixel_error * sigma)
    return Adjusted(
        cameras, points, current, kept, equations.uncertainty(), _rms(before), _rms(after), done, errors.cost
    )  # fmt: skip


def _startable(cameras: Cameras, seen: Observations, kept: Mask, known: Array) -> tuple[Mask, Observations, Array]:
    """Sightings of points that two keyframes see and that lie before them, and where these points are to start."""
    views = np.bincount(seen.point[kept], minlength=seen.count)
    kept = kept & (views[seen.point] >= 2)
    current = seen.where(kept)
    points, ahead = triangulate(cameras, current)
    found = known[np.unique(seen.point[kept])]
    has = np.isfinite(found).all(1)
    points[has], ahead = found[has], ahead | has
    if not ahead.any():
        raise ValueError(f"none of {seen.count} points is seen by two keyframes that it lies before")
    kept[kept] = ahead[current.point]
    return kept, seen.where(kept), points[ahead]


def _rms(error: Array) -> float:
    finite = error[np.isfinite(error)]
    return float(np.sqrt(np.mean(np.square(finite)))) if len(finite) else float("nan")


def _round(
    cameras: Cameras,
    points: Array,
    seen: Sightings,
    factors: PoseFactors,
    sigma: float,
    iterations: int,
    settled: float,
) -> tuple[Cameras, Array, Errors, int]:
    damping, steps = FIRST_DAMPING, 0
    errors = errors_of(cameras, points, seen, factors, sigma)
    while steps < iterations:
        equations = NormalEquations(cameras, points, seen, factors, errors, sigma)
        better = None
        while better is None and damping < MOST_DAMPING:
            proposal = equations.step(damping)
            if proposal is not None:
                new = errors_of(*proposal, seen, factors, sigma)
                better = new if new.cost < errors.cost else None
            if better is None:
                damping *= 8
        if better is None or proposal is None:
            break
        steps += 1
        is_settled = errors.cost - better.cost < settled * errors.cost
        (cameras, points), errors, damping = proposal, better, max(damping / 4, LEAST_DAMPING)
        if is_settled:
            break
    return cameras, points, errors, steps
