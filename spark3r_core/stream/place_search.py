"""Keyframes looked for among others: likely ones by appearance, each pair verified, neighbours of what is right too.

What comes of a pair is kept, so that none is verified twice, until enough of them agree (`loops.py`, `joining.py`,
`meeting.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spark3r_core.places.agreement import Recognition
from spark3r_core.places.verification import SamePlace, View, verify
from spark3r_core.stream.keyframe_map import KeyframeMap

log = logging.getLogger(__name__)

WAITING = 80  # recognitions between two maps that wait for others that agree


@dataclass(frozen=True, eq=False)
class Recognised:
    """What is known of a first and a second map. pairs: a keyframe of the first and one of the second that show one
    place. looked: pairs that were verified, whatever came of it."""

    pairs: tuple[Recognition, ...] = ()
    looked: frozenset[tuple[int, int]] = frozenset()


def by_appearance(
    world: KeyframeMap, descriptors: NDArray[np.float32], candidates: Collection[int]
) -> list[tuple[float, int]]:
    """Likeness to a picture with these descriptors (N, 128), and keyframe, most alike first."""
    likeness = world.places.index.likeness(descriptors, candidates)
    return sorted(((score, other) for other, score in likeness.items()), key=lambda one: (-one[0], one[1]))


def most_alike(world: KeyframeMap, descriptors: NDArray[np.float32], count: int) -> list[int]:
    """So many keyframes of a map that are most like a picture; its newest while it is too young to have words."""
    alike = by_appearance(world, descriptors, world.keyframes)[:count]
    return [frame_id for _, frame_id in alike] or world.order[-count:]


def view_of(world: KeyframeMap, frame_id: int, picture_hw: tuple[int, int]) -> View:
    keyframe = world.keyframes[frame_id]
    return View(keyframe.features, keyframe.feature_depth, world.camera_of(picture_hw), picture_hw)


def look_around(
    proposals: Sequence[int], order: Sequence[int], look: Callable[[int], bool | None], verifications: int
) -> None:
    """Look at keyframes, next at the neighbours (in `order`) of one that is right, until so many were verified.

    look: whether it is right; None where that was asked before, which costs nothing.
    """
    queue = list(proposals)
    while queue and verifications > 0:
        other = queue.pop(0)
        found = look(other)
        verifications -= found is not None
        if found:
            at = order.index(other)
            near = [order[one] for one in (at - 1, at + 1, at - 2, at + 2) if 0 <= one < len(order)]
            queue = near + [one for one in queue if one not in near]


def looked_for(
    known: Recognised,
    first: KeyframeMap,
    second: KeyframeMap,
    frame_id: int,
    *,
    in_first: bool,
    proposals: int,
    verifications: int,
) -> Recognised:
    """Look for a keyframe in the other map, and at the neighbours of where it shows a place of that.

    frame_id: of a keyframe of the second map, or (in_first) of the first. proposals: by appearance; verifications: most
    pairs that are verified.
    """
    own, other = (first, second) if in_first else (second, first)
    own_view = view_of(own, frame_id, own.picture_hw)
    pairs, looked = list(known.pairs), set(known.looked)

    def look(found: int) -> bool | None:
        pair = (frame_id, found) if in_first else (found, frame_id)
        if pair in looked:
            return None
        looked.add(pair)
        found_view = view_of(other, found, other.picture_hw)
        views = (own_view, found_view) if in_first else (found_view, own_view)
        same = verify(*views)
        if not isinstance(same, SamePlace):
            log.debug("keyframes %d and %d of two maps: %s", *pair, same)
            return False
        pairs.append(Recognition(*pair, same, views[0].median_depth))
        return True

    likely = most_alike(other, own.keyframes[frame_id].features.descriptors, proposals)
    look_around(likely, other.order, look, verifications)
    return Recognised(tuple(pairs[-WAITING:]), frozenset(looked))
