"""Ways between nodes of a graph: how far odometry went, and how wrong a loop asks it to have been."""

from __future__ import annotations

import heapq
import math

import numpy as np

from spark3r_core.geometry.rotation import rotation_angle
from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.graph.problem import Edges, Similarities

# Of the way, and of the place's median depth: true loops asked for up to half of that depth and a twelfth of long ways.
# Equal rooms on one corridor ask for a quarter of the way from one into the other, and 1.1 depths and more.
DRIFT_OF_WAY, DRIFT_ANYHOW = 0.12, 0.4
# An edge that asks for more of another scale says that ways are of several units: so much of the rest counts then.
MOST_RESCALED, OF_SEVERAL_UNITS = 2.0, 0.4
# Of the logarithm of the scale, and of it for each depth of the place that the way is long: a room that drift has made
# small lies on its equal, and where a way is short nothing but the scale tells. True loops asked for 1.7 to 2.0 after
# 20 to 28 depths, equal rooms for 1.2 to 1.5 after 5 to 8.
SCALE_ANYHOW, SCALE_OF_WAY = 0.4, 0.08
DRIFT_OF_TURN, TURN_ANYHOW = 0.3, 15.0  # of all turns on the way, since a focal length may be a fifth off; degrees


def ways_from(start: int, nodes: Similarities, edges: Edges) -> dict[int, tuple[float, float]]:
    """By node: length of the shortest way from `start` along edges, and the turns on it in degrees."""
    lengths = np.linalg.norm(nodes.translation[edges.first] - nodes.translation[edges.second], axis=1)
    relative = nodes.relative(edges.first, edges.second)
    traces = (np.trace(relative.rotation, axis1=1, axis2=2) - 1) / 2
    turns = np.degrees(np.arccos(np.clip(traces, -1, 1)))
    beside: dict[int, list[tuple[int, float, float]]] = {}
    for a, b, length, turn in zip(
        edges.first.tolist(), edges.second.tolist(), lengths.tolist(), turns.tolist(), strict=True
    ):
        beside.setdefault(a, []).append((b, length, turn))
        beside.setdefault(b, []).append((a, length, turn))
    found: dict[int, tuple[float, float]] = {}
    heap = [(0.0, start, 0.0)]
    while heap:
        length, node, turn = heapq.heappop(heap)
        if node in found:
            continue
        found[node] = (length, turn)
        for other, further, turned in beside.get(node, []):
            if other not in found:
                heapq.heappush(heap, (length + further, other, turn + turned))
    return found


def is_plausible(
    nodes: Similarities, first: int, second: int, first_from_second: Sim3, size: float, way: tuple[float, float]
) -> bool:
    """Whether odometry can have been as wrong as an edge says: two equal rooms ask more of it than a true loop does.

    size: median depth of the first node, in its unit. way: length and turns between the two, see `ways_from`. Where the
    edge says that the second is of a smaller scale than the map has it, the size counts that lies between both.
    """
    length, turns = way
    there = nodes.one(first) @ first_from_second
    rescaled = float(there.scale / nodes.scale[second])
    size *= min(1.0, rescaled**-0.5)
    shift = float(np.linalg.norm(there.translation - nodes.translation[second]))
    turn = float(np.degrees(rotation_angle(there.rotation.T @ nodes.rotation[second])))
    depth = size * float(nodes.scale[first])
    most_shift = DRIFT_OF_WAY * length + DRIFT_ANYHOW * depth
    if abs(math.log(rescaled)) > SCALE_ANYHOW + SCALE_OF_WAY * length / depth:
        return False
    if max(rescaled, 1 / rescaled) > MOST_RESCALED:
        most_shift *= OF_SEVERAL_UNITS
    return shift <= most_shift and turn <= DRIFT_OF_TURN * turns + TURN_ANYHOW
