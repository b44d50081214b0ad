"""Adjustment with a guard: it is accepted when residuals that it did not see fall."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from spark3r_core.bundle.problem import Adjusted, Cameras, Observations, PoseFactors
from spark3r_core.bundle.residuals import PIXEL_SIGMA
from spark3r_core.bundle.solve import solve
from spark3r_core.bundle.triangulate import reprojection, triangulate
from spark3r_core.geometry import se3

HELD_OUT = 6  # every so manieth track is kept from adjustment
LEAST_TRACKS = 40
MOST_ERROR = 3.0  # pixel sigmas a held-out sighting counts at most
FOCAL_TRIES = (0.7, 0.85, 1.2, 1.45)  # of the first focal length, when nothing else says what it is
TRY_ITERATIONS = 4


@dataclass(frozen=True)
class Verdict:
    """adjusted: what was found; accepted: whether it is better on what it did not see. before, after: mean robust
    error of the held-out sightings in pixels. why: in words, when it was not accepted."""

    adjusted: Adjusted | None
    accepted: bool
    before: float
    after: float
    why: str = ""


def adjust_guarded(
    cameras: Cameras,
    seen: Observations,
    tracks: np.ndarray,
    factors: PoseFactors,
    width: int,
    iterations: int = 12,
    search_focal: bool = False,
) -> Verdict:
    """Adjust on most tracks, judge on the rest.

    tracks: (M,) the number of each sighting's track: what decides whether it is held out, so that the same track is
    always on the same side. search_focal: try several first focal lengths.
    """
    held = np.asarray(tracks % HELD_OUT == 0)
    if seen.where(~held).count < LEAST_TRACKS:
        return Verdict(None, False, np.nan, np.nan, "too few tracks")
    used = seen.where(~held)
    start = _with_best_focal(cameras, used, factors, width) if search_focal else cameras
    adjusted = solve(start, used, factors, width, iterations)
    after_cameras = adjusted.cameras
    if not np.isfinite(after_cameras.camera_from_world).all():
        return Verdict(adjusted, False, np.nan, np.nan, "not finite")
    if not held.any():
        return Verdict(adjusted, True, np.nan, np.nan)
    unseen = seen.where(held)
    before, after = (held_out_error(one, unseen, width) for one in (cameras, after_cameras))
    if not after < before:
        return Verdict(adjusted, False, before, after, f"held-out error {before:.2f} -> {after:.2f} pixels")
    return Verdict(adjusted, True, before, after)


def held_out_error(cameras: Cameras, seen: Observations, width: int) -> float:
    """Mean bounded reprojection error in pixels of points triangulated from these cameras."""
    points, _ = triangulate(cameras, seen)
    sigma = PIXEL_SIGMA * width / 640
    return float(np.minimum(reprojection(cameras, seen, points), MOST_ERROR * sigma).mean())


def _with_best_focal(cameras: Cameras, seen: Observations, factors: PoseFactors, width: int) -> Cameras:
    """The best of several first focal lengths, after a few steps each: the cost has a valley for each far-off one."""
    tried = []
    for factor in (1.0, *FOCAL_TRIES):
        start = with_scaled_turns(cameras, factor)
        found = solve(start, seen, factors, width, TRY_ITERATIONS, rounds=1)
        tried.append((found.cost / len(found.observations), start))
    return min(tried, key=lambda one: one[0])[1]


def with_scaled_turns(cameras: Cameras, factor: float) -> Cameras:
    """Cameras of another focal length: what moved so many pixels turned by so much less."""
    if factor == 1.0:
        return cameras
    poses = cameras.camera_from_world
    first = poses[int(np.argmax(cameras.fixed))]
    from_first = se3.compose(poses, se3.invert(first))
    twist = np.stack([se3.log(pose) for pose in from_first])
    twist[:, 3:] /= factor
    moved = np.where(cameras.fixed[:, None, None], poses, se3.compose(se3.exp(twist), first))
    return replace(cameras, camera_from_world=moved, focal=cameras.focal * factor)
