"""A pose graph with drift: loops close it, false loops do not bend it, and the fast paths equal the plain ones."""

from __future__ import annotations

import numpy as np
import pytest

from spark3r_core.geometry.rotation import exp_so3
from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.graph import linear
from spark3r_core.graph.problem import Edges, Similarities
from spark3r_core.graph.residuals import jacobians, numerical_jacobians, residuals
from spark3r_core.graph.solve import solve


def circle(count: int) -> Similarities:
    """Keyframes on a circle, looking outwards, each with its own scale."""
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    turn = exp_so3(np.stack([0 * angle, angle, 0 * angle], 1))
    place = np.stack([3 * np.sin(angle), 0.1 * np.sin(3 * angle), 3 * np.cos(angle)], 1)
    return Similarities(np.exp(0.2 * np.sin(2 * angle)), turn, place)


def information(turn: float, shift: float, growth: float) -> np.ndarray:
    return np.diag(1 / np.square([shift] * 3 + [turn] * 3 + [growth]))


def edges_between(nodes: Similarities, pairs: list[tuple[int, int]], doubted: list[bool]) -> Edges:
    """What the nodes say, exactly."""
    first, second = np.array(pairs, np.int64).T
    sure = information(0.01, 0.02, 0.02)
    return Edges(first, second, nodes.relative(first, second), np.tile(sure, (len(first), 1, 1)), np.array(doubted))


def drifted(true: Similarities, rng: np.random.Generator, noise: float = 1.0) -> tuple[Similarities, Edges]:
    """The chain with noise in every step, in which scale drifts too, and its edges."""
    count = len(true)
    pairs = [(i, i + 1) for i in range(count - 1)] + [(i, i + 2) for i in range(count - 2)]
    edges = edges_between(true, pairs, [False] * len(pairs))
    sigma = noise * np.array([0.02] * 3 + [0.01] * 3 + [0.02])
    measured = edges.measured.moved(rng.normal(0, 1, (len(pairs), 7)) * sigma)
    noisy = Edges(edges.first, edges.second, measured, edges.information, edges.doubted)
    nodes = [true.one(0)]
    for i in range(count - 1):
        nodes.append(nodes[-1] @ measured.one(i))
    return Similarities.of(nodes), noisy


def together(a: Edges, b: Edges) -> Edges:
    return Edges(
        np.concatenate([a.first, b.first]),
        np.concatenate([a.second, b.second]),
        Similarities(*(np.concatenate([getattr(a.measured, n), getattr(b.measured, n)]) for n in
                       ("scale", "rotation", "translation"))),
        np.concatenate([a.information, b.information]),
        np.concatenate([a.doubted, b.doubted]),
    )  # fmt: skip


def ate(nodes: Similarities, true: Similarities) -> float:
    """The first node is held, so nothing needs to be aligned."""
    return float(np.sqrt(np.square(nodes.translation - true.translation).sum(1).mean()))


def only_first(count: int) -> np.ndarray:
    return np.arange(count) == 0


def test_jacobians_are_those_of_the_residuals() -> None:
    rng = np.random.default_rng(3)
    true = circle(12)
    _, edges = drifted(true, rng, noise=20.0)  # residuals far from zero
    nodes = true.moved(rng.normal(0, 0.3, (12, 7)))
    for exact, numerical in zip(jacobians(nodes, edges), numerical_jacobians(nodes, edges), strict=True):
        np.testing.assert_allclose(exact, numerical, atol=1e-7)


def test_an_edge_says_what_its_name_says() -> None:
    """measured is first_from_second: a point of the second node's frame, taken to the first one's."""
    first = Sim3(2.0, exp_so3(np.array([0.1, 0.5, -0.2])), np.array([1.0, 2.0, 3.0]))
    second = Sim3(0.5, exp_so3(np.array([-0.4, 0.2, 0.3])), np.array([-1.0, 0.5, 0.0]))
    edges = edges_between(Similarities.of([first, second]), [(0, 1)], [True])
    point = np.array([0.3, -0.7, 2.0])
    np.testing.assert_allclose(
        first.apply_to_points(edges.measured.one(0).apply_to_points(point)), second.apply_to_points(point)
    )
    assert np.abs(residuals(Similarities.of([first, second]), edges)).max() < 1e-12


def test_a_loop_takes_out_the_drift() -> None:
    true = circle(80)
    nodes, odometry = drifted(true, np.random.default_rng(1))
    loop = edges_between(true, [(0, 79), (1, 79), (0, 78)], [True] * 3)
    found = solve(nodes, together(odometry, loop), only_first(80))
    assert ate(nodes, true) > 0.6, "the world has no drift to take out"
    assert ate(found.nodes, true) < 0.25 * ate(nodes, true)
    assert found.holds(together(odometry, loop)).all()
    np.testing.assert_array_equal(found.nodes.translation[0], nodes.translation[0])


