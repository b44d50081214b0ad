"""The linear step of a pose graph: dense as the reference, and by elimination along the chain of keyframes.

Keyframes in the order of time are a chain with few long edges. Nodes at the ends of long edges are put last; all others
then make a band, which is eliminated node by node in time linear in their number; what is left is small and dense.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spark3r_core.graph.problem import UNKNOWNS, Array, Edges

BAND = 6  # keyframes apart, up to which an edge belongs to the chain
DENSE_NODES = 60  # up to which the dense solution is as fast


@dataclass(frozen=True)
class NormalEquations:
    """diagonal (N, 7, 7), gradient (N, 7), off (E, 7, 7) between the nodes first, second (E,); free: (N, 7) unknowns
    that may change."""

    diagonal: Array
    gradient: Array
    off: Array
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    free: NDArray[np.bool_]


def normal_equations(
    residual: Array, by_first: Array, by_second: Array, edges: Edges, weights: Array, free: NDArray[np.bool_]
) -> NormalEquations:
    """Of the weighted least squares problem around the present nodes."""
    information = edges.information * weights[:, None, None]
    from_first = by_first.transpose(0, 2, 1) @ information
    from_second = by_second.transpose(0, 2, 1) @ information
    count = len(free)
    diagonal, gradient = np.zeros((count, UNKNOWNS, UNKNOWNS)), np.zeros((count, UNKNOWNS))
    np.add.at(diagonal, edges.first, from_first @ by_first)
    np.add.at(diagonal, edges.second, from_second @ by_second)
    np.add.at(gradient, edges.first, (from_first @ residual[..., None])[..., 0])
    np.add.at(gradient, edges.second, (from_second @ residual[..., None])[..., 0])
    return NormalEquations(diagonal, gradient, from_first @ by_second, edges.first, edges.second, free)


def solved(system: NormalEquations, damping: float) -> Array:
    """(N, 7) step; zero where nothing is free. damping: share of the diagonal that is added to it."""
    if len(system.free) <= DENSE_NODES:
        return solved_dense(system, damping)
    return solved_along_chain(system, damping)


def solved_dense(system: NormalEquations, damping: float) -> Array:
    """The reference."""
    count = len(system.free)
    blocks = np.zeros((count, UNKNOWNS, count, UNKNOWNS))
    nodes = np.arange(count)
    blocks[nodes, :, nodes, :] = _damped(system, damping)
    for first, second, off in zip(system.first.tolist(), system.second.tolist(), system.off, strict=True):
        blocks[first, :, second] += off
        blocks[second, :, first] += off.T
    size = count * UNKNOWNS
    free = system.free.ravel()
    matrix = blocks.reshape(size, size)[np.ix_(free, free)]
    step = np.zeros(size)
    step[free] = -np.linalg.solve(matrix, system.gradient.ravel()[free])
    return step.reshape(count, UNKNOWNS)


def solved_along_chain(system: NormalEquations, damping: float) -> Array:
    """Nodes of long edges last; the others eliminated as a band (block Cholesky), then the rest solved densely."""
    count = len(system.free)
    may_move = np.asarray(system.free.any(1), bool)
    couples = may_move[system.first] & may_move[system.second]  # an edge to a node that stays joins nothing
    between_first, between_second = system.first[couples], system.second[couples]
    long = np.abs(between_first - between_second) > BAND
    is_last = np.zeros(count, bool)
    is_last[between_first[long]] = is_last[between_second[long]] = True
    chain, last = np.flatnonzero(~is_last), np.flatnonzero(is_last)
    place = np.empty(count, np.int64)
    place[chain], place[last] = np.arange(len(chain)), np.arange(len(last))
    n, m = len(chain), len(last) * UNKNOWNS
    # Free unknowns only: others get a diagonal of one and nothing beside it, so their step is zero.
    mask = system.free.astype(np.float64)
    diagonal = _damped(system, damping) * mask[:, :, None] * mask[:, None]
    diagonal[:, np.arange(UNKNOWNS), np.arange(UNKNOWNS)] += 1 - mask
    gradient = system.gradient * mask
    off = system.off[couples] * mask[between_first][:, :, None] * mask[between_second][:, None]
    band = np.zeros((n, UNKNOWNS, BAND + 1, UNKNOWNS))  # row block i, columns i … i + BAND
    band[:, :, 0] = diagonal[chain]
    border = np.zeros((n, UNKNOWNS, m // UNKNOWNS, UNKNOWNS))  # row block i, columns of the last
    corner = np.zeros((m // UNKNOWNS, UNKNOWNS, m // UNKNOWNS, UNKNOWNS))
    corner[np.arange(len(last)), :, np.arange(len(last))] = diagonal[last]
    for i, j, block in zip(between_first.tolist(), between_second.tolist(), off, strict=True):
        if is_last[i] and is_last[j]:
            corner[place[i], :, place[j]] += block
            corner[place[j], :, place[i]] += block.T
        elif is_last[j]:
            border[place[i], :, place[j]] += block
        elif is_last[i]:
            border[place[j], :, place[i]] += block.T
        else:
            a, b, one = (place[i], place[j], block) if i < j else (place[j], place[i], block.T)
            band[a, :, b - a] += one
    right = np.concatenate([border.reshape(n, UNKNOWNS, m), -gradient[chain][..., None]], 2)
    low, high = corner.reshape(m, m), -gradient[last].ravel()
    for i in range(n):
        reach = min(BAND, n - 1 - i)
        row = np.concatenate([band[i, :, 1 : reach + 1].reshape(UNKNOWNS, -1), right[i]], 1)
        by_pivot = np.linalg.solve(band[i, :, 0], row)
        beside, rest = row[:, : reach * UNKNOWNS], by_pivot[:, : reach * UNKNOWNS]
        update = beside.T @ by_pivot
        for k in range(reach):
            rows = slice(k * UNKNOWNS, (k + 1) * UNKNOWNS)
            band[i + 1 + k, :, : reach - k] -= update[rows, k * UNKNOWNS : reach * UNKNOWNS].reshape(
                UNKNOWNS, reach - k, UNKNOWNS
            )
            right[i + 1 + k] -= update[rows, reach * UNKNOWNS :]
        band[i, :, 1 : reach + 1] = rest.reshape(UNKNOWNS, reach, UNKNOWNS)
        tail = by_pivot[:, reach * UNKNOWNS :]
        low -= right[i][:, :m].T @ tail[:, :m]
        high -= right[i][:, :m].T @ tail[:, m]
        right[i] = tail
    at_last = np.linalg.solve(low, high) if m else np.zeros(0)
    step = np.zeros((count, UNKNOWNS))
    step[last] = at_last.reshape(-1, UNKNOWNS)
    found = np.zeros((n + BAND, UNKNOWNS))
    for i in range(n - 1, -1, -1):
        reach = min(BAND, n - 1 - i)
        ahead = band[i, :, 1 : reach + 1].reshape(UNKNOWNS, -1) @ found[i + 1 : i + 1 + reach].ravel()
        found[i] = right[i, :, m] - right[i, :, :m] @ at_last - ahead
    step[chain] = found[:n]
    return step


def _damped(system: NormalEquations, damping: float) -> Array:
    diagonal = system.diagonal.copy()
    every = np.arange(UNKNOWNS)
    diagonal[:, every, every] *= 1 + damping
    return diagonal
