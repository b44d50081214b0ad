"""Places: found by appearance, verified both ways, believed when several agree."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spark3r_core.geometry import se3
from spark3r_core.geometry.rotation import rotation_angle
from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.places.agreement import Recognition, agreeing
from spark3r_core.places.index import PlaceIndex
from spark3r_core.places.verification import SamePlace, seen_from, verify
from tests.core.places.views import Room, pose, seen

ROOM = Room.of(1)


def test_two_views_of_one_place_give_their_relation_the_right_way_round() -> None:
    """Direction, inversion and scale of one known loop: the second's depth has a unit of 0.25, the first's of 2."""
    a, b = pose(0.1), pose(0.3, (0.4, 0.1, 0.2))
    first, second = seen(ROOM, a, 2.0, 3), seen(ROOM, b, 0.25, 4)
    found = verify(first, second)
    assert isinstance(found, SamePlace), found
    true = se3.compose(se3.invert(a), b)
    assert np.degrees(rotation_angle(found.first_from_second.rotation.T @ true[:3, :3])) < 1.0
    np.testing.assert_allclose(found.first_from_second.translation, true[:3, 3] / 2.0, atol=0.03)
    assert abs(np.log(found.first_from_second.scale / (0.25 / 2.0))) < 0.1
    back = verify(second, first)
    assert isinstance(back, SamePlace)
    there_and_back = found.first_from_second @ back.first_from_second
    np.testing.assert_allclose(there_and_back.matrix, np.eye(4), atol=0.06)


def test_views_without_overlap_are_refused() -> None:
    refused = verify(seen(ROOM, pose(0.0)), seen(ROOM, pose(np.pi)))
    assert isinstance(refused, str)
    assert "matches agree" in refused


def test_views_that_lie_far_apart_are_refused() -> None:
    """A gate: beyond it look-alikes are as likely."""
    refused = verify(seen(ROOM, pose(0.0), reach=9.0), seen(ROOM, pose(0.0, (0.0, 0.0, -3.0)), reach=9.0))
    assert isinstance(refused, str)
    assert "depths apart" in refused


def test_a_thing_that_stands_in_two_rooms_is_not_a_place() -> None:
    """What both have in common fills a twelfth of the picture, and is all that matches."""
    other = Room.of(2)
    yaw = np.arctan2(ROOM.points[:, 0], ROOM.points[:, 2])
    thing = (np.abs(yaw) < 0.08) & (np.abs(ROOM.points[:, 1]) < 1.0)
    descriptors = other.descriptors.copy()
    descriptors[thing] = ROOM.descriptors[thing]
    points = other.points.copy()
    points[thing] = ROOM.points[thing]
    assert thing.sum() > 45, "too small a thing to be mistaken"
    refused = verify(seen(ROOM, pose(0.0), seed=1), seen(Room(points, descriptors), pose(0.05), seed=2))
    assert isinstance(refused, str)
    assert "both should see" in refused


def test_a_picture_without_depth_is_placed_by_one_view() -> None:
    known, b = seen(ROOM, pose(0.0), 2.0, 1), pose(0.2, (0.3, 0.0, 0.1))
    found = seen_from(known, seen(ROOM, b, seed=2).features)
    assert not isinstance(found, str), found
    np.testing.assert_allclose(found[0][:3, 3], b[:3, 3] / 2.0, atol=0.1)
    assert isinstance(seen_from(known, seen(ROOM, pose(3.0), seed=2).features), str)


def indexed(count: int) -> PlaceIndex:
    """Pictures all round the room."""
    index, features = PlaceIndex(), {}
    for number in range(count):
        features[number] = seen(ROOM, pose(number * 2 * np.pi / count), seed=number).features
        index = index.with_picture(number, features)
    return index


def test_appearance_finds_a_place_among_many() -> None:
    index = indexed(24)
    right = 0
    for number in range(24):
        again = seen(ROOM, pose(number * 2 * np.pi / 24 + 0.05, (0.1, 0.0, 0.1)), seed=100 + number)
        likeness = index.likeness(again.features.descriptors, range(24))
        right += max(likeness, key=lambda one: likeness[one]) == number
    assert right >= 23
    same = indexed(24)
    assert all(np.array_equal(same.summaries[i], index.summaries[i]) for i in range(24)), "the same input, other bytes"
    assert 5 not in index.without(5).likeness(seen(ROOM, pose(0.0)).features.descriptors, range(24))


def recognised(lies: dict[int, Sim3], pairs: list[tuple[int, int]], off: Sim3 | None = None) -> list[Recognition]:
    """What the map says of pairs, all of it moved by `off` between the first and the second ones."""
    off = off or Sim3()
    found = []
    for a, b in pairs:
        relation = lies[a].inverse() @ off @ lies[b]
        found.append(Recognition(a, b, SamePlace(relation, np.eye(7), np.zeros((40, 2), np.int64), 0.3, 0.1), 2.0))
    return found


def test_only_what_several_say_of_different_pictures_is_believed() -> None:
    lies = {i: Sim3(1.0 + 0.02 * i, pose(0.1 * i)[:3, :3], np.array([0.2 * i, 0, 0])) for i in range(30)}
    order = list(lies)
    drift = Sim3(0.7, pose(0.4)[:3, :3], np.array([1.0, 0.2, -0.5]))
    pairs = [(2, 25), (3, 26), (2, 26)]
    groups = agreeing(recognised(lies, pairs, drift), lies, order)
    assert [{(one.first, one.second) for one in group} for group in groups] == [set(pairs)]
    assert agreeing(recognised(lies, pairs[:2], drift), lies, order) == []
    assert agreeing(recognised(lies, [(2, 25), (3, 25), (4, 25)], drift), lies, order) == [], "one picture's word"
    false = (
        recognised(lies, [(2, 25)], drift)
        + recognised(lies, [(3, 26)])
        + recognised(lies, [(2, 26)], replace(drift, scale=1.4))
    )
    assert agreeing(false, lies, order) == []
