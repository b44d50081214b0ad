"""How far odometry went between two keyframes, and which loops it can be asked to have missed."""

from __future__ import annotations

import numpy as np

from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.graph.problem import Edges, Similarities
from spark3r_core.graph.ways import is_plausible, ways_from


def line(count: int) -> tuple[Similarities, Edges]:
    """Keyframes one unit apart."""
    nodes = Similarities.of([Sim3(1.0, np.eye(3), np.array([float(i), 0, 0])) for i in range(count)])
    first = np.arange(count - 1)
    edges = Edges(first, first + 1, nodes.relative(first, first + 1), np.tile(np.eye(7), (count - 1, 1, 1)), first < 0)
    return nodes, edges


def test_ways_are_the_shortest_along_edges() -> None:
    nodes, edges = line(6)
    shortcut = Edges(
        np.append(edges.first, 0), np.append(edges.second, 4), edges.measured, edges.information, edges.doubted
    )
    ways = ways_from(0, nodes, shortcut)
    assert ways[3] == (3.0, 0.0)
    assert ways[5] == (5.0, 0.0)


def test_two_equal_rooms_ask_more_of_odometry_than_a_loop_does() -> None:
    """After a way of 19, a loop to the start asks for all of it; one that drift explains asks for a few percent."""
    nodes, edges = line(20)
    way = ways_from(0, nodes, edges)[19]
    drifted = Sim3(1.0, np.eye(3), np.array([17.2, 0.5, 0]))
    assert is_plausible(nodes, 0, 19, drifted, 1.0, way)
    assert not is_plausible(nodes, 0, 19, Sim3(), 1.0, way)
    turned = Sim3(1.0, np.diag([-1.0, 1.0, -1.0]), np.array([19.0, 0, 0]))
    assert not is_plausible(nodes, 0, 19, turned, 1.0, way)


def test_a_loop_that_asks_for_another_unit_as_well_may_ask_for_less() -> None:
    nodes, edges = line(20)
    way = ways_from(0, nodes, edges)[19]
    for scale, is_good in ((1.0, True), (1.8, True), (4.0, False)):
        asked = Sim3(scale, np.eye(3), np.array([17.5, 0, 0]))
        assert is_plausible(nodes, 0, 19, asked, 1.0, way) is is_good, scale
    near = Sim3(4.0, np.eye(3), np.array([18.5, 0, 0]))
    assert is_plausible(nodes, 0, 19, near, 1.0, way), "as the office clip's, whose unit is another after a loss"


def test_equal_rooms_on_one_corridor_are_two() -> None:
    """Out of one, along, and into the other: a quarter of the way lies between them, and more than a room's depth."""
    nodes, edges = line(6)
    way = ways_from(0, nodes, edges)[5]
    assert not is_plausible(nodes, 0, 5, Sim3(1.5, np.eye(3), np.array([3.65, 0, 0])), 1.0, way)
    assert is_plausible(nodes, 0, 5, Sim3(1.5, np.eye(3), np.array([4.2, 0, 0])), 1.0, way)


def test_after_a_short_way_a_room_of_another_size_is_another_room() -> None:
    """Drift has made the second of two equal rooms a third as large: it lies on the first, but for its scale."""
    nodes, edges = line(20)
    for count, is_good in ((4, False), (19, True)):
        way = ways_from(0, nodes, edges)[count]
        asked = Sim3(3.3, np.eye(3), np.array([count - 0.1, 0, 0]))
        assert is_plausible(nodes, 0, count, asked, 1.0, way) is is_good, count
