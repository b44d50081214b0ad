"""Loops of a whole map: closed where a place is seen again, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from spark3r_core.stream.keyframe_map import KeyframeMap
from spark3r_core.stream.loops import close_all_loops, close_loops
from spark3r_core.stream.relocalisation import NotRecognised, Relocalised, confirm_place, relocalised
from tests.core.places.views import HW, Room, pose, seen
from tests.core.stream.room_map import drifted, make_map, off, true_poses

COUNT = 26
ROOM, TRUTH = Room.of(1), true_poses(COUNT)


@pytest.fixture(scope="module")
def world() -> KeyframeMap:
    return make_map(ROOM, TRUTH, *drifted(TRUTH))


def placed(world: KeyframeMap) -> list[bytes]:
    return [world.keyframes[one].world_from_camera.tobytes() for one in world.order]


def test_a_loop_is_closed_with_the_keyframes_that_come_back(world: KeyframeMap) -> None:
    """As the mapper does it: at each keyframe, with what it has seen until then."""
    before = placed(world)
    draft = world.draft()
    closed = ()
    for frame_id in world.order[-5:]:
        draft, closed = close_loops(draft, frame_id, HW, focal_is_known=True)
        if closed:
            break
    assert closed, "the loop was not seen"
    assert all(a < 50 < 200 < b for a, b in closed), "pairs of the beginning and the end, the earlier first"
    assert off(draft, TRUTH) < 0.4 * off(world, TRUTH)
    assert placed(world) == before, "the map that was given is as it was"
    assert any(draft.tracks.shared(b).get(a, 0) >= 20 for a, b in closed), "matches of the loop are joined into tracks"
    shared_before = world.tracks.shared(closed[0][1])
    assert closed[0][0] not in shared_before


def test_all_loops_are_found_in_the_end(world: KeyframeMap) -> None:
    found = close_all_loops(world.draft(), HW, focal_is_known=True)
    assert found.pairs
    assert off(found.map, TRUTH) < 0.4 * off(world, TRUTH)
    again = close_all_loops(world.draft(), HW, focal_is_known=True)
    assert again.pairs == found.pairs
    assert placed(again.map) == placed(found.map), "the same input, other bytes"


def test_a_way_without_a_return_closes_nothing() -> None:
    truth = true_poses(16, turns=0.6)
    found = close_all_loops(make_map(ROOM, truth, *drifted(truth)).draft(), HW, focal_is_known=True)
    assert found.pairs == ()


def test_two_equal_rooms_stay_two() -> None:
    """Half a turn in one room, over to an equal one ten units away, and the same half turn there."""
    there = np.array([10.0, 0.0, 0.0])
    rooms = ROOM.joined(ROOM.shifted(there))
    half = true_poses(12, turns=0.5)
    second = half.copy()
    second[:, :3, 3] += there
    truth = np.concatenate([half, second])
    world = make_map(rooms, truth, truth, np.ones(len(truth)), reach=4.5)
    found = close_all_loops(world.draft(), HW, focal_is_known=True)
    assert len(found.map.places.recognised) >= 3, "they do look alike, or this says nothing"
    assert found.pairs == ()


def test_a_lost_picture_is_placed_where_it_was_taken(world: KeyframeMap) -> None:
    b = pose(1.3, (0.4, 0.0, 0.1))
    found = relocalised(world, seen(ROOM, b, seed=77).features, HW)
    assert isinstance(found, Relocalised), found
    key = TRUTH[found.keyframe.frame_id // 10]
    there = key @ found.key_from_camera
    np.testing.assert_allclose(there[:3, 3], b[:3, 3], atol=0.12)
    assert 0 < found.confidence < 1
    tracked = found.as_tracked(500, np.eye(4), np.eye(3))
    assert tracked.keyframe_id == found.keyframe.frame_id
    assert tracked.guessed_by_features


def test_a_picture_of_another_room_is_not_placed(world: KeyframeMap) -> None:
    assert isinstance(relocalised(world, seen(Room.of(9), pose(1.3), seed=77).features, HW), str)


def test_depth_must_confirm_where_a_lost_keyframe_lies(world: KeyframeMap) -> None:
    confirm_place(world, 250, [10, 30], HW)
    with pytest.raises(NotRecognised, match="does not confirm"):
        confirm_place(world, 120, [0, 10], HW)
