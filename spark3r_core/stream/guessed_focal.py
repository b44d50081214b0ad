"""Adjustment of a map whose focal length is a guess: from where it is tried, and which end is believed.

Tracking took its steps with a wrong focal length, so its edges count for next to nothing. What sightings alone then say
may be a valley beside the true one, which has another focal length: a young map is tried from other turns and other
focal lengths as well. It may also lie where nobody believes it, or bend what was tracked for nothing in return.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from spark3r_core.bundle.guard import Verdict, adjust_guarded
from spark3r_core.bundle.problem import Cameras, Observations, PoseFactors
from spark3r_core.bundle.turned_start import turned_start
from spark3r_core.geometry import se3
from spark3r_core.photometric.assumed import NETWORK_FOCAL_SIGMA
from spark3r_core.stream.keyframe_map import KeyframeMap
from spark3r_core.stream.map_problem import factors_of
from spark3r_core.stream.way_agreement import ways_agree

Array = NDArray[np.float64]

FOCAL_ABSURD = 0.7  # distance of its logarithm from what the network says, that no network errs by
FOCAL_TOLD = 0.1  # standard deviation from which on parallax tells a focal length that the network is far from
DEPENDENT = 3.0  # errors of sightings depend on each other: factor of the standard deviation that they give it
TRACKED_SHARE = 0.001  # of the information of tracked edges that counts
PAID = 0.9  # of the held-out error: an adjustment that bends a tracked way, and does not bring it below, trusts them
MOST_TURNED = 12  # keyframes of a map that is adjusted from other turns, too
TURNED_STEPS = 30  # from there it is further
OTHER_FOCALS = (0.8, 1.25)  # networks are up to 40 percent off
LARGE_ERROR, LEAST_REFOCUSED = 0.6, 3  # pixels of 640; keyframes
RIGHTER = 0.75  # of the held-out error, below which what it ends in is believed


@dataclass(frozen=True)
class Trial:
    """What trials of one adjustment have in common: sightings, and the patience with them.

    tracks: (M,) the track of each sighting. width: of the picture. iterations, settled, most_error: see `bundle.solve`.
    """

    seen: Observations
    tracks: NDArray[np.int64]
    width: int
    iterations: int
    settled: float
    most_error: float

    def from_start(self, cameras: Cameras, factors: PoseFactors) -> Verdict:
        """Adjust from there."""
        return adjust_guarded(
            cameras, self.seen, self.tracks, factors, self.width, self.iterations, self.settled, self.most_error
        )


def adjust_guessed(
    trial: Trial, cameras: Cameras, world: KeyframeMap, slots: Mapping[int, int], units: Array
) -> tuple[Verdict, bool]:
    """Adjust with tracked edges nearly left out, in all ways that the map gives reason to try.

    Args:
        cameras: as tracking and earlier adjustments left them, with the focal length's prior.
        slots, units: of the keyframes, as in `factors_of`.

    Returns:
        The verdict on the end that is believed, and whether the focal length was learnt on the way.
    """
    factors = factors_of(world, slots, units, TRACKED_SHARE)
    plain = trial.from_start(cameras, factors)
    verdict = _from_other_turns(trial, cameras, factors, plain) if _may_turn(cameras) else plain
    turned = verdict is not plain
    learnt = not ran_away(verdict, cameras.focal_prior)
    if not learnt:
        cameras = replace(cameras, focal=cameras.focal_prior, focal_sigma=0.0)
        verdict = trial.from_start(cameras, factors)
    if not turned and bends(verdict, cameras, world, slots):
        verdict = trial.from_start(cameras, factors_of(world, slots, units, 1.0))
    return verdict, learnt


def focals_to_try(plain: Verdict, keyframes: int, width: int) -> tuple[float, ...]:
    """Times the focal length: with which a young map of so many keyframes is adjusted from other turns. Also with
    others than its own where the unseen error is large, as in the valley of a wrong one. width: of the picture."""
    agrees = plain.accepted and plain.after < LARGE_ERROR * width / 640
    return (1.0,) if agrees or keyframes < LEAST_REFOCUSED else (1.0, *OTHER_FOCALS)


def ran_away(verdict: Verdict, prior: float) -> bool:
    """Whether the focal length went where neither the network nor parallax says that it is: in front of a wall.
    prior: pixels, the network's."""
    if verdict.adjusted is None:
        return False
    found = verdict.adjusted
    away = abs(math.log(found.cameras.focal / prior))
    return away > FOCAL_ABSURD or (away > NETWORK_FOCAL_SIGMA and DEPENDENT * found.focal_std > FOCAL_TOLD)


def bends(verdict: Verdict, before: Cameras, world: KeyframeMap, slots: Mapping[int, int]) -> bool:
    """Whether an adjustment leads a tracked way elsewhere, and explains sightings hardly better for it.

    With few features on few planes, sightings are explained by many a map; what tracking says decides then.
    """
    if verdict.adjusted is None or not verdict.accepted or verdict.after < PAID * verdict.before:
        return False
    for edge in world.edges:
        if edge.first in slots and edge.second in slots:
            first, second = slots[edge.first], slots[edge.second]
            tracked, adjusted = (_way(cameras, first, second) for cameras in (before, verdict.adjusted.cameras))
            if not ways_agree(tracked, adjusted, float(np.median(world.keyframes[edge.first].depth))):
                return True
    return False


def _may_turn(cameras: Cameras) -> bool:
    """Whether the map is young: few keyframes, of which the first alone is held."""
    return len(cameras.fixed) <= MOST_TURNED and bool(cameras.fixed[0]) and int(cameras.fixed.sum()) == 1


def _from_other_turns(trial: Trial, cameras: Cameras, factors: PoseFactors, plain: Verdict) -> Verdict:
    """The best of `plain` and what is found from other turns.

    Another place has to be better by far: of two valleys that explain the sightings about as well, the one where
    tracking leads is right.
    """
    best, patient = plain, replace(trial, iterations=max(trial.iterations, TURNED_STEPS))
    for wider in focals_to_try(plain, len(cameras.fixed), trial.width):
        start = turned_start(replace(cameras, focal=wider * cameras.focal), trial.seen)
        other = patient.from_start(start, factors)
        if other.accepted and other.after < RIGHTER * best.after:
            best = other
    return best


def _way(cameras: Cameras, first: int, second: int) -> Array:
    """(4, 4) first_from_second, in the unit of the first one's depth."""
    way = se3.compose(cameras.camera_from_world[first], se3.invert(cameras.camera_from_world[second]))
    way[:3, 3] /= math.exp(cameras.log_scale[first])
    return way