def test_a_loop_given_the_wrong_way_round_is_not_believed() -> None:
    true = circle(60)
    nodes, odometry = drifted(true, np.random.default_rng(1), noise=0.3)
    right = edges_between(true, [(5, 55), (6, 54), (7, 53)], [True] * 3)
    turned = edges_between(true, [(55, 5), (54, 6), (53, 7)], [True] * 3)
    inverted = Edges(right.first, right.second, turned.measured, right.information, right.doubted)
    for loop, believed in ((right, True), (inverted, False)):
        edges = together(odometry, loop)
        found = solve(nodes, edges, only_first(60))
        assert bool(found.holds(edges)[-3:].all()) is believed
        assert ate(found.nodes, true) < 1.2 * ate(nodes, true)


@pytest.mark.parametrize("seed", range(4))
def test_false_loops_do_not_bend_the_map(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = 120
    true = circle(count)
    nodes, odometry = drifted(true, rng)
    loops = [(i, count - 1 - i) for i in range(12)]
    edges = together(odometry, edges_between(true, loops, [True] * len(loops)))
    lies = [(int(a), int(b)) for a, b in rng.permutation(count)[:8].reshape(-1, 2)]
    said = circle(count).moved(np.concatenate([rng.normal(0, 1, (count, 3)), np.zeros((count, 4))], 1))
    first, second = np.array(lies).T
    said_by = said.relative(first, second)
    false = Edges(first, second, said_by, np.tile(information(0.01, 0.02, 0.02), (4, 1, 1)), np.ones(4, bool))
    edges = together(edges, false)
    found = solve(nodes, edges, only_first(count))
    assert ate(found.nodes, true) < 0.3 * ate(nodes, true)
    assert not found.holds(edges)[-4:].any()
    assert found.holds(edges)[:-4].all()


def test_held_scales_stay() -> None:
    true = circle(40)
    nodes, odometry = drifted(true, np.random.default_rng(1))
    loop = edges_between(true, [(0, 39), (1, 38)], [True] * 2)
    found = solve(nodes, together(odometry, loop), only_first(40), scale_is_held=True)
    np.testing.assert_allclose(found.nodes.scale, nodes.scale)
    assert np.abs(found.nodes.translation - nodes.translation).max() > 0.01


@pytest.mark.parametrize("count", [5, 30, 90])
def test_elimination_along_the_chain_equals_the_dense_solution(count: int) -> None:
    rng = np.random.default_rng(count)
    true = circle(count)
    nodes, odometry = drifted(true, rng)
    loops = [(0, count - 1), (1, count - 2), (count // 3, count - 1)]
    edges = together(odometry, edges_between(true, loops, [True] * 3))
    free = np.repeat(~only_first(count)[:, None], 7, axis=1)
    free[count // 2, 6] = False
    weights = rng.uniform(0.1, 1, len(edges))
    system = linear.normal_equations(*jacobians(nodes, edges), edges, weights, free)
    dense, chain = linear.solved_dense(system, 1e-6), linear.solved_along_chain(system, 1e-6)
    np.testing.assert_allclose(chain, dense, atol=1e-9 * np.abs(dense).max() + 1e-12)
    assert (dense[~free] == 0).all()


def test_edges_to_a_node_that_stays_leave_the_chain_a_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of positions that are known of every keyframe: none of them belongs to what is solved densely at the end."""
    count = 70
    rng = np.random.default_rng(0)
    true = circle(count)
    nodes, odometry = drifted(true, rng)
    anchored = [(count - 1, node) for node in range(count - 1)]
    edges = together(odometry, edges_between(true, anchored, [True] * len(anchored)))
    free = np.ones((count, 7), bool)
    free[count - 1] = False
    system = linear.normal_equations(*jacobians(nodes, edges), edges, np.ones(len(edges)), free)
    dense = linear.solved_dense(system, 1e-6)
    sizes: list[int] = []
    real = np.linalg.solve
    monkeypatch.setattr(np.linalg, "solve", lambda a, b: sizes.append(len(a)) or real(a, b))
    chain = linear.solved_along_chain(system, 1e-6)
    np.testing.assert_allclose(chain, dense, atol=1e-9 * np.abs(dense).max() + 1e-12)
    assert max(sizes) == 7, "a node at a time"


def test_a_graph_that_nothing_holds_is_refused() -> None:
    true = circle(5)
    _, odometry = drifted(true, np.random.default_rng(0))
    with pytest.raises(ValueError, match="0 of 5 nodes are fixed"):
        solve(true, odometry, np.zeros(5, bool))
