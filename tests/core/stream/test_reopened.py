"""A map that was saved, in a mapper that goes on in it or only reads it; without sockets and files."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spark3r_core.geometry import se3
from spark3r_core.memory.config import MemoryConfig
from spark3r_core.places.agreement import Places
from spark3r_core.stream.adjustment import adjust
from spark3r_core.stream.keyframe_map import KeyframeMap
from spark3r_core.stream.loops import close_all_loops, opened
from spark3r_core.stream.map_budget import to_drop
from spark3r_core.stream.map_update import MapOptions
from spark3r_core.stream.mapper import Mapper
from spark3r_core.stream.resection import mend
from tests.core.places.views import HW, Room
from tests.core.stream import orbit
from tests.core.stream.room_map import drifted, make_map, off, true_poses
from tests.core.stream.test_adjustment import world_of as joined
from tests.core.stream.test_mapper import request, world_of
from tests.core.stream.truthful import TruthfulDA3

SAVED, FOUND, NEXT = (0, 8, 16), 20, 24


@pytest.fixture(scope="module")
def saved() -> KeyframeMap:
    """The map of a mapper before this one."""
    before = Mapper(TruthfulDA3.make(SAVED), MemoryConfig(max_pages=12, max_new_frames=1))
    for last, index in zip((None, *SAVED), SAVED, strict=False):
        before.map(request(before, index, last))
    return before.world


def going_on(saved: KeyframeMap, *, is_fixed: bool = False, **options: object) -> Mapper:
    model = TruthfulDA3.make((*SAVED, FOUND, NEXT))
    memory = MemoryConfig(max_pages=12, max_new_frames=1)
    return Mapper(model, memory, MapOptions(**options), opened(saved, is_fixed=is_fixed))


def places(world: KeyframeMap, ids: tuple[int, ...] = SAVED) -> list[bytes]:
    return [world.keyframes[one].world_from_camera.tobytes() for one in ids]


@pytest.mark.parametrize("is_fixed", [False, True])
def test_a_run_goes_on_where_it_is_recognised(saved: KeyframeMap, is_fixed: bool) -> None:
    """One of its keyframes lies wrong. A map that is only read stays as it is; another is adjusted with what is new."""
    wrong = se3.compose(saved.keyframes[8].world_from_camera, se3.exp(np.array([0.05, 0.03, 0, 0, 0, 0])))
    given = saved.draft()
    given.keyframes[8] = given.keyframes[8].moved(wrong, 1.0)
    before = places(given)
    mapper = going_on(given, is_fixed=is_fixed)
    found = mapper.map(replace(request(mapper, FOUND, None), lost=True))
    assert found.found_by in SAVED, found.failure
    mapper.map(request(mapper, NEXT, FOUND))
    assert mapper.finish() is not None
    for index in (FOUND, NEXT):
        turn, distance = orbit.error(mapper.world.keyframes[index].world_from_camera, orbit.pose(index))
        assert turn < 1.0
        assert distance < 0.03
    assert (places(mapper.world) == before) is is_fixed
    assert places(given) == before, "the map that was given is as it was"
    assert len(mapper.world.keyframes) == len(SAVED) + 2


def test_a_map_in_which_nothing_was_found_is_as_it_was(saved: KeyframeMap) -> None:
    mapper = going_on(saved)
    before = world_of(mapper)
    assert mapper.finish() is None
    assert world_of(mapper) == before


def test_what_is_fixed_is_not_dropped(saved: KeyframeMap) -> None:
    assert to_drop(saved, 1) == [8]
    assert to_drop(opened(saved, is_fixed=True), 1) == []


def test_nothing_moves_what_is_fixed() -> None:
    """Not a loop that asks for it, not what its points say, and not an adjustment in which nothing else is."""
    room, truth = Room.of(1), true_poses(26)
    world = make_map(room, truth, *drifted(truth))
    half = frozenset(world.order[:13])
    assert opened(replace(world, places=Places()), is_fixed=True).places.index.summaries.keys() == set(world.order)
    found = close_all_loops(replace(world.draft(), fixed=half), HW, focal_is_known=True)
    assert found.pairs
    assert places(found.map, tuple(half)) == places(world, tuple(half))
    assert off(found.map, truth) < off(world, truth), "the other half bends"
    everything = replace(world.draft(), fixed=frozenset(world.order))
    assert mend(everything, HW) == []
    assert adjust(everything, world.order, {0}, HW, focal_is_known=True).verdict.why == "nothing may move"


def test_distances_grow_around_what_is_held() -> None:
    """A map whose first keyframe is elsewhere than at the origin, as the newest of a long one are."""
    there = np.array([3.0, -2.0, 5.0])
    world, shifted = (joined((0, 8, 16), np.array([0.1, 0.05, 0, 0, 0.02, 0])) for _ in range(2))
    for index, keyframe in shifted.keyframes.items():
        pose = keyframe.world_from_camera.copy()
        pose[:3, 3] += there
        shifted.keyframes[index] = keyframe.moved(pose, keyframe.scale)
    for one in (world, shifted):  # a depth that is off, so that the scale has something to give
        one.keyframes[8] = one.keyframes[8].moved(
            se3.compose(one.keyframes[8].world_from_camera, se3.exp(np.array([0.08, 0, 0, 0, 0, 0]))), 1.0
        )
    here, away = (adjust(one, (0, 8, 16), {0}, orbit.HW, focal_is_known=True).map for one in (world, shifted))
    assert here is not world
    assert here.keyframes[0].scale != 1.0, "this says nothing"
    for index in (0, 8, 16):
        moved = away.keyframes[index].world_from_camera[:3, 3] - there
        np.testing.assert_allclose(moved, here.keyframes[index].world_from_camera[:3, 3], atol=1e-6)
