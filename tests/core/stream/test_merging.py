"""Two maps of one room made one, and those that are not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spark3r_core.geometry.alignment import umeyama
from spark3r_core.stream.keyframe_map import KeyframeMap
from spark3r_core.stream.map_budget import without
from spark3r_core.stream.merging import NotMerged, merged, renumbered
from tests.core.places.views import HW, Room
from tests.core.stream.room_map import HALF, TRUTH, halves, make_map, true_poses


@pytest.fixture(scope="module")
def both() -> tuple[KeyframeMap, KeyframeMap]:
    return halves()


def test_halves_of_a_walk_become_one_map(both: tuple[KeyframeMap, KeyframeMap]) -> None:
    first, second = both
    before = [one.tracks.observations()[0].tobytes() for one in both]
    found = merged(first, second)
    assert found.ids_shift == 10 * (HALF - 1) + 1
    assert found.map.order == [*first.order, *(one + found.ids_shift for one in second.order)]
    centres = np.stack([found.map.keyframes[one].world_from_camera[:3, 3] for one in found.map.order])
    # placed by the first half alone: what the second is off is how wrong the joint is
    placed = umeyama(centres[:HALF], TRUTH[:HALF, :3, 3]).apply_to_points(centres)
    errors = np.linalg.norm(placed - TRUTH[:, :3, 3], axis=1)
    assert errors[HALF:].max() < 0.1, "of a circle of radius 0.5"
    assert found.first_from_second.scale == pytest.approx(1 / 1.7, rel=0.1)
    assert all(a < found.ids_shift <= b for a, b in found.pairs[:4])
    times = [found.map.keyframes[one].time_s for one in found.map.order]
    assert times == sorted(times)
    assert times[HALF] >= times[HALF - 1] + 1
    np.testing.assert_array_equal(found.map.keyframes[0].world_from_camera, first.keyframes[0].world_from_camera)
    assert [one.tracks.observations()[0].tobytes() for one in both] == before, "the maps that were given are as before"


def test_maps_of_two_rooms_are_not_merged(both: tuple[KeyframeMap, KeyframeMap]) -> None:
    truth = true_poses(4)
    elsewhere = replace(make_map(Room.of(9, points=1800), truth, truth, np.ones(4)), picture_hw=HW)
    with pytest.raises(NotMerged, match="no place is common to both maps: "):
        merged(both[0], elsewhere)


def test_a_few_pictures_that_look_alike_are_no_common_place(both: tuple[KeyframeMap, KeyframeMap]) -> None:
    first, second = both
    two = without(second, second.order[2:])
    with pytest.raises(NotMerged, match="too few of them agree"):
        merged(first, two)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"picture_hw": (240, 320)}, "pictures of 640x480 and 320x240"),
        ({"given_camera": None}, "one map was made with --camera and the other without"),
        ({"given_camera": np.diag([500.0, 520, 1])}, "made with different --camera"),
    ],
)
def test_maps_of_two_cameras_are_not_merged(
    both: tuple[KeyframeMap, KeyframeMap], changes: dict[str, object], said: str
) -> None:
    with pytest.raises(NotMerged, match=said):
        merged(both[0], replace(both[1], **changes))


def test_two_lenses_are_not_merged(both: tuple[KeyframeMap, KeyframeMap]) -> None:
    first, second = (replace(one, given_camera=None, focal_std=0.01) for one in both)
    with pytest.raises(NotMerged, match="focal lengths of 520 and 800 pixels"):
        merged(first, replace(second, focal=800.0))


def test_a_renumbered_map_is_the_same_map(both: tuple[KeyframeMap, KeyframeMap]) -> None:
    world = both[0]
    moved = renumbered(world, 7, 2.0)
    back = renumbered(moved, -7, -2.0)
    assert back.order == world.order
    assert back.matched == world.matched
    assert moved.order[0] == world.order[0] + 7
    assert moved.keyframes[7].time_s == world.keyframes[0].time_s + 2
    assert moved.tracks.shared(7) == {one + 7: count for one, count in world.tracks.shared(0).items()}
