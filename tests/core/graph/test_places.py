"""A chain that drifts, bent to positions: they pull drift in, and noise and garbage do not bend what is right."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spark3r_core.geometry import umeyama
from spark3r_core.geometry.rotation import exp_so3
from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.graph.places import BentToPlaces, NodePlaces, bent_to_places
from spark3r_core.graph.problem import Edges, Similarities
from tests.core.graph.test_pose_graph import drifted, information

COUNT = 36
THERE = Sim3(3.0, exp_so3(np.array([0.3, 1.0, -0.4])), np.array([70.0, 20.0, -5.0]))  # metres_from_graph


def way() -> Similarities:
    angle = np.linspace(0, 1.7 * np.pi, COUNT)
    turn = exp_so3(np.stack([0 * angle, angle, 0 * angle], 1))
    return Similarities(np.ones(COUNT), turn, 10 * np.stack([np.sin(angle), 0 * angle, np.cos(angle)], 1))


def chain(noise: float, seed: int = 0) -> tuple[Similarities, Edges]:
    """The way with drift, and its edges as a map has them: they agree with it, and are unsure by more than that."""
    nodes, edges = drifted(way(), np.random.default_rng(seed), noise)
    unsure = np.tile(information(0.02, 0.1, 0.1), (len(edges), 1, 1))
    return nodes, replace(edges, information=unsure, measured=nodes.relative(edges.first, edges.second))


def off(nodes: Similarities) -> float:
    """RMS distance from the way after one similarity."""
    found = umeyama(nodes.translation, way().translation)
    return float(np.sqrt(np.square(found.apply_to_points(nodes.translation) - way().translation).sum(1).mean()))


def bent(nodes: Similarities, edges: Edges, metres: np.ndarray, std: float) -> BentToPlaces | None:
    lies = umeyama(nodes.translation, metres)
    return bent_to_places(nodes, edges, NodePlaces(np.arange(COUNT), metres, np.full((COUNT, 3), std)), lies)


def positions(std: float, thrown: int, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    metres = THERE.apply_to_points(way().translation) + rng.normal(0, std, (COUNT, 3))
    metres[rng.choice(COUNT, thrown, replace=False)] += rng.normal(0, 30, (thrown, 3))
    return metres


@pytest.mark.parametrize("thrown", [0, 2])
def test_drift_is_pulled_in_though_some_positions_are_false(thrown: int) -> None:
    nodes, edges = chain(noise=1.0, seed=1)
    found = bent(nodes, edges, positions(0.6, thrown), 0.6)
    assert found is not None
    assert off(found.nodes) < 0.5 * off(nodes)
    assert COUNT - thrown - 3 <= found.held <= COUNT - thrown
    np.testing.assert_allclose(found.nodes.translation[0], nodes.translation[0], atol=1e-9)
    np.testing.assert_allclose(found.nodes.rotation[0], nodes.rotation[0], atol=1e-9)
    assert found.nodes.scale[0] == pytest.approx(1.0)


def test_noise_does_not_bend_what_is_right() -> None:
    for seed in range(2):
        nodes, edges = chain(noise=0.02, seed=seed)
        found = bent(nodes, edges, positions(1.5, 2, seed), 1.5)
        after = off(nodes if found is None else found.nodes)
        assert after < 1.1 * off(nodes)


@pytest.mark.parametrize("kind", ["white", "stuck", "late", "too sure"])
def test_garbage_bends_nothing(kind: str) -> None:
    for seed in range(2):
        rng = np.random.default_rng(seed)
        nodes, edges = chain(noise=0.1, seed=seed)
        metres, std = positions(0.6, 0, seed), 0.6
        if kind == "white":
            metres = rng.normal(0, 25, metres.shape)
        elif kind == "stuck":
            metres = metres[0] + rng.normal(0, 0.6, metres.shape)
        elif kind == "late":
            metres = np.roll(metres, 8, 0)
        else:
            metres, std = metres + rng.normal(0, 3, metres.shape), 0.05
        found = bent(nodes, edges, metres, std)
        assert found is None or off(found.nodes) < 1.05 * off(nodes)
