"""Dense depth of a map's keyframes: each in its own unit, checked against the others."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from spark3r_core.features.rootsift import Features
from spark3r_core.stream.dense import (
    DELAY,
    FOCAL_SETTLED,
    DenseMapping,
    dense_depths,
    small_picture,
    tracked_depth,
    views_of,
)
from spark3r_core.stream.keyframe_map import Keyframe, KeyframeMap
from spark3r_core.synthetic.sequence import SyntheticSequence

HW = (96, 128)
FRAMES = (0, 10, 20, 30, 40)
SCALES = dict(zip(FRAMES, (1.0, 0.5, 2.0, 1.5, 0.8), strict=True))


@pytest.fixture(scope="module")
def room() -> tuple[KeyframeMap, dict[int, np.ndarray]]:
    """Five keyframes with true poses, each in a unit of its own, depth blurred and tilted; and their true depth."""
    sequence = SyntheticSequence(100_021, 41, "handheld", HW, world_kind="room")
    world, truth = KeyframeMap(given_camera=sequence.intrinsics), {}
    nothing = Features(np.zeros((0, 2), np.float32), np.zeros((0, 128), np.uint8), np.zeros(0, np.float32))
    for index in FRAMES:
        image, depth, pose, _ = sequence.frame(index)
        tilt = np.exp(np.linspace(-0.15, 0.15, HW[1]))
        wrong = (cv2.GaussianBlur(depth, (0, 0), 4) * tilt / SCALES[index]).astype(np.float32)
        small = cv2.resize(wrong, (64, 48), interpolation=cv2.INTER_AREA)
        world.keyframes[index] = Keyframe(
            index, index / 30, pose, SCALES[index], small, np.ones_like(small),
            np.diag([0.5, 0.5, 1]) @ sequence.intrinsics, np.diag([2.0, 2.0, 1.0]), nothing, np.zeros(0),
            small_picture=small_picture(image),
        )  # fmt: skip
        truth[index] = depth
    return world, truth


def test_depth_is_better_in_each_keyframes_own_unit(room) -> None:
    world, truth = room
    found = dense_depths(world, FRAMES, HW)
    assert sorted(found) == list(FRAMES)
    for frame_id in FRAMES:
        before = cv2.resize(world.keyframes[frame_id].depth, HW[::-1]) * SCALES[frame_id]
        after = found[frame_id].depth * SCALES[frame_id]
        errors = [np.abs(depth / truth[frame_id] - 1).mean() for depth in (before, after)]
        assert errors[1] < 0.75 * errors[0], frame_id
        assert abs(np.median(after / truth[frame_id]) - 1) < 0.03
        np.testing.assert_allclose(found[frame_id].intrinsics, world.given_camera)


def test_views_are_others_that_see_the_same(room) -> None:
    world, _ = room
    chosen = views_of(world, 20, HW)
    assert len(chosen) >= 2
    assert 20 not in chosen
    assert len(set(chosen)) == len(chosen)


def test_a_keyframes_turn_comes_when_others_have_followed(room) -> None:
    world, _ = room
    growing, dense = KeyframeMap(given_camera=world.given_camera), DenseMapping()
    turns = []
    for frame_id in FRAMES:
        growing.keyframes[frame_id] = world.keyframes[frame_id]
        turns.append(list(dense.due(growing, HW)))
    assert turns == [[], [], *([frame_id] for frame_id in FRAMES[: len(FRAMES) - DELAY])]


def test_a_map_without_pictures_has_no_depth_of_its_own(room) -> None:
    world, _ = room
    bare = KeyframeMap(given_camera=world.given_camera)
    bare.keyframes = {key: Keyframe(**{**vars(one), "small_picture": None}) for key, one in world.keyframes.items()}
    assert dense_depths(bare, FRAMES, HW) == {}


def test_a_new_keyframe_is_tracked_on_depth_that_those_before_it_show(room) -> None:
    """By shape it is better, by scale as it was."""
    world, truth = room
    known = replace(world, focal_std=0.0)
    own = world.keyframes[40].depth
    found, sure = tracked_depth(known, 40, HW)
    assert found.shape == own.shape
    assert abs(np.log(np.median(found / own))) < 0.03

    def misshapen(depth: np.ndarray) -> float:
        ratio = depth / cv2.resize(truth[40], own.shape[::-1], interpolation=cv2.INTER_AREA)
        return float(np.median(np.abs(ratio / np.median(ratio) - 1)))

    assert misshapen(found) < 0.6 * misshapen(own)
    assert sure is not None
    ratio = found / cv2.resize(truth[40], own.shape[::-1], interpolation=cv2.INTER_AREA)
    off = np.abs(np.log(ratio / np.median(ratio[sure])))
    assert np.median(off[sure]) < 0.5 * np.median(off[~sure]), "where it is sure it is better"


def test_without_a_focal_length_or_views_it_is_tracked_on_its_own_depth(room) -> None:
    world, _ = room
    own = world.keyframes[40].depth
    unsettled = tracked_depth(replace(world, focal_std=2 * FOCAL_SETTLED), 40, HW)
    assert unsettled.depth is own
    assert unsettled.sigma is unsettled.node_information is None
    alone = replace(world, focal_std=0.0, keyframes={40: world.keyframes[40]})
    assert tracked_depth(alone, 40, HW).depth is own
