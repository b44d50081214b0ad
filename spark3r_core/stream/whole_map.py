"""All keyframes of a map adjusted together, once: at the end of a file, and where two maps were made one."""

from __future__ import annotations

from typing import NamedTuple

from spark3r_core.bundle.guard import Verdict
from spark3r_core.stream.adjustment import SIGHTINGS, adjust
from spark3r_core.stream.joined_tracks import join_tracks
from spark3r_core.stream.keyframe_map import KeyframeMap
from spark3r_core.stream.loops import close_all_loops
from spark3r_core.stream.resection import mend

# It takes seconds however many keyframes there are: what one of them may cost falls with their number.
PAIRS, LEAST_SPAN, MOST_SPAN = 300, 4, 10  # matched; and keyframes before each that it is matched with
STEPS, LEAST_STEPS, MOST_STEPS, SETTLED = 2000, 20, 80, 1e-6  # times keyframes
ALL_SIGHTINGS, MOST_SIGHTINGS = 10_000, 400  # of all keyframes, and of each
MOST_ERROR = 16.0  # pixel sigmas beyond which a sighting is a false match: by now keyframes lie where they should


class Whole(NamedTuple):
    """map: a new one. loops: pairs of keyframes, the earlier first, that were found to show one place."""

    map: KeyframeMap
    verdict: Verdict
    loops: tuple[tuple[int, int], ...]


def adjust_whole(world: KeyframeMap, *, closes_loops: bool, focal_is_known: bool) -> Whole:
    """Match, mend, look for loops where that is wanted, and adjust. `world` is a draft."""
    order = world.order
    span = min(MOST_SPAN, max(LEAST_SPAN, PAIRS // len(order)))
    for place, frame_id in enumerate(order):
        join_tracks(world, frame_id, order[max(0, place - span) : place], world.picture_hw)
    mend(world, world.picture_hw)
    loops: tuple[tuple[int, int], ...] = ()
    if closes_loops:
        world, loops = close_all_loops(world, world.picture_hw, focal_is_known=focal_is_known)
    found = adjust(
        world, order, {order[0]}, world.picture_hw, focal_is_known=focal_is_known,
        iterations=min(MOST_STEPS, max(LEAST_STEPS, STEPS // len(order))), settled=SETTLED,
        sightings=max(SIGHTINGS // 2, min(MOST_SIGHTINGS, ALL_SIGHTINGS // len(order))),
        most_error=MOST_ERROR,
    )  # fmt: skip
    return Whole(found.map, found.verdict, loops)
