"""Two cameras that map beside each other: where the map of one lies in the map of the other, once both saw one place.

Both maps stay as they are. Each new keyframe is looked for in the other map, and pairs that show one place are believed
when several of them say the same, as for two parts of one map (`joining.py`). The cameras may differ: each picture is
seen by its own.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry.alignment import umeyama
from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.places.agreement import Recognition, agreeing
from spark3r_core.places.verification import SamePlace, verify
from spark3r_core.stream.joining import LEAST_PAIRS, LEAST_PICTURES, WAITING
from spark3r_core.stream.keyframe_map import KeyframeMap
from spark3r_core.stream.loops import by_appearance, view_of

Array = NDArray[np.float64]

log = logging.getLogger(__name__)

PROPOSALS, VERIFICATIONS = 2, 4  # by appearance for a new keyframe; and pairs that are verified, neighbours included


@dataclass(frozen=True, eq=False)
class Meeting:
    """What is known of two maps, of a first and a second camera. recognised: a keyframe of the first and one of the
    second, that show one place. looked: pairs that were verified, whatever came of it."""

    recognised: tuple[Recognition, ...] = ()
    looked: frozenset[tuple[int, int]] = frozenset()


@dataclass(frozen=True, eq=False)
class Met:
    """first_from_second: where the second map lies in the first. pairs: of keyframes that say so."""

    first_from_second: Sim3
    pairs: tuple[tuple[int, int], ...]


def looked_for(meeting: Meeting, first: KeyframeMap, second: KeyframeMap, frame_id: int, *, in_first: bool) -> Meeting:
    """Look for a new keyframe in the other camera's map; where it shows a place of it, at that place's neighbours.

    frame_id: of a keyframe of the second map, or (in_first) of the first.
    """
    own, other = (first, second) if in_first else (second, first)
    if not other.keyframes:
        return meeting
    order = other.order
    likely = by_appearance(other, own.keyframes[frame_id].features.descriptors, order)[:PROPOSALS]
    queue = [one for _, one in likely] or order[-PROPOSALS:]  # a young map has no words yet
    recognised, looked, left = list(meeting.recognised), set(meeting.looked), VERIFICATIONS
    while queue and left > 0:
        found = queue.pop(0)
        pair = (frame_id, found) if in_first else (found, frame_id)
        if pair in looked:
            continue
        looked.add(pair)
        left -= 1
        there = view_of(first, pair[0], first.picture_hw)
        same = verify(there, view_of(second, pair[1], second.picture_hw))
        if not isinstance(same, SamePlace):
            log.debug("keyframes %d and %d of two cameras: %s", *pair, same)
            continue
        recognised.append(Recognition(*pair, same, there.median_depth))
        at = order.index(found)
        near = [order[one] for one in (at - 1, at + 1, at - 2, at + 2) if 0 <= one < len(order)]
        queue = near + [one for one in queue if one not in near]
    return Meeting(tuple(recognised[-WAITING:]), frozenset(looked))


def met(meeting: Meeting, first: KeyframeMap, second: KeyframeMap) -> Met | None:
    """Where the second map lies in the first, by what several pairs say; None where too few say the same."""
    apart = max(first.keyframes, default=0) + 1  # ids of two cameras may be the same
    lies = {one: key.map_from_keyframe for one, key in first.keyframes.items()}
    lies |= {one + apart: key.map_from_keyframe for one, key in second.keyframes.items()}
    known = [
        replace(one, second=one.second + apart)
        for one in meeting.recognised
        if one.first in first.keyframes and one.second in second.keyframes
    ]
    groups = agreeing(known, lies, sorted(lies))
    if not groups:
        return None
    believed = groups[0]
    sides = {one.first for one in believed}, {one.second for one in believed}
    if len(believed) < LEAST_PAIRS or min(map(len, sides)) < LEAST_PICTURES:
        return None
    there, here = zip(*(_tripods(one, lies) for one in believed), strict=True)
    return Met(
        umeyama(np.concatenate(here), np.concatenate(there)),
        tuple((one.first, one.second - apart) for one in believed),
    )


def _tripods(one: Recognition, lies: Mapping[int, Sim3]) -> tuple[Array, Array]:
    """Four points at the second keyframe, (4, 3) in the first map by the pair and in the second map as it is: its
    camera, and a median depth along each axis. Places near each other say more of where they lie than of a turn about
    them, and points carry that of themselves."""
    size = one.size / one.same.first_from_second.scale
    points = np.concatenate([np.zeros((1, 3)), size * np.eye(3)])
    by_pair = lies[one.first] @ one.same.first_from_second
    return by_pair.apply_to_points(points), lies[one.second].apply_to_points(points)
