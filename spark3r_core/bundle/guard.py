"""Adjustment with a guard: it is accepted when residuals that it did not see fall."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from spark3r_core.bundle.problem import Adjusted, Array, Cameras, Observations, PoseFactors
from spark3r_core.bundle.residuals import PIXEL_SIGMA
from spark3r_core.bundle.solve import SETTLED, solve
from spark3r_core.bundle.triangulate import reprojection, triangulate

HELD_OUT = 6  # every so manieth track is kept from adjustment
LEAST_TRACKS = 40
NOISE = 0.5  # standard errors by which held-out sightings may seem worse while those that were seen are better
MOST_ERROR = 3.0  # pixel sigmas a held-out sighting counts at most
MOST_LEFT, HELPED = 0.5, 0.85  # of that, mean error after adjustment: beyond, most sightings are false matches, unless
# adjustment has brought it below that share of what it was, which it cannot where they are
LEAST_FOCAL, MOST_FOCAL = 0.25, 5.0  # of the picture's width: 127 and 11 degrees; beyond, something else is wrong


@dataclass(frozen=True)
class Verdict:
    """adjusted: what was found; accepted: whether it is better on what it did not see. before, after: mean robust
    error of the held-out sightings in pixels. why: in words, when it was not accepted."""

    adjusted: Adjusted | None
    accepted: bool
    before: float
    after: float
    why: str = ""

    def summary(self) -> str:
        """One line for a log."""
        if not self.accepted:
            return f"not adjusted: {self.why}"
        return f"adjusted, held-out error {self.before:.2f} -> {self.after:.2f} pixels"


def adjust_guarded(
    cameras: Cameras,
    seen: Observations,
    tracks: np.ndarray,
    factors: PoseFactors,
    width: int,
    iterations: int = 12,
    settled: float = SETTLED,
    most_error: float = np.inf,
) -> Verdict:
    """Adjust on most tracks, judge on the rest.

    tracks: (M,) the number of each sighting's track: what decides whether it is held out, so that the same track is
    always on the same side. settled, most_error: see `solve`.
    """
    held = np.asarray(tracks % HELD_OUT == 0)
    if seen.where(~held).count < LEAST_TRACKS:
        return Verdict(None, False, np.nan, np.nan, "too few tracks")
    used = seen.where(~held)
    try:
        adjusted = solve(cameras, used, factors, width, iterations, settled=settled, most_error=most_error)
    except ValueError as error:  # cameras lie so wrong that there is nothing to begin with
        return Verdict(None, False, np.nan, np.nan, str(error))
    after_cameras = adjusted.cameras
    if not np.isfinite(after_cameras.camera_from_world).all():
        return Verdict(adjusted, False, np.nan, np.nan, "not finite")
    if cameras.focal_sigma > 0 and not LEAST_FOCAL < after_cameras.focal / width < MOST_FOCAL:
        return Verdict(adjusted, False, np.nan, np.nan, f"no camera has a focal length of {after_cameras.focal:.0f}")
    if not held.any():
        return Verdict(adjusted, True, np.nan, np.nan)
    unseen = seen.where(held)
    before, after = (held_out_errors(one, unseen, width) for one in (cameras, after_cameras))
    worse = after - before
    much = MOST_LEFT * MOST_ERROR * PIXEL_SIGMA * width / 640
    if float(after.mean()) > max(much, HELPED * float(before.mean())):
        why = f"held-out error {after.mean():.2f} pixels: sightings contradict each other"
        return Verdict(adjusted, False, float(before.mean()), float(after.mean()), why)
    noise = float(worse.std()) / math.sqrt(unseen.count)  # sightings of one point err together
    if float(worse.mean()) > NOISE * noise:
        why = f"held-out error {before.mean():.2f} -> {after.mean():.2f} pixels"
        return Verdict(adjusted, False, float(before.mean()), float(after.mean()), why)
    return Verdict(adjusted, True, float(before.mean()), float(after.mean()))


def held_out_errors(cameras: Cameras, seen: Observations, width: int) -> Array:
    """(M,) bounded reprojection errors in pixels of points triangulated from these cameras."""
    points, _ = triangulate(cameras, seen)
    sigma = PIXEL_SIGMA * width / 640
    return np.minimum(reprojection(cameras, seen, points), MOST_ERROR * sigma)
