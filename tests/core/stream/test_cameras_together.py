"""Cameras that map beside each other: joined where they saw one place, each by its own lens, and adjusted as one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spark3r_core.geometry.alignment import umeyama
from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.places.agreement import Places
from spark3r_core.stream.cameras_together import MOST_MAPS, CamerasTogether, _rooted, merged_maps
from spark3r_core.stream.keyframe_map import KeyframeMap
from spark3r_core.stream.likely_maps import LikelyMaps
from spark3r_core.stream.loops import opened
from spark3r_core.stream.map_budget import without
from spark3r_core.stream.meeting import VERIFICATIONS, Relation
from tests.core.places.views import HW, Room, pose
from tests.core.stream import room_map
from tests.core.stream.room_map import HALF, TRUTH, make_map, true_poses


@pytest.fixture(scope="module")
def halves() -> tuple[KeyframeMap, KeyframeMap]:
    """Of one walk by two cameras."""
    first, second = room_map.halves()
    return opened(first, is_fixed=False), opened(second, is_fixed=False)


@pytest.fixture(scope="module")
def elsewhere() -> KeyframeMap:
    truth = true_poses(4)
    return opened(replace(make_map(Room.of(9, points=1800), truth, truth, np.ones(4)), picture_hw=HW), is_fixed=False)


def of_half_size(world: KeyframeMap) -> KeyframeMap:
    """The same by a camera with half as many pixels."""
    assert world.given_camera is not None
    keyframes = {
        one: replace(key, features=replace(key.features, places=key.features.places / 2))
        for one, key in world.keyframes.items()
    }
    hw = (HW[0] // 2, HW[1] // 2)
    return replace(world, keyframes=keyframes, given_camera=np.diag([0.5, 0.5, 1]) @ world.given_camera, picture_hw=hw)


def all_seen(together: CamerasTogether, worlds: dict[int, KeyframeMap]) -> None:
    """As if keyframes of all had come in turn."""
    for place in range(max(len(world.order) for world in worlds.values())):
        for camera, world in worlds.items():
            if place < len(world.order):
                together.look(camera, world.order[place], worlds)


def errors(first: KeyframeMap, second: KeyframeMap, first_from_second: Sim3) -> np.ndarray:
    """Of the second's cameras once the first's lie where they truly do."""
    own = np.stack([first.keyframes[one].world_from_camera[:3, 3] for one in first.order])
    its = np.stack([second.keyframes[one].world_from_camera[:3, 3] for one in second.order])
    placed = umeyama(own, TRUTH[:HALF, :3, 3]).apply_to_points(first_from_second.apply_to_points(its))
    return np.linalg.norm(placed - TRUTH[HALF:, :3, 3], axis=1)


@pytest.mark.parametrize("halved", [False, True])
def test_two_cameras_that_see_one_place_are_joined_and_a_third_elsewhere_is_not(
    halves: tuple[KeyframeMap, KeyframeMap], elsewhere: KeyframeMap, halved: bool
) -> None:
    first, second = halves
    worlds = {0: first, 1: of_half_size(second) if halved else second, 2: elsewhere}
    together = CamerasTogether(3)
    all_seen(together, worlds)
    assert [together.rooted[camera].root for camera in range(3)] == [0, 0, 2]
    joined = together.rooted[1]
    assert joined.pairs >= 4
    assert joined.root_from_own.scale == pytest.approx(1 / 1.7, rel=0.1)
    assert abs(np.log(1.7 * joined.root_from_own.scale)) < 3 * joined.scale_std < 0.5
    assert together.rooted[0].scale_std == 0
    assert errors(first, second, joined.root_from_own).max() < 0.1, "of a circle of radius 0.5"
    assert not together.look(1, second.order[0], worlds), "who is joined is not looked for any more"


def of_another_world(world: KeyframeMap, seed: int) -> KeyframeMap:
    """A map that has no place in common with it: its descriptors mean something else."""
    order = np.random.default_rng(seed).permutation(128)
    keyframes = {
        one: replace(key, features=replace(key.features, histograms=key.features.histograms[:, order]))
        for one, key in world.keyframes.items()
    }
    return opened(replace(world, keyframes=keyframes, places=Places()), is_fixed=False)


def test_among_many_cameras_a_keyframe_is_looked_for_in_the_most_likely_maps(
    halves: tuple[KeyframeMap, KeyframeMap],
) -> None:
    first, second = halves
    worlds = {camera: of_another_world(first, camera) for camera in range(14)} | {5: first, 11: second}
    together = CamerasTogether(len(worlds))
    all_seen(together, worlds)
    assert together.rooted[11].root == 5
    assert errors(first, second, together.rooted[11].root_from_own).max() < 0.1
    assert all(together.rooted[camera].root == camera for camera in worlds if camera != 11)
    looks = sum(len(world.order) for world in worlds.values())
    verified = sum(len(one.looked) for one in together._recognised.values())
    assert verified <= looks * MOST_MAPS * VERIFICATIONS


def test_likely_maps_follow_what_comes_and_goes(halves: tuple[KeyframeMap, KeyframeMap]) -> None:
    first, second = halves
    likely = LikelyMaps()
    worlds = {camera: of_another_world(first, camera) for camera in range(3)} | {3: first, 4: second}
    shorter = {camera: without(world, world.order[:2]) for camera, world in worlds.items()}
    renamed = {4: worlds[4], 5: worlds[0], 6: worlds[1], 9: worlds[3]}
    for now, right in ((worlds, 3), (shorter, 3), (renamed, 9), (worlds, 3)):
        others = sorted(now.keys() - {4})
        likeliest = [likely.most_likely(4, one, now, others, 1) for one in now[4].order]
        assert likeliest.count([right]) > len(likeliest) / 2
        assert len(likely.most_likely(4, now[4].order[0], now, others, 9)) == len(others)
    young = {0: without(first, first.order[1:]), 1: KeyframeMap()}
    assert LikelyMaps().most_likely(0, first.order[0], young, [1], 1) == []


def larger(world: KeyframeMap, factor: float) -> KeyframeMap:
    """The same map in another unit."""
    keyframes = {}
    for one, key in world.keyframes.items():
        pose = key.world_from_camera.copy()
        pose[:3, 3] *= factor
        keyframes[one] = key.moved(pose, key.scale * factor)
    return replace(world, keyframes=keyframes)


def test_where_a_map_lies_follows_when_one_of_them_is_adjusted(halves: tuple[KeyframeMap, KeyframeMap]) -> None:
    first, second = halves
    together = CamerasTogether(2)
    all_seen(together, {0: first, 1: second})
    joined = together.rooted[1]
    assert not together.look(0, first.order[-1], {0: first, 1: larger(second, 1.0003)}), (
        "that is not worth a correction"
    )
    for factor, worlds in ((1 / 1.3, {0: first, 1: larger(second, 1.3)}), (1.2, {0: larger(first, 1.2), 1: second})):
        assert together.look(0, first.order[-1], worlds)
        assert together.rooted[1].root_from_own.scale == pytest.approx(factor * joined.root_from_own.scale)
        assert together.rooted[1].pairs == joined.pairs
        assert not together.look(1, second.order[-1], worlds), "once"


def test_a_few_pictures_that_look_alike_join_nothing(halves: tuple[KeyframeMap, KeyframeMap]) -> None:
    first, second = halves
    together = CamerasTogether(2)
    all_seen(together, {0: first, 1: without(second, second.order[2:])})
    assert together.rooted[1].root == 1


def test_what_was_seen_of_a_map_that_was_given_up_is_forgotten(halves: tuple[KeyframeMap, KeyframeMap]) -> None:
    first, second = halves
    worlds = {0: first, 1: second}
    remembers, forgets = CamerasTogether(2), CamerasTogether(2)
    joined_at = next(i for i, one in enumerate(second.order) if remembers.look(1, one, worlds))
    for one in second.order[:joined_at]:
        assert not forgets.look(1, one, worlds)
    forgets.forget(1)
    assert not forgets.look(1, second.order[joined_at], worlds)


def test_joined_cameras_are_adjusted_as_one(halves: tuple[KeyframeMap, KeyframeMap], elsewhere: KeyframeMap) -> None:
    first, second = halves
    worlds = {0: elsewhere, 1: first, 3: second}
    (found,) = [both.together(worlds) for both in merged_maps(worlds)]
    assert found.root == 1
    assert sorted(found.places) == [1, 3]
    assert sorted(found.places[3]) == second.order
    places = [found.places[camera][one] for camera, world in ((1, first), (3, second)) for one in world.order]
    centres = np.stack([place.translation for place in places])
    placed = umeyama(centres[:HALF], TRUTH[:HALF, :3, 3]).apply_to_points(centres)
    assert np.linalg.norm(placed - TRUTH[:, :3, 3], axis=1)[HALF:].max() < 0.1
    moved = np.stack([found.root_from_own(3).apply_to_points(found.before[3][one].translation) for one in second.order])
    assert np.linalg.norm(moved - centres[HALF:], axis=1).max() < 0.1
    assert found.root_from_own(3).scale == pytest.approx(1 / 1.7, rel=0.1)
    assert found.root_from_own(1).scale == pytest.approx(1, rel=0.05)
    assert merged_maps({1: first}) == []


def test_maps_lie_in_that_of_the_lowest_camera_they_can_be_reached_from() -> None:
    a, b = Sim3(2.0, pose(0.3)[:3, :3], np.array([1.0, 2, 3])), Sim3(0.5, pose(-0.2)[:3, :3], np.array([0.0, 1, 0]))
    pairs = ((0, 0),)
    rooted = _rooted(5, {(1, 2): Relation(a, pairs, 0.03), (0, 2): Relation(b, pairs, 0.04)})
    assert [rooted[camera].root for camera in range(5)] == [0, 0, 0, 3, 4]
    np.testing.assert_allclose(rooted[2].root_from_own.matrix, b.matrix)
    np.testing.assert_allclose(rooted[1].root_from_own.matrix, (b @ a.inverse()).matrix, atol=1e-12)
    assert [rooted[camera].scale_std for camera in range(3)] == pytest.approx([0, np.hypot(0.03, 0.04), 0.04])
