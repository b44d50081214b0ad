"""A map of bounded bytes: which keyframes go, and that what is left holds together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spark3r_core.geometry import se3
from spark3r_core.stream.keyframe_map import KeyframeMap, TrackedEdge
from spark3r_core.stream.map_budget import chained, inverted, to_drop, without
from tests.core.stream import orbit
from tests.core.stream.test_camera_sizes_and_map import keyframe
from tests.core.stream.test_mapper import KEYFRAMES, follow, new_mapper, world_of
from tests.helpers_map import edge, orbit_map


def plain_map(times: list[float]) -> KeyframeMap:
    """Keyframes of equal size at these times, without tracks."""
    one = keyframe(0)
    return KeyframeMap({index: replace(one, frame_id=index, time_s=time) for index, time in enumerate(times)})


def bytes_for(world: KeyframeMap, count: int) -> int:
    return world.keyframes[0].nbytes * count


def test_a_map_within_its_budget_keeps_everything() -> None:
    world = plain_map([0.0, 1.0, 2.0, 3.0])
    assert to_drop(world, world.nbytes) == []
    assert to_drop(world, bytes_for(world, 3)) != []
    assert without(world, []) is world


def test_what_is_left_is_spread_over_time() -> None:
    """A thousand times the usual rate in the middle: nearly all that goes goes there."""
    crowd = [10 + 0.001 * i for i in range(20)]
    world = plain_map([*range(10), *crowd, *range(11, 20)])
    gone = to_drop(world, bytes_for(world, 20))
    assert len(gone) == len(world.keyframes) - 20
    assert all(10 <= world.keyframes[index].time_s < 11 for index in gone)
    even = plain_map([float(i) for i in range(33)])
    left = sorted(set(even.keyframes) - set(to_drop(even, bytes_for(even, 17))))
    assert max(np.diff(left)) <= 4, "and an even map is thinned evenly"


def test_the_first_the_newest_and_the_protected_stay() -> None:
    world = plain_map([float(i) for i in range(8)])
    assert set(to_drop(world, 1, {3, 5})) == {1, 2, 4, 6}
    assert to_drop(plain_map([0.0, 1.0]), 1) == []


def test_the_ends_of_loops_go_last_but_they_go() -> None:
    """A camera that goes round and round closes a loop with every keyframe."""
    world = plain_map([float(i) for i in range(8)])
    world.places = replace(world.places, closed=((1, 5), (2, 6)))
    assert set(to_drop(world, bytes_for(world, 6))) == {3, 4}, "what ends no loop goes first"
    assert len(to_drop(world, bytes_for(world, 3))) == 5
    assert set(to_drop(world, 1, {2})) == {1, 3, 4, 5, 6}


def test_a_view_that_others_have_goes_before_one_that_nobody_has() -> None:
    """Keyframes 1, 2 and 3 see the same points; 4, nearer to its neighbours in time, sees points of its own."""
    times = [0.0, 1.0, 2.0, 3.0, 4.0, 4.5]
    world = plain_map(times)
    for feature in range(100):
        for index in (1, 2, 3):
            world.tracks.add(0, index, [(feature, feature)])
        world.tracks.add(4, 5, [(feature, feature)])
    assert to_drop(plain_map(times), bytes_for(world, 5)) == [4]
    assert to_drop(world, bytes_for(world, 5)) == [1]
    assert 4 not in to_drop(world, bytes_for(world, 4))


def test_what_is_dropped_leaves_no_trace_and_its_neighbours_joined() -> None:
    world = orbit_map()
    tracks = len(world.tracks)
    after = without(world, [8, 16])
    assert after.order == [0, 24]
    assert after.matched == {(0, 24)}
    _, seen, _ = after.tracks.seen_by(range(100), 1)
    assert set(seen.tolist()) <= {0, 24}
    (one,) = after.edges
    assert (one.first, one.second) == (0, 24)
    np.testing.assert_allclose(one.second_from_first, edge(0, 24).second_from_first, atol=1e-9)
    assert np.linalg.eigvalsh(one.information)[0] > 0
    assert np.trace(one.information) < np.trace(world.edges[0].information), "three steps are less certain than one"
    assert (world.order, len(world.tracks), len(world.edges)) == ([0, 8, 16, 24], tracks, 3), "the one given stays"
    assert after.nbytes < world.nbytes


def test_every_neighbour_of_a_dropped_keyframe_stays_joined() -> None:
    world = orbit_map()
    world.edges = [edge(0, 8), edge(8, 16), edge(8, 24)]
    after = without(world, [8])
    assert sorted((one.first, one.second) for one in after.edges) == [(0, 16), (0, 24)]
    world.edges = [edge(8, 16), edge(8, 24)]  # begun there: its place was found by features
    (one,) = without(world, [8]).edges
    assert (one.first, one.second) == (16, 24)
    np.testing.assert_allclose(one.second_from_first, edge(16, 24).second_from_first, atol=1e-9)
    world.edges = [edge(8, 16)]
    assert without(world, [8]).edges == []


def scaled_map() -> tuple[KeyframeMap, TrackedEdge, TrackedEdge]:
    """Three keyframes whose depths have units of their own, and the edges between them in those units."""
    world = orbit_map((0, 8, 16))
    for index, scale in ((0, 0.5), (8, 2.0), (16, 3.0)):
        world.keyframes[index] = world.keyframes[index].moved(orbit.pose(index), scale)

    def in_unit(one: TrackedEdge, scale: float) -> TrackedEdge:
        pose = one.second_from_first.copy()
        pose[:3, 3] /= scale
        return replace(one, second_from_first=pose)

    return world, in_unit(edge(0, 8), 0.5), in_unit(edge(8, 16), 2.0)


def test_edges_are_composed_in_the_unit_of_the_first() -> None:
    world, first, second = scaled_map()
    both = chained(first, second, world)
    expected = edge(0, 16).second_from_first.copy()
    expected[:3, 3] /= 0.5
    np.testing.assert_allclose(both.second_from_first, expected, atol=1e-9)
    back = inverted(both, world)
    expected = edge(16, 0).second_from_first.copy()
    expected[:3, 3] /= 3.0
    np.testing.assert_allclose(back.second_from_first, expected, atol=1e-9)


@pytest.mark.parametrize("turned", [False, True])
def test_uncertainty_is_what_many_draws_show(turned: bool) -> None:
    world, first, second = scaled_map()
    rng = np.random.default_rng(0)
    root = rng.normal(size=(2, 6, 6)) * 1e-3
    covariances = root @ root.transpose(0, 2, 1) + 1e-7 * np.eye(6)
    first = replace(first, information=np.linalg.inv(covariances[0]))
    second = replace(second, information=np.linalg.inv(covariances[1]))
    both = chained(first, second, world)
    both = inverted(both, world) if turned else both
    draws = []
    for _ in range(4000):
        noise = [rng.multivariate_normal(np.zeros(6), covariance) for covariance in covariances]
        noisy = [
            replace(one, second_from_first=se3.compose(se3.exp(by), one.second_from_first))
            for one, by in zip((first, second), noise, strict=True)
        ]
        drawn = chained(*noisy, world)
        drawn = inverted(drawn, world) if turned else drawn
        draws.append(se3.log(se3.compose(drawn.second_from_first, se3.invert(both.second_from_first))))
    found, told = np.cov(np.array(draws).T), np.linalg.inv(both.information)
    assert np.abs(found - told).max() < 0.08 * np.abs(told).max()


def test_the_adjoint_moves_a_twist_through_a_pose() -> None:
    pose, twist = orbit.pose(8), np.array([0.1, -0.2, 0.3, 0.05, 0.02, -0.07])
    left = se3.compose(se3.exp(se3.adjoint(pose) @ twist), pose)
    np.testing.assert_allclose(left, se3.compose(pose, se3.exp(twist)), atol=1e-12)


def test_what_an_edge_does_not_know_stays_unknown() -> None:
    world = orbit_map((0, 8, 16))
    blind = np.diag([0.0, 1e4, 1e4, 1e5, 1e5, 1e5])
    both = chained(edge(0, 8, information=blind), edge(8, 16), world)
    values = np.linalg.eigvalsh(both.information)
    assert values[0] < 1e-6 * values[-1]


def test_the_mapper_keeps_to_its_budget() -> None:
    free = new_mapper()
    follow(free)
    each = max(one.nbytes for one in free.world.keyframes.values())
    budget = 3 * each + free.world.places.index.nbytes + 1
    bounded = new_mapper(max_bytes=budget)
    updates = follow(bounded)
    assert [update.dropped for update in updates[:3]] == [()] * 3
    (gone,) = updates[3].dropped
    assert gone in KEYFRAMES[1:2], "neither the first, nor the newest, nor the one that it was tracked on"
    assert bounded.world.order == [index for index in KEYFRAMES if index != gone]
    assert updates[3].map_bytes == bounded.world.nbytes <= budget
    assert gone not in updates[3].moved
    last = bounded.finish()
    assert last is not None
    assert last.map_bytes == bounded.world.nbytes
    again = new_mapper(max_bytes=budget)
    follow(again)
    again.finish()
    assert world_of(again) == world_of(bounded)
    assert free.world.order == list(KEYFRAMES)
