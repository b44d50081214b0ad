"""A map that was given up, met again by the one that was begun after it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spark3r_core.geometry import se3
from spark3r_core.memory.config import MemoryConfig
from spark3r_core.stream.joining import Other, meet
from spark3r_core.stream.keyframe_map import KeyframeMap
from spark3r_core.stream.loops import opened
from spark3r_core.stream.map_budget import thinned_together
from spark3r_core.stream.map_update import KeyframeRequest, MapOptions, MapUpdate
from spark3r_core.stream.mapper import Mapper
from tests.core.stream import orbit
from tests.core.stream.test_mapper import follow, new_mapper, request
from tests.core.stream.truthful import TruthfulDA3

GIVEN_UP, PRESENT, NEXT, LATER = (0, 8, 16), (4, 12, 20), 24, 100
UNIT = 2.0  # of the present map, by what the network says there


def given_up() -> KeyframeMap:
    mapper = new_mapper()
    follow(mapper, GIVEN_UP)
    return mapper.world


def after_it(world: KeyframeMap, **options: object) -> Mapper:
    model = TruthfulDA3.make((*PRESENT, NEXT), unit=UNIT)
    memory = MemoryConfig(max_pages=12, max_new_frames=1)
    return Mapper(model, memory, MapOptions(**options), others=[world] if world.keyframes else [])  # type: ignore[arg-type]


def later_request(mapper: Mapper, index: int, before: int | None) -> KeyframeRequest:
    """Of a picture of the orbit, as the frame `LATER` later, tracked in the present map's unit."""
    asked = request(mapper, index, before)
    if asked.tracked is None or asked.points is None or before is None:
        return replace(asked, frame_id=index + LATER)
    pose = asked.tracked.key_from_camera.copy()
    pose[:3, 3] *= UNIT
    tracked = replace(asked.tracked, frame_id=index + LATER, keyframe_id=before + LATER, key_from_camera=pose)
    return replace(asked, frame_id=index + LATER, tracked=tracked, points=asked.points * np.float32(UNIT))


def follow_later(mapper: Mapper) -> list[MapUpdate]:
    pairs = zip((None, *PRESENT), PRESENT, strict=False)
    return [mapper.map(later_request(mapper, index, before)) for before, index in pairs]


def test_the_present_map_is_joined_with_its_scale_where_it_meets_the_older_one() -> None:
    world = given_up()
    mapper = after_it(world)
    updates = follow_later(mapper)
    assert [one.part for one in updates[:2]] == [LATER + PRESENT[0]] * 2, "two keyframes do not do"
    met = updates[-1]
    assert met.part == 0
    assert mapper.others == []
    assert mapper.world.order == [*GIVEN_UP, *(one + LATER for one in PRESENT)]
    assert all(a in GIVEN_UP and b - LATER in PRESENT for a, b in met.loops)
    for index in PRESENT:
        key = mapper.world.keyframes[index + LATER]
        assert np.linalg.norm(key.world_from_camera[:3, 3] - orbit.pose(index)[:3, 3]) < 0.05
        assert np.degrees(se3.relative_angle(key.world_from_camera, orbit.pose(index))) < 1.0
        size = float(np.median(key.depth)) * key.scale
        assert abs(np.log(size / np.median(orbit.depth(index)))) < 0.08
        placed = met.moved[index + LATER]
        np.testing.assert_array_equal(placed.translation, key.world_from_camera[:3, 3])
    np.testing.assert_allclose(met.moved[0].translation, 0, atol=1e-9, err_msg="the older map's frame stays")
    assert met.map_bytes == mapper.world.nbytes
    mapper.map(later_request(mapper, NEXT, PRESENT[-1]))
    there = mapper.world.keyframes[NEXT + LATER].world_from_camera
    assert orbit.error(there, orbit.pose(NEXT))[1] < 0.05, "it goes on in the older one's frame and unit"
    assert mapper.finish(refine_all=False) is not None


def test_what_failed_after_the_maps_met_leaves_them_apart(monkeypatch) -> None:
    mapper = after_it(given_up())
    for before, index in zip((None, *PRESENT[:2]), PRESENT[:2], strict=False):
        mapper.map(later_request(mapper, index, before))
    order = mapper.world.order
    monkeypatch.setattr(Mapper, "_update", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        mapper.map(later_request(mapper, PRESENT[2], PRESENT[1]))
    assert mapper.world.order == order
    assert [one.order for one in mapper.others] == [list(GIVEN_UP)]


def test_without_places_maps_stay_apart() -> None:
    mapper = after_it(given_up(), closes_loops=False)
    follow_later(mapper)
    assert [one.order for one in mapper.others] == [list(GIVEN_UP)]


def test_maps_that_were_given_up_count_to_the_bytes() -> None:
    world = given_up()
    size = world.nbytes
    mapper = after_it(world, max_bytes=int(1.4 * size))
    first = mapper.map(later_request(mapper, PRESENT[0], None))
    assert first.dropped == (8,), "thinned to half of them, its ends kept"
    assert first.map_bytes == mapper.world.nbytes + mapper.others[0].nbytes
    assert mapper.map(later_request(mapper, PRESENT[1], PRESENT[0])).dropped == (), "and said once"
    kept, gone = thinned_together([world], None)
    assert (kept[0] is world, gone) == (True, ())


def test_the_older_map_keeps_its_frame_and_unit_whichever_is_the_present_one() -> None:
    """A camera that was found in the older map again; the newer one is what was given up."""
    older, newer = given_up(), after_it(KeyframeMap())
    follow_later(newer)
    other = Other(opened(newer.world, is_fixed=False))
    met = meet(opened(older, is_fixed=False), [other], GIVEN_UP, orbit.HW, focal_is_known=True, adjusts=False)
    assert met.others == ()
    assert met.map.keyframes[0].world_from_camera is older.keyframes[0].world_from_camera
    assert all(a in GIVEN_UP and b - LATER in PRESENT for a, b in met.pairs)
    for index in PRESENT:
        key = met.map.keyframes[index + LATER]
        assert np.linalg.norm(key.world_from_camera[:3, 3] - orbit.pose(index)[:3, 3]) < 0.05
        assert key.scale == pytest.approx(1 / UNIT, rel=0.05)


def test_a_map_that_is_not_met_again_is_adjusted_at_the_end() -> None:
    world = given_up()
    pushed = world.keyframes[8].world_from_camera.copy()
    pushed[:3, 3] += 0.05
    world.keyframes[8] = world.keyframes[8].moved(pushed, world.keyframes[8].scale)
    mapper = after_it(world, closes_loops=False)
    follow_later(mapper)
    update = mapper.finish(refine_all=False)
    assert update is not None
    (after,) = mapper.others
    before, now = (orbit.error(one.keyframes[8].world_from_camera, orbit.pose(8))[1] for one in (world, after))
    assert now < before / 2
    np.testing.assert_array_equal(update.moved_beside[8].translation, after.keyframes[8].world_from_camera[:3, 3])
    assert update.moved.keys().isdisjoint(update.moved_beside)
    again = after_it(world, closes_loops=False)
    follow_later(again)
    untouched = again.finish(refine_all=False, stays=world)
    assert untouched is not None
    assert untouched.moved_beside == {}
    assert again.others == [world]
