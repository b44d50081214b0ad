"""Loops closed: places recognised, believed when several agree, the map bent to meet there, and adjusted around it.

Everything works on a draft of the map and gives another one: a loop that comes to nothing leaves no trace but what was
looked at. The path: `remembered` → `proposed` → `verify` → `agreeing` → `is_plausible` → pose graph → tracks joined
→ bundle adjustment of the keyframes around the loop.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry import se3
from spark3r_core.graph.problem import Similarities
from spark3r_core.places.agreement import Places, Recognition, agreeing
from spark3r_core.places.index import PlaceIndex
from spark3r_core.places.verification import SamePlace, verify
from spark3r_core.stream.adjustment import LEAST_SHARED, adjust
from spark3r_core.stream.joined_tracks import join_tracks
from spark3r_core.stream.keyframe_map import KeyframeMap
from spark3r_core.stream.map_graph import HOLDING_SHARE, bent_by, loop_edges, map_edges, moved_to, plausible
from spark3r_core.stream.place_search import by_appearance, look_around, view_of

Array = NDArray[np.float64]

log = logging.getLogger(__name__)

APART = 6  # keyframes between two that may close a loop: nearer ones are neighbours
NEIGHBOURS = 2  # whose neighbours by shared tracks are neighbours too
PROPOSALS = 2  # by appearance, and as many by where the map has them, for a new keyframe
VERIFICATIONS = 4  # of a new keyframe, its proposals' neighbours included
FINAL_VERIFICATIONS = 160  # of all keyframes together, at the end of a file
NEAR_SHIFT, NEAR_TURN = 0.7, 40.0  # median depths and degrees, within which the map itself proposes
WAITING = 40  # recognitions that wait for others that agree
AROUND = 5  # keyframes beside each end of a loop that are matched with those at the other end
MOST_ERROR = 16.0  # pixel sigmas, once the graph has brought both ends together
MOVED, HOLDING = 12, 6  # keyframes around a loop that its adjustment moves, and those that hold them


class Closed(NamedTuple):
    """map: a new one where loops were closed, else the one given with what was looked at. pairs: of keyframes that were
    believed, the earlier first."""

    map: KeyframeMap
    pairs: tuple[tuple[int, int], ...] = ()


def remembered(world: KeyframeMap, frame_id: int) -> None:
    """Make a keyframe of this draft known to place recognition."""
    features = {one: keyframe.features for one, keyframe in world.keyframes.items()}
    world.places = replace(world.places, index=world.places.index.with_picture(frame_id, features))


def opened(world: KeyframeMap, *, is_fixed: bool) -> KeyframeMap:
    """A map that was saved, to go on in: all of its keyframes known to place recognition, which a file does not keep.
    is_fixed: they stay where they are."""
    features = {one: keyframe.features for one, keyframe in world.keyframes.items()}
    places = Places(PlaceIndex().with_picture(max(features), features))
    return replace(world.draft(), places=places, fixed=frozenset(features) if is_fixed else frozenset())


def close_loops(world: KeyframeMap, frame_id: int, picture_hw: tuple[int, int], *, focal_is_known: bool) -> Closed:
    """Look whether a new keyframe shows a place seen before, and close the loop if it does. `world` is a draft."""
    _recognise(world, frame_id, picture_hw)
    return _closed(world, picture_hw, focal_is_known=focal_is_known, adjusts=True)


def close_all_loops(world: KeyframeMap, picture_hw: tuple[int, int], *, focal_is_known: bool) -> Closed:
    """Look for the loops of all keyframes; whoever calls adjusts all of them after. `world` is a draft."""
    order = world.order
    likely = []
    for frame_id in order:
        for score, other in by_appearance(
            world, world.keyframes[frame_id].features.descriptors, _candidates(world, frame_id)
        )[:PROPOSALS]:
            likely.append((score, other, frame_id))
        for score, other in _by_map(world, frame_id, _candidates(world, frame_id))[:PROPOSALS]:
            likely.append((score, other, frame_id))
    left = FINAL_VERIFICATIONS
    for _, other, frame_id in sorted(likely, key=lambda one: (-one[0], one[2], one[1])):
        if left <= 0:
            break
        found = _look(world, other, frame_id, picture_hw)
        left -= found is not None
        if found:  # its neighbours are the ones that can confirm it
            for near, far in around(world, other, frame_id, 1):
                left -= _look(world, near, far, picture_hw) is not None
    return _closed(world, picture_hw, focal_is_known=focal_is_known, adjusts=False)


def _recognise(world: KeyframeMap, frame_id: int, picture_hw: tuple[int, int]) -> None:
    """Verify proposals for a keyframe and, where one is right, its neighbours."""
    candidates = _candidates(world, frame_id)
    queue = [
        other
        for _, other in by_appearance(world, world.keyframes[frame_id].features.descriptors, candidates)[:PROPOSALS]
    ]
    queue += [other for _, other in _by_map(world, frame_id, candidates)[:PROPOSALS] if other not in queue]

    def look(other: int) -> bool | None:
        return _look(world, other, frame_id, picture_hw) if other in candidates else None

    look_around(queue, world.order, look, VERIFICATIONS)


def _candidates(world: KeyframeMap, frame_id: int) -> list[int]:
    """Earlier keyframes that could close a loop with this one: not its neighbours, in time or by shared tracks."""
    earlier = [other for other in world.order if other < frame_id][:-APART]
    shared = world.tracks.shared(frame_id)
    near = sorted((other for other in shared if shared[other] >= LEAST_SHARED), key=lambda one: (-shared[one], one))
    known = set(near)
    for other in near[:NEIGHBOURS]:
        known |= {third for third, count in world.tracks.shared(other).items() if count >= LEAST_SHARED}
    return [other for other in earlier if other not in known]


def _by_map(world: KeyframeMap, frame_id: int, candidates: Sequence[int]) -> list[tuple[float, int]]:
    """Keyframes that lie near in the map and look the same way, nearest first; their score is at most that of a picture
    that is very like."""
    if not candidates:
        return []
    key = world.keyframes[frame_id]
    size = float(np.nanmedian(key.feature_depth)) * key.scale if np.isfinite(key.feature_depth).any() else 0.0
    poses = np.stack([world.keyframes[other].world_from_camera for other in candidates])
    shift = np.linalg.norm(poses[:, :3, 3] - key.world_from_camera[:3, 3], axis=1) / max(size, 1e-9)
    turn = np.degrees(se3.relative_angle(poses, key.world_from_camera))
    off = shift / NEAR_SHIFT + turn / NEAR_TURN
    return [(float(1 - off[i]) / 2, candidates[i]) for i in np.argsort(off, kind="stable") if off[i] < 1]


def _look(world: KeyframeMap, other: int, frame_id: int, picture_hw: tuple[int, int]) -> bool | None:
    """Verify one pair and keep what comes of it: whether it is one place; None where the pair was looked at before."""
    pair = (other, frame_id)
    places = world.places
    if pair in places.looked:
        return None
    first = view_of(world, other, picture_hw)
    same = verify(first, view_of(world, frame_id, picture_hw))
    world.places = replace(places, looked=places.looked | {pair})
    if not isinstance(same, SamePlace):
        log.debug("keyframes %d and %d: %s", other, frame_id, same)
        return False
    found = Recognition(other, frame_id, same, first.median_depth)
    world.places = replace(world.places, recognised=(*world.places.recognised, found)[-WAITING:])
    return True


def around(world: KeyframeMap, first: int, second: int, reach: int) -> list[tuple[int, int]]:
    """Pairs (earlier, later) of the keyframes around two, the two themselves left out, that are not neighbours."""
    order = world.order
    a, b = order.index(first), order.index(second)
    near = order[max(0, a - reach) : a + reach + 1]
    far = order[max(0, b - reach) : b + reach + 1]
    return [(one, other) for one in near for other in far if one < other and (one, other) != (first, second)]


def _closed(world: KeyframeMap, picture_hw: tuple[int, int], *, focal_is_known: bool, adjusts: bool) -> Closed:
    """Close what the recognitions that wait agree on."""
    lies = {frame_id: keyframe.map_from_keyframe for frame_id, keyframe in world.keyframes.items()}
    order = world.order
    groups = agreeing([one for one in world.places.recognised if one.first in lies], lies, order)
    if not groups:
        return Closed(world)
    number = {frame_id: i for i, frame_id in enumerate(order)}
    nodes = Similarities.of([lies[frame_id] for frame_id in order])
    held_together = map_edges(world, nodes, number)
    believed = [one for group in groups for one in plausible(group, nodes, held_together, number)]
    if not believed:
        return Closed(world)
    stays = np.array([i == 0 or frame_id in world.fixed for i, frame_id in enumerate(order)])
    found, holds = bent_by(nodes, held_together, loop_edges(believed, number), stays)
    if holds.mean() < HOLDING_SHARE:
        log.debug("loops of %d pairs do not fit the map", len(holds))
        return Closed(world)
    believed = [one for one, held in zip(believed, holds, strict=True) if held]
    after = replace(world, keyframes=moved_to(found, world.keyframes, order, stays))
    pairs = tuple((one.first, one.second) for one in believed)
    waiting = tuple(one for one in world.places.recognised if one not in believed)
    after.places = replace(world.places, recognised=waiting, closed=world.places.closed + pairs)
    join_around(after, pairs, picture_hw, AROUND if not adjusts else 1)
    log.debug("loops closed: %s", ", ".join(f"{a}-{b}" for a, b in pairs))
    if adjusts:
        chosen, held = around_loop(after, pairs)
        after = adjust(after, chosen, held, picture_hw, focal_is_known=focal_is_known, most_error=MOST_ERROR).map
    return Closed(after, pairs)


def join_around(world: KeyframeMap, pairs: Sequence[tuple[int, int]], picture_hw: tuple[int, int], reach: int) -> None:
    """Join the tracks of recognised pairs (earlier, later) in this draft, and of the keyframes around them, `reach` to
    either side, that the map has so near each other that matching them is worth its time."""
    for first, second in pairs:
        join_tracks(world, second, [first], picture_hw)
    for pair in pairs:
        for first, second in around(world, *pair, reach):
            if (first, second) not in world.matched and _by_map(world, second, [first]):
                join_tracks(world, second, [first], picture_hw)


def around_loop(world: KeyframeMap, pairs: Sequence[tuple[int, int]]) -> tuple[list[int], set[int]]:
    """Keyframes of an adjustment around the pairs of a loop, and which of them hold it."""
    ends = sorted({end for pair in pairs for end in pair})
    ranked = [other for other, count in world.tracks.shared_by_all(ends).items() if count >= LEAST_SHARED]
    moving = ends[:MOVED] + [other for other in ranked if other not in ends][: max(0, MOVED - len(ends))]
    held = [other for other in ranked if other not in moving][:HOLDING]
    if not held:
        held = [min(moving)]
        moving.remove(held[0])
    return sorted([*moving, *held]), set(held)
