"""All keyframes of a map adjusted together, once: at the end of a file, and where two maps were made one."""

from __future__ import annotations

import logging
from typing import NamedTuple

from spark3r_core.bundle.guard import Verdict
from spark3r_core.metric.gps import KnownPlaces
from spark3r_core.stream.adjustment import Adjustment, adjust
from spark3r_core.stream.joined_tracks import join_tracks
from spark3r_core.stream.keyframe_map import KeyframeMap
from spark3r_core.stream.known_places import bent_to_known
from spark3r_core.stream.loops import close_all_loops
from spark3r_core.stream.map_problem import SIGHTINGS
from spark3r_core.stream.resection import mend

log = logging.getLogger(__name__)

# It takes seconds however many keyframes there are: what one of them may cost falls with their number.
PAIRS, LEAST_SPAN, MOST_SPAN = 300, 4, 10  # matched; and keyframes before each that it is matched with
STEPS, LEAST_STEPS, MOST_STEPS, SETTLED = 2000, 20, 80, 1e-6  # times keyframes
ALL_SIGHTINGS, MOST_SIGHTINGS = 10_000, 400  # of all keyframes, and of each
MOST_WORSE = 1.01  # error of sightings that were held out, of a map that was bent to known positions
MOST_ERROR = 16.0  # pixel sigmas beyond which a sighting is a false match: by now keyframes lie where they should


class Whole(NamedTuple):
    """map: a new one. loops: pairs of keyframes, the earlier first, that were found to show one place."""

    map: KeyframeMap
    verdict: Verdict
    loops: tuple[tuple[int, int], ...]


def adjust_whole(
    world: KeyframeMap, *, closes_loops: bool, focal_is_known: bool, known: KnownPlaces | None = None
) -> Whole:
    """Match, mend, look for loops where that is wanted, and adjust. `world` is a draft. known: where keyframes are by
    another system: drift that adjustment leaves is pulled in, and all are adjusted once more from there. Sightings
    decide whether that is better: a wrong system can bend a map, and cannot make its sightings agree.
    """
    order = world.order
    span = min(MOST_SPAN, max(LEAST_SPAN, PAIRS // len(order)))
    for place, frame_id in enumerate(order):
        join_tracks(world, frame_id, order[max(0, place - span) : place], world.picture_hw)
    mend(world, world.picture_hw)
    loops: tuple[tuple[int, int], ...] = ()
    if closes_loops:
        world, loops = close_all_loops(world, world.picture_hw, focal_is_known=focal_is_known)
    found = _adjusted(world, focal_is_known)
    bent = None if known is None else bent_to_known(found.map, known)
    if bent is not None:
        again = _adjusted(bent, focal_is_known)
        if _left(again.verdict) <= MOST_WORSE * _left(found.verdict):
            found = again
        else:
            log.info("sightings contradict the known positions: the map stays as it was")
    return Whole(found.map, found.verdict, loops)


def _adjusted(world: KeyframeMap, focal_is_known: bool) -> Adjustment:
    order = world.order
    return adjust(
        world, order, {order[0]}, world.picture_hw, focal_is_known=focal_is_known,
        iterations=min(MOST_STEPS, max(LEAST_STEPS, STEPS // len(order))), settled=SETTLED,
        sightings=max(SIGHTINGS // 2, min(MOST_SIGHTINGS, ALL_SIGHTINGS // len(order))),
        most_error=MOST_ERROR,
    )  # fmt: skip


def _left(verdict: Verdict) -> float:
    """Mean error of sightings that were held out, in the map as it is now; nan where there were none."""
    return verdict.after if verdict.accepted else verdict.before
