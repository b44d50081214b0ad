"""Which keyframes a map of bounded bytes keeps, and the map without the others. Pure functions.

A keyframe is worth little where those before and after it are near in time, and where what it sees is seen by others
(ORB-SLAM, Mur-Artal et al., 2015, drops keyframes nine tenths of whose points three others see). Its worth is the
product: the time that its neighbours lie apart, times the share of its points that fewer than two others see. That of
least worth goes, then the next, each counted anew.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry import se3
from spark3r_core.stream.keyframe_map import KeyframeMap, TrackedEdge

Array = NDArray[np.float64]

LEAST_OTHERS = 2  # keyframes that must see a point for it to stay where it is without this one
PRIOR_POINTS = 10.0  # that are counted as seen by nobody else: few points say little


def to_drop(world: KeyframeMap, max_bytes: int, protected: Collection[int] = ()) -> list[int]:
    """Frame ids to drop, in this order, for the map to have at most `max_bytes`.

    The first, the newest, the map's fixed and `protected` ones (what is tracked on) are never among them, so that a map
    of these alone may stay larger. The ends of loops go last: where a camera passes the same places again and again,
    all keyframes are such ends in time.
    """
    order = world.order
    excess = world.nbytes - max_bytes
    if excess <= 0 or len(order) < 3:
        return []
    kept = {order[0], order[-1], *protected, *world.fixed}
    ends = {frame_id for pair in world.places.closed for frame_id in pair}
    time = {frame_id: world.keyframes[frame_id].time_s for frame_id in order}
    track, keyframe, _ = world.tracks.observations()
    views = np.bincount(track)
    joined = views[track] > 1
    tracks_of = {frame_id: track[joined & (keyframe == frame_id)] for frame_id in order}
    dropped: list[int] = []
    while excess > 0:
        worth = [
            (frame_id in ends, _alone(views, tracks_of[frame_id]) * (abs(time[after] - time[before]) + 1e-9), frame_id)
            for before, frame_id, after in zip(order, order[1:], order[2:], strict=False)
            if frame_id not in kept
        ]
        if not worth:
            break
        *_, least = min(worth)
        views[tracks_of[least]] -= 1
        excess -= world.keyframes[least].nbytes
        order.remove(least)
        dropped.append(least)
    return dropped


def thinned_together(worlds: Sequence[KeyframeMap], max_bytes: int | None) -> tuple[list[KeyframeMap], tuple[int, ...]]:
    """Several maps thinned, each by the same share, to have at most `max_bytes` in all; and the keyframes that were
    dropped. None: no limit."""
    total = sum(world.nbytes for world in worlds)
    if max_bytes is None or total <= max_bytes:
        return list(worlds), ()
    kept, gone = [], []
    for world in worlds:
        dropped = to_drop(world, world.nbytes * max_bytes // total)
        kept.append(without(world, dropped))
        gone += dropped
    return kept, tuple(gone)


def _alone(views: NDArray[np.int64], tracks: NDArray[np.int64]) -> float:
    """Share of a keyframe's points that too few others see. views: keyframes that see each track; tracks: its own."""
    alone = float((views[tracks] <= LEAST_OTHERS).sum())
    return (alone + PRIOR_POINTS) / (len(tracks) + PRIOR_POINTS)


def without(world: KeyframeMap, frame_ids: Collection[int]) -> KeyframeMap:
    """The map without these keyframes; the one given stays as it is.

    Their tracks go with them. Where an edge led over one of them, its neighbours are joined by what both edges say
    together: no keyframe is left unconnected by it, and there are never more edges than before.
    """
    if not frame_ids:
        return world
    after = world.draft()
    for frame_id in frame_ids:
        after.edges = _edges_without(after, frame_id)
        after.measured = [edge for edge in after.measured if frame_id not in (edge.first, edge.second)]
        after.tracks.drop(frame_id)
        after.matched = {pair for pair in after.matched if frame_id not in pair}
        del after.keyframes[frame_id]
    after.places = after.places.without(frozenset(frame_ids))
    return after


def _edges_without(world: KeyframeMap, frame_id: int) -> list[TrackedEdge]:
    """Its neighbours are joined to one of them, the one that it was tracked on if there is one."""
    here = [edge for edge in world.edges if frame_id in (edge.first, edge.second)]
    others = [edge for edge in world.edges if frame_id not in (edge.first, edge.second)]
    leaving = [edge if edge.first == frame_id else inverted(edge, world) for edge in here]
    if len(leaving) < 2:
        return others
    hub = min(range(len(here)), key=lambda i: (here[i].second != frame_id, leaving[i].second))
    from_hub = inverted(leaving[hub], world)
    joined = [chained(from_hub, leaving[i], world) for i in range(len(leaving)) if i != hub]
    return others + [edge for edge in joined if edge.first != edge.second]


def chained(first: TrackedEdge, second: TrackedEdge, world: KeyframeMap) -> TrackedEdge:
    """a -> c from a -> b and b -> c, errors taken as independent: the covariance is the second's and the first's seen
    from c (Barfoot, *State Estimation for Robotics*, 2017, §7.3), all in the unit of a's depth."""
    assert first.second == second.first, "edges that do not meet"
    step, size = _in_unit_of(second, first.first, world)
    seen = se3.adjoint(step)
    covariance = size @ _inverse(second.information) @ size + seen @ _inverse(first.information) @ seen.T
    pose = se3.compose(step, first.second_from_first)
    return TrackedEdge(first.first, second.second, pose, _inverse(covariance))


def inverted(edge: TrackedEdge, world: KeyframeMap) -> TrackedEdge:
    """b -> a from a -> b, in the unit of b's depth."""
    pose, size = _in_unit_of(edge, edge.second, world)
    back = se3.invert(pose)
    seen = se3.adjoint(back)
    covariance = seen @ (size @ _inverse(edge.information) @ size) @ seen.T
    return TrackedEdge(edge.second, edge.first, back, _inverse(covariance))


def _in_unit_of(edge: TrackedEdge, frame_id: int, world: KeyframeMap) -> tuple[Array, Array]:
    """An edge's pose with its translation in the unit of another keyframe's depth, and (6, 6) what takes its twists
    there."""
    ratio = world.keyframes[edge.first].scale / world.keyframes[frame_id].scale
    pose = edge.second_from_first.copy()
    pose[:3, 3] *= ratio
    return pose, np.diag([ratio] * 3 + [1.0] * 3)


def _inverse(matrix: Array) -> Array:
    """Of a symmetric (6, 6) without negative eigenvalues; what is zero becomes very large, not zero."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    found = (vectors / np.maximum(values, 1e-14 * max(float(values[-1]), 1.0))) @ vectors.T
    return np.asarray((found + found.T) / 2, np.float64)
