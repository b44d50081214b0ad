"""Two maps of one place made one: keyframes of one recognised in the other, believed when several agree, and joined
with the scale that they say.

Nothing is known of how the two lie to each other, so that odometry cannot tell a look-alike from the place itself:
more has to agree than for a loop. The path: `looked_for` per keyframe → `joined` → pose graph of both → tracks joined →
bundle adjustment of the keyframes where they meet.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spark3r_core.features.tracks import Tracks
from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.graph.problem import Similarities
from spark3r_core.places.agreement import Places, Recognition, agreeing
from spark3r_core.places.index import PlaceIndex
from spark3r_core.stream.adjustment import adjust
from spark3r_core.stream.keyframe_map import KeyframeMap
from spark3r_core.stream.loops import AROUND, MOST_ERROR, Closed, around_loop, join_around
from spark3r_core.stream.map_graph import HOLDING_SHARE, bent_by, loop_edges, map_edges, moved_to, plausible, together
from spark3r_core.stream.place_search import Recognised, looked_for

Array = NDArray[np.float64]

log = logging.getLogger(__name__)

PROPOSALS, VERIFICATIONS = 3, 5  # by appearance for a keyframe; and pairs that are verified, neighbours included
LEAST_PAIRS, LEAST_PICTURES = 4, 3  # that agree; and different pictures of either map in them,
SMALLEST = 2  # or all of one that was given up with fewer; of a single keyframe it is not joined


@dataclass(frozen=True, eq=False)
class Other:
    """A map beside the present one. known: of it (first) and the present one (second)."""

    world: KeyframeMap
    known: Recognised = field(default_factory=Recognised)


class Met(NamedTuple):
    """What came of looking for other maps. map: with those that were joined to it, in the frame and unit of the oldest.
    others: that are left. pairs: of keyframes (earlier, later) by which maps were joined."""

    map: KeyframeMap
    others: tuple[Other, ...]
    pairs: tuple[tuple[int, int], ...] = ()


def meet(
    world: KeyframeMap,
    others: Sequence[Other],
    frame_ids: Sequence[int],
    picture_hw: tuple[int, int],
    *,
    focal_is_known: bool,
    adjusts: bool,
    budget: int | None = None,
) -> Met:
    """Look whether these keyframes show places of other maps, and join those that several agree on.

    adjusts: the keyframes where they meet, at once; else whoever calls adjusts all of them after. budget: of pairs that
    are verified. `world` and those given stay as they are.
    """
    left: list[Other] = []
    pairs: tuple[tuple[int, int], ...] = ()
    for other in others:
        for frame_id in frame_ids:
            if budget is not None and budget <= 0:
                break
            known = looked_for(
                other.known, other.world, world, frame_id,
                in_first=False, proposals=PROPOSALS, verifications=VERIFICATIONS,
            )  # fmt: skip
            if budget is not None:
                budget -= len(known.looked) - len(other.known.looked)
            other = replace(other, known=known)
        found = joined(other, world, picture_hw, reach=1 if adjusts else AROUND)
        if found is None:
            left.append(other)
            continue
        world, pairs = found.map, pairs + found.pairs
        if adjusts:
            chosen, held = around_loop(world, found.pairs)
            world = adjust(world, chosen, held, picture_hw, focal_is_known=focal_is_known, most_error=MOST_ERROR).map
    return Met(world, tuple(left), pairs)


def joined(other: Other, world: KeyframeMap, picture_hw: tuple[int, int], reach: int) -> Closed | None:
    """Both maps as one, in the frame and unit of the older, with the pairs (earlier, later) by which; None where what
    was recognised does not do. reach: keyframes beside those of a pair that are matched with each other."""
    lies = {
        frame_id: keyframe.map_from_keyframe
        for one in (other.world, world)
        for frame_id, keyframe in one.keyframes.items()
    }
    ids = [*other.world.order, *world.order]
    known = [one for one in other.known.pairs if one.first in lies and one.second in lies]
    groups = agreeing(known, lies, ids)
    least = min(LEAST_PICTURES, max(SMALLEST, len(other.world.keyframes))), LEAST_PICTURES
    if not groups or not are_enough(list(itertools.chain(*groups)), least):
        return None
    other_from_world = _relation(groups[0], lies)
    if min(ids) == other.world.order[0]:  # the frame and unit of the older one stay
        lies |= {frame_id: other_from_world @ lies[frame_id] for frame_id in world.order}
    else:
        lies |= {frame_id: other_from_world.inverse() @ lies[frame_id] for frame_id in other.world.order}
    number = {frame_id: i for i, frame_id in enumerate(ids)}
    nodes = Similarities.of([lies[frame_id] for frame_id in ids])
    odometry = together(map_edges(other.world, nodes, number), map_edges(world, nodes, number))
    meeting = together(odometry, loop_edges(groups[0], number))
    believed = [*groups[0], *(one for group in groups[1:] for one in plausible(group, nodes, meeting, number))]
    fixed = other.world.fixed | world.fixed | {min(ids)}
    stays = np.array([frame_id in fixed for frame_id in ids])
    found, holds = bent_by(nodes, odometry, loop_edges(believed, number), stays)
    believed = [one for one, held in zip(believed, holds, strict=True) if held]
    if holds.mean() < HOLDING_SHARE or not are_enough(believed, least):
        log.debug("%d pairs of two maps do not fit together", len(holds))
        return None
    both = united(other.world, world)
    both.keyframes = moved_to(found, both.keyframes, ids, stays)
    pairs = tuple((min(one.first, one.second), max(one.first, one.second)) for one in believed)
    looked, closed = both.places.looked | other.known.looked, both.places.closed + pairs
    both.places = replace(both.places, looked=looked, closed=closed)
    join_around(both, pairs, picture_hw, reach)
    log.debug("maps joined by %s", ", ".join(f"{a}-{b}" for a, b in pairs))
    return Closed(both, pairs)


def united(first: KeyframeMap, second: KeyframeMap) -> KeyframeMap:
    """Keyframes and what joins them of two maps, as they lie; what is known of the camera is the better known one's."""
    surer = min(first, second, key=lambda one: one.focal_std)
    keyframes = {**first.keyframes, **second.keyframes}
    ids = sorted(keyframes)
    features = {one: keyframes[one].features for one in ids}
    places = Places(
        PlaceIndex().with_picture(ids[-1], features),
        (*first.places.recognised, *second.places.recognised),
        first.places.looked | second.places.looked,
        first.places.closed + second.places.closed,
    )
    return replace(
        surer,
        keyframes={one: keyframes[one] for one in ids},
        tracks=_tracks_of(first, second),
        edges=[*first.edges, *second.edges],
        measured=[*first.measured, *second.measured],
        network_focals=[*first.network_focals, *second.network_focals],
        matched=first.matched | second.matched,
        places=places,
        fixed=first.fixed | second.fixed,
    )


def _tracks_of(first: KeyframeMap, second: KeyframeMap) -> Tracks:
    rows = [one.tracks.observations() for one in (first, second)]
    beside = int(rows[0][0].max(initial=-1)) + 1
    rows[1] = (rows[1][0] + beside, *rows[1][1:])
    track, keyframe, feature = (np.concatenate(parts) for parts in zip(*rows, strict=True))
    return Tracks.of(track, keyframe, feature)


def are_enough(believed: Sequence[Recognition], least: Sequence[int]) -> bool:
    """least: pictures of the first and of the second map."""
    pictures = len({one.first for one in believed}), len({one.second for one in believed})
    return len(believed) >= LEAST_PAIRS and pictures[0] >= least[0] and pictures[1] >= least[1]


def _relation(group: Sequence[Recognition], lies: Mapping[int, Sim3]) -> Sim3:
    """other_from_world by the pair in the middle of those that agree, in scale."""
    said = [lies[one.first] @ one.same.first_from_second @ lies[one.second].inverse() for one in group]
    return sorted(said, key=lambda one: one.scale)[len(said) // 2]
