"""A graph bent to positions that are known of some of its nodes, as far as these can foretell each other.

Drift is slow: it leaves what neighbours say of each other almost as it is. Noise is not. So how stiff the graph is to
be follows from the positions themselves: it is bent by one half of them, stiff and less stiff, and the other half, in
blocks between the first, says what was gained. The stiffest graph wins that is within one standard error of the best;
where that is the one that only moves as a whole, nothing is bent (cross-validation with the rule of one standard error:
Hastie, Tibshirani, Friedman, *The Elements of Statistical Learning*, 2009, section 7.10).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.graph.problem import UNKNOWNS, Array, Edges, Index, Similarities
from spark3r_core.graph.solve import solve

RIGID = 1e-3  # of the edges' sigmas
SLACK = (RIGID, 0.03, 0.1, 0.3, 1.0)
BLOCK = 3  # positions in a row that are left out together
FALSE_SIGMAS = 3.4  # of three numbers, beyond which a position is false: exceeded once in 100 by chance
LEAST_HELD = 0.5  # of the positions that the bent graph must agree with


@dataclass(frozen=True, eq=False)
class NodePlaces:
    """Of M nodes: which (M,), metres and stds (M, 3)."""

    nodes: Index
    metres: Array
    stds: Array

    def part(self, chosen: NDArray[np.bool_]) -> NodePlaces:
        return NodePlaces(self.nodes[chosen], self.metres[chosen], self.stds[chosen])


@dataclass(frozen=True, eq=False)
class BentToPlaces:
    """nodes: where they lie now, the first one where it was. slack: of the edges. held: how many positions agree."""

    nodes: Similarities
    slack: float
    held: int


def bent_to_places(
    nodes: Similarities, edges: Edges, places: NodePlaces, metres_from_graph: Sim3
) -> BentToPlaces | None:
    """None where the positions do not ask for it, or most of them do not hold even then.

    metres_from_graph: about where the graph lies among the positions.
    """
    there = _moved_whole(metres_from_graph, nodes)
    slack = _slack(there, edges, places)
    if slack == RIGID:
        return None
    bent, holds = _bent(there, edges, places, slack)
    if holds.mean() < LEAST_HELD:
        return None
    back = nodes.one(0) @ bent.one(0).inverse()
    return BentToPlaces(_moved_whole(back, bent), slack, int(holds.sum()))


def _slack(nodes: Similarities, edges: Edges, places: NodePlaces) -> float:
    """The stiffest that foretells what was left out as well as the best does."""
    is_odd = np.arange(len(places.nodes)) // BLOCK % 2 == 1
    off = np.zeros((len(SLACK), len(is_odd)))
    for row, slack in enumerate(SLACK):
        for left_out in (is_odd, ~is_odd):
            bent, _ = _bent(nodes, edges, places.part(~left_out), slack)
            tested = places.part(left_out)
            error = (bent.translation[tested.nodes] - tested.metres) / tested.stds
            squares = np.square(error).sum(1) / FALSE_SIGMAS**2
            off[row, left_out] = squares / (1 + squares)  # Geman-McClure: false ones are false either way
    best = int(off.mean(1).argmin())
    for row, slack in enumerate(SLACK):
        gained = off[row] - off[best]
        error = float(gained.std(ddof=1)) / np.sqrt(len(gained))
        if float(gained.mean()) <= error:
            return slack
    raise AssertionError("the best is as good as itself")


def _bent(
    nodes: Similarities, edges: Edges, places: NodePlaces, slack: float
) -> tuple[Similarities, NDArray[np.bool_]]:
    """All nodes moved, among positions that stay; and which positions (M,) hold."""
    count = len(nodes)
    still = Similarities(np.ones(1), np.eye(3)[None], np.zeros((1, 3)))
    lies = nodes[places.nodes]
    at = Similarities(lies.scale, lies.rotation, places.metres)
    information = np.zeros((len(at), UNKNOWNS, UNKNOWNS))
    information[:, [0, 1, 2], [0, 1, 2]] = 1 / np.square(places.stds)
    positions = Edges(np.full(len(at), count), places.nodes, at, information, np.ones(len(at), bool))
    stiff = replace(edges, information=edges.information / slack**2)
    both = Edges(
        np.concatenate([stiff.first, positions.first]),
        np.concatenate([stiff.second, positions.second]),
        stiff.measured.followed_by(at),
        np.concatenate([stiff.information, information]),
        np.concatenate([stiff.doubted, positions.doubted]),
    )
    fixed = np.zeros(count + 1, bool)
    fixed[-1] = True
    found = solve(nodes.followed_by(still), both, fixed, bound=FALSE_SIGMAS)
    return found.nodes[np.arange(count)], found.holds(both)[len(edges) :]


def _moved_whole(target_from_source: Sim3, nodes: Similarities) -> Similarities:
    return Similarities(
        target_from_source.scale * nodes.scale,
        target_from_source.rotation @ nodes.rotation,
        target_from_source.apply_to_points(nodes.translation),
    )
