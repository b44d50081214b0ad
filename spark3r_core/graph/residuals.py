"""By how much nodes and edges disagree, and how that changes as nodes move.

With P = X_i^-1 X_j the predicted and M the measured similarity of an edge, the residual is
[t_P - t_M, log(R_M^T R_P), log(s_P / s_M)]: a chart of M^-1 P that keeps translation in the frame and unit of the first
node, where its uncertainty is known. Nodes move in their own frames (`Similarities.moved`). Derivatives follow from
the right Jacobian of SO(3): Solà, Deray, Atchuthan, *A micro Lie theory for state estimation in robotics*, 2018,
equation 144.
"""

from __future__ import annotations

import numpy as np

from spark3r_core.geometry.rotation import log_so3, skew
from spark3r_core.graph.problem import UNKNOWNS, Array, Edges, Similarities


def residuals(nodes: Similarities, edges: Edges) -> Array:
    """(E, 7)."""
    return _residuals(nodes.relative(edges.first, edges.second), edges)


def squared_lengths(residual: Array, edges: Edges) -> Array:
    """(E,) squared lengths in sigmas."""
    return np.asarray(np.einsum("ei,eij,ej->e", residual, edges.information, residual))


def jacobians(nodes: Similarities, edges: Edges) -> tuple[Array, Array, Array]:
    """(E, 7) residuals, and (E, 7, 7) their derivatives by a step of the first and of the second node."""
    predicted = nodes.relative(edges.first, edges.second)
    residual = _residuals(predicted, edges)
    by_first = np.zeros((len(edges), UNKNOWNS, UNKNOWNS))
    by_second = np.zeros_like(by_first)
    inverse = _inverse_right_jacobian(residual[:, 3:6])
    by_first[:, :3, :3] = -np.eye(3)
    by_first[:, :3, 3:6] = skew(predicted.translation)
    by_first[:, :3, 6] = -predicted.translation
    by_first[:, 3:6, 3:6] = -inverse @ predicted.rotation.transpose(0, 2, 1)
    by_first[:, 6, 6] = -1.0
    by_second[:, :3, :3] = predicted.scale[:, None, None] * predicted.rotation
    by_second[:, 3:6, 3:6] = inverse
    by_second[:, 6, 6] = 1.0
    return residual, by_first, by_second


def numerical_jacobians(nodes: Similarities, edges: Edges, step: float = 1e-6) -> tuple[Array, Array, Array]:
    """The same by central differences: the reference of `jacobians`."""
    ends = Edges(
        np.arange(len(edges)), np.arange(len(edges)) + len(edges), edges.measured, edges.information, edges.doubted
    )
    pairs = [nodes[edges.first], nodes[edges.second]]
    found = np.zeros((2, len(edges), UNKNOWNS, UNKNOWNS))
    for end in (0, 1):
        for unknown in range(UNKNOWNS):
            sides = []
            for sign in (1, -1):
                change = np.zeros((len(edges), UNKNOWNS))
                change[:, unknown] = sign * step
                moved = [pair.moved(change) if which == end else pair for which, pair in enumerate(pairs)]
                sides.append(residuals(moved[0].followed_by(moved[1]), ends))
            found[end, :, :, unknown] = (sides[0] - sides[1]) / (2 * step)
    return residuals(nodes, edges), found[0], found[1]


def _residuals(predicted: Similarities, edges: Edges) -> Array:
    measured = edges.measured
    turn = log_so3(measured.rotation.transpose(0, 2, 1) @ predicted.rotation)
    growth = np.log(predicted.scale / measured.scale)
    return np.concatenate([predicted.translation - measured.translation, turn, growth[:, None]], 1)


def _inverse_right_jacobian(phi: Array) -> Array:
    """(E, 3, 3) of rotation vectors (E, 3)."""
    hat = skew(phi)
    angle = np.linalg.norm(phi, axis=1)[:, None, None]
    safe = np.maximum(angle, 1e-2)
    series = 1 / 12 + angle**2 / 720 + angle**4 / 30240
    exact = (1 - 0.5 * safe / np.tan(0.5 * safe)) / safe**2
    return np.asarray(np.eye(3) + 0.5 * hat + np.where(angle < 1e-2, series, exact) * (hat @ hat))
