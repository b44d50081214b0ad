"""A keyframe's place by the points that its features see, against where tracking says it lies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spark3r_core.features.rootsift import extract
from spark3r_core.geometry import se3
from spark3r_core.stream.joined_tracks import join_tracks
from spark3r_core.stream.resection import resected
from tests.core.stream import orbit
from tests.core.stream.test_adjustment import world_of
from tests.core.stream.test_camera_sizes_and_map import keyframe

INDICES = (0, 8, 16)


def test_a_right_place_is_confirmed_and_left_alone() -> None:
    found = resected(world_of(INDICES), 16, [0, 8], orbit.HW)
    assert found.confirmed
    assert found.world_from_camera is None


def test_a_wrong_place_is_mended_and_the_map_is_not_touched() -> None:
    world = world_of(INDICES, np.array([0.3, -0.1, 0.1, 0.0, 0.15, 0.05]))
    given = {index: one.world_from_camera.copy() for index, one in world.keyframes.items()}
    before = orbit.error(given[16], orbit.pose(16))
    found = resected(world, 16, [0, 8], orbit.HW)
    assert found.confirmed
    assert found.world_from_camera is not None
    after = orbit.error(found.world_from_camera, orbit.pose(16))
    assert after[0] < 0.2 * before[0]
    assert after[1] < 0.3 * before[1]
    for index, pose in given.items():
        np.testing.assert_array_equal(world.keyframes[index].world_from_camera, pose)


def test_one_keyframe_alone_mends_nothing() -> None:
    """Its depth is the network's and nobody has checked it: tracking, which bent it to the pixels, knows better."""
    world = world_of(INDICES, np.array([0.3, -0.1, 0.1, 0.0, 0.15, 0.05]))
    found = resected(world, 16, [8], orbit.HW)
    assert found.confirmed
    assert found.world_from_camera is None


def test_a_map_in_another_unit_gives_the_same_place() -> None:
    world = world_of(INDICES, np.array([0.3, -0.1, 0.1, 0.0, 0.15, 0.05]))
    found = resected(world, 16, [0, 8], orbit.HW).world_from_camera
    for index, one in list(world.keyframes.items()):
        pose = one.world_from_camera.copy()
        pose[:3, 3] *= 2.0
        world.keyframes[index] = one.moved(pose, 2.0)
    larger = resected(world, 16, [0, 8], orbit.HW).world_from_camera
    assert found is not None
    assert larger is not None
    np.testing.assert_allclose(larger[:3, :3], found[:3, :3], atol=2e-3)
    np.testing.assert_allclose(larger[:3, 3], 2 * found[:3, 3], atol=2e-2)
    se3.require_se3(larger)


def test_a_picture_that_shares_nothing_is_not_confirmed() -> None:
    world = world_of(INDICES)
    other = extract(orbit.elsewhere())
    world.keyframes[24] = replace(keyframe(24), features=other, feature_depth=np.ones(len(other)))
    join_tracks(world, 24, [8, 16], orbit.HW)
    found = resected(world, 24, [8, 16], orbit.HW)
    assert not found.confirmed
    assert found.world_from_camera is None
