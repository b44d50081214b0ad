"""The map of keyframes as a pose graph: its edges, those that recognised places add, and where both want nodes."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry import se3
from spark3r_core.graph.problem import Edges, Similarities
from spark3r_core.graph.solve import solve
from spark3r_core.graph.ways import is_plausible, ways_from
from spark3r_core.places.agreement import Recognition
from spark3r_core.stream.adjustment import LEAST_SHARED
from spark3r_core.stream.hinted import measures_way
from spark3r_core.stream.keyframe_map import Keyframe, KeyframeMap
from spark3r_core.stream.parts import Parts

log = logging.getLogger(__name__)

MOST_EDGES = 5  # of a keyframe to those that share most tracks with it
WEAK = np.array([0.15] * 3 + [0.05] * 3 + [0.3])  # sigmas of an edge that no tracks hold: median depths, radians, log
STRONG = np.array([0.05] * 3 + [0.02] * 3 + [0.1])  # that a hundred tracks hold; their errors depend on each other
SLACK = (1.0, 4.0, 16.0)  # factors of these sigmas, tried in turn
HOLDING_SHARE = 0.5  # of the believed pairs that the bent map must agree with


def map_edges(world: KeyframeMap, nodes: Similarities, number: dict[int, int]) -> Edges:
    """The map as it is: edges between keyframes that were tracked on each other, between those that share most tracks,
    and between those that follow each other where nothing else joins them (not where one part of the map ends and
    another begins). Where no tracks hold an edge, another sensor that measured the way does, with the deviation that it
    said."""
    order = world.order
    shared = world.tracks.covisibility(LEAST_SHARED)
    strongest: dict[int, list[tuple[int, tuple[int, int]]]] = {}
    for pair, count in shared.items():
        for end in pair:
            strongest.setdefault(end, []).append((-count, pair))
    pairs = {pair for found in strongest.values() for _, pair in sorted(found)[:MOST_EDGES]}
    tracked = {(min(edge.first, edge.second), max(edge.first, edge.second)) for edge in world.edges}
    pairs |= {pair for pair in itertools.pairwise(order) if pair in shared or pair in tracked}
    pairs |= {pair for pair in tracked if pair[0] in number and pair[1] in number}
    chosen = sorted(pairs | _bridges(order, pairs | set(world.places.closed)))
    first = np.array([number[a] for a, _ in chosen], np.int64)
    second = np.array([number[b] for _, b in chosen], np.int64)
    counts = np.array([shared.get(pair, 0) for pair in chosen], np.float64)
    sizes = np.array([_size(world, a) for a, _ in chosen])
    sigmas = np.where(counts[:, None] > 0, STRONG / np.sqrt(np.clip(counts, 1, 400) / 100)[:, None], WEAK)
    sigmas = np.minimum(sigmas, WEAK)
    sigmas[:, :3] *= sizes[:, None]
    information = np.zeros((len(chosen), 7, 7))
    information[:, np.arange(7), np.arange(7)] = 1 / np.square(sigmas)
    lies = nodes.relative(first, second)
    measured = {(edge.first, edge.second): edge for edge in world.measured if measures_way(edge)}
    for row, pair in enumerate(chosen):
        if counts[row] == 0 and pair in measured:
            first_from_second = se3.invert(measured[pair].second_from_first)
            lies.rotation[row], lies.translation[row] = first_from_second[:3, :3], first_from_second[:3, 3]
            information[row, :6, :6] = measured[pair].information
    return Edges(first, second, lies, information, np.zeros(len(chosen), bool))


def _bridges(order: Sequence[int], pairs: AbstractSet[tuple[int, int]]) -> set[tuple[int, int]]:
    """Neighbours in time by which what these pairs leave apart is one graph."""
    parts = Parts(order)
    for first, second in sorted(pairs):
        parts.join(first, second)
    return {pair for pair in itertools.pairwise(order) if parts.join(*pair)}


def loop_edges(believed: Sequence[Recognition], number: dict[int, int]) -> Edges:
    return Edges(
        np.array([number[one.first] for one in believed], np.int64),
        np.array([number[one.second] for one in believed], np.int64),
        Similarities.of([one.same.first_from_second for one in believed]),
        np.stack([one.same.information for one in believed]),
        np.ones(len(believed), bool),
    )


def bent_by(
    nodes: Similarities, odometry: Edges, loops: Edges, stays: NDArray[np.bool_]
) -> tuple[Similarities, NDArray[np.bool_]]:
    """Nodes as the loops want them, and which loops hold. Odometry is believed as its matches say, and if the loops do
    not hold, less: errors of a whole way depend on each other where the focal length is wrong. stays: (N,) of nodes."""
    holds = np.zeros(len(loops), bool)
    bent = nodes
    for slack in SLACK:
        edges = together(replace(odometry, information=odometry.information / slack**2), loops)
        found = solve(nodes, edges, stays)
        bent, holds = found.nodes, found.holds(edges)[len(odometry) :]
        if holds.mean() >= HOLDING_SHARE:
            break
    return bent, holds


def moved_to(
    nodes: Similarities, keyframes: Mapping[int, Keyframe], ids: Sequence[int], stays: NDArray[np.bool_]
) -> dict[int, Keyframe]:
    """Keyframes where the nodes (N,) of these ids (N,) lie, but those that stay (N,)."""
    after = dict(keyframes)
    for i, frame_id in enumerate(ids):
        if not stays[i]:
            lies = nodes.one(i)
            pose = se3.require_se3(se3.make_pose(lies.rotation, lies.translation))
            after[frame_id] = keyframes[frame_id].moved(pose, lies.scale)
    return after


def plausible(
    group: Sequence[Recognition], nodes: Similarities, edges: Edges, number: dict[int, int]
) -> list[Recognition]:
    ways = {first: ways_from(number[first], nodes, edges) for first in sorted({one.first for one in group})}
    kept = []
    for one in group:
        way = ways[one.first].get(number[one.second])
        if way is not None and is_plausible(
            nodes, number[one.first], number[one.second], one.same.first_from_second, one.size, way
        ):
            kept.append(one)
        else:
            log.debug("keyframes %d and %d look alike, but lie too far apart", one.first, one.second)
    return kept if len(kept) > len(group) / 2 else []


def together(a: Edges, b: Edges) -> Edges:
    measured = Similarities(
        np.concatenate([a.measured.scale, b.measured.scale]),
        np.concatenate([a.measured.rotation, b.measured.rotation]),
        np.concatenate([a.measured.translation, b.measured.translation]),
    )
    return Edges(
        np.concatenate([a.first, b.first]),
        np.concatenate([a.second, b.second]),
        measured,
        np.concatenate([a.information, b.information]),
        np.concatenate([a.doubted, b.doubted]),
    )


def _size(world: KeyframeMap, frame_id: int) -> float:
    """Median depth of a keyframe in its unit."""
    depth = world.keyframes[frame_id].depth
    return max(float(np.median(depth)), 1e-6)
