"""Nodes of a pose graph moved until its edges agree, those that are false left aside.

Gauss-Newton with Levenberg's damping; what doubted edges count for follows graduated non-convexity with Geman-McClure's
kernel: Yang, Antonante, Tzoumas, Carlone, *Graduated non-convexity for robust spatial perception*, 2020. It begins with
all edges counting alike, so that a true loop is not refused because drift had made it look far off.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spark3r_core.graph.linear import normal_equations, solved
from spark3r_core.graph.problem import UNKNOWNS, Array, Edges, Similarities
from spark3r_core.graph.residuals import jacobians, residuals, squared_lengths

NOISE_BOUND = 4.0  # sigmas of seven numbers beyond which a doubted edge is false: exceeded once in 60 by chance
SLOWER = 1.6  # by which the surrogate's width shrinks: 1.4 in the paper, where noise bounds are exact
FALSE_BELOW = 0.25  # weight: of an edge that is off by the noise bound
FIRST_DAMPING, LEAST_DAMPING, MOST_DAMPING = 1e-6, 1e-9, 1e8
SETTLED = 1e-5  # share of the cost by which a step must lower it for another to follow
STEPS_PER_WIDTH, LAST_STEPS = 2, 15


@dataclass(frozen=True)
class Solved:
    """nodes: where they lie now. weights: (E,) in [0, 1] what an edge counted for in the end, 1 where not doubted.
    sigmas: (E,) how far off each is."""

    nodes: Similarities
    weights: Array
    sigmas: Array

    def holds(self, edges: Edges) -> NDArray[np.bool_]:
        """(E,) which edges the graph agrees with."""
        return ~edges.doubted | (self.weights >= FALSE_BELOW)


def solve(
    nodes: Similarities,
    edges: Edges,
    fixed: NDArray[np.bool_],
    *,
    scale_is_held: bool = False,
    bound: float = NOISE_BOUND,
) -> Solved:
    """Move the nodes that are not fixed.

    fixed: (N,); at least one, else nothing says where the whole lies. scale_is_held: nodes keep their scales (SE(3)).
    bound: sigmas beyond which a doubted edge is false. Raises ValueError without a fixed node or with unequal lengths.
    """
    if len(fixed) != len(nodes) or not fixed.any():
        raise ValueError(f"{int(fixed.sum())} of {len(nodes)} nodes are fixed; expected one or more, and one flag each")
    free = np.repeat(~fixed[:, None], UNKNOWNS, axis=1)
    if scale_is_held:
        free[:, 6] = False
    weights = np.ones(len(edges))
    squares = squared_lengths(residuals(nodes, edges), edges)
    if edges.doubted.any():
        width = max(1.0, 2 * float(squares[edges.doubted].max()) / bound**2)
        while width > 1.0:
            weights = _weights(squares, edges, width, bound)
            nodes = _descended(nodes, edges, free, weights, STEPS_PER_WIDTH)
            squares = squared_lengths(residuals(nodes, edges), edges)
            width = max(1.0, width / SLOWER)
    for _ in range(LAST_STEPS if edges.doubted.any() else 1):
        weights = _weights(squares, edges, 1.0, bound)
        nodes = _descended(nodes, edges, free, weights, STEPS_PER_WIDTH if edges.doubted.any() else LAST_STEPS)
        before, squares = squares, squared_lengths(residuals(nodes, edges), edges)
        if abs(float((weights * (before - squares)).sum())) < SETTLED * float((weights * before).sum()) + 1e-12:
            break
    return Solved(nodes, _weights(squares, edges, 1.0, bound), np.sqrt(np.maximum(squares, 0)))


def _weights(squares: Array, edges: Edges, width: float, bound: float) -> Array:
    widened = width * bound**2
    return np.where(edges.doubted, np.square(widened / (squares + widened)), 1.0)


def _descended(nodes: Similarities, edges: Edges, free: NDArray[np.bool_], weights: Array, steps: int) -> Similarities:
    """Some steps downhill at fixed weights."""
    damping = FIRST_DAMPING
    cost = _cost(nodes, edges, weights)
    for _ in range(steps):
        system = normal_equations(*jacobians(nodes, edges), edges, weights, free)
        while damping < MOST_DAMPING:
            moved = nodes.moved(solved(system, damping))
            after = _cost(moved, edges, weights)
            if after <= cost:
                break
            damping *= 10
        else:
            return nodes
        settled = cost - after <= SETTLED * cost
        nodes, cost, damping = moved, after, max(damping / 10, LEAST_DAMPING)
        if settled:
            break
    return nodes


def _cost(nodes: Similarities, edges: Edges, weights: Array) -> float:
    return float((weights * squared_lengths(residuals(nodes, edges), edges)).sum())
