"""Pixels between the sizes of one picture, a guess by features, and what the map hands out of itself."""

from __future__ import annotations

import numpy as np
import pytest

from spark3r_core.geometry import se3
from spark3r_core.stream.camera_sizes import CameraSizes, focal_of, intrinsics_of, resampled, sampled
from spark3r_core.stream.feature_guess import FeaturePoints, guess_pose
from spark3r_core.stream.keyframe_map import Keyframe, KeyframeMap
from tests.core.attention.tiny_da3 import tiny_da3
from tests.core.stream import orbit


@pytest.mark.parametrize("picture_hw", [(480, 640), (1080, 1920), (640, 480), (427, 640)])
def test_a_pixel_is_the_same_pixel_at_every_size(picture_hw: tuple[int, int]) -> None:
    """A picture of a slope: its value says where a pixel came from."""
    sizes = CameraSizes.fit(picture_hw, tiny_da3().facts, None)
    v, u = np.mgrid[: picture_hw[0], : picture_hw[1]] + 0.5
    slope = np.stack([255 * u / picture_hw[1], 255 * v / picture_hw[0], 0 * u], -1).astype(np.uint8)
    for resize, (height, width), patch in (
        (sizes.for_tracker, sizes.tracker.image_hw, 8),
        (sizes.for_network, sizes.network.image_hw, 6),
    ):
        small, small_from_picture = resize(slope)
        assert small.shape == (height, width, 3)
        assert height % patch == width % patch == 0
        place = np.array([width * 0.5 + 3.5, height * 0.5 - 2.5, 1])
        back = np.linalg.inv(small_from_picture) @ place
        expected = 255 * back[:2] / (picture_hw[1], picture_hw[0])
        found = small[int(place[1]), int(place[0]), :2]
        assert np.abs(found - expected).max() < 3
    assert max(sizes.tracker.image_hw) == 192
    np.testing.assert_allclose(
        sizes.tracker_map @ [picture_hw[1], picture_hw[0], 1], [*sizes.tracker.image_hw[::-1], 1]
    )


def test_the_focal_length_of_intrinsics_comes_back() -> None:
    camera = intrinsics_of(512.0, (480, 640))
    assert focal_of(camera) == pytest.approx(512.0)
    np.testing.assert_array_equal(camera[:2, 2], [320, 240])


def test_a_map_of_one_size_is_seen_at_another() -> None:
    v, u = np.mgrid[:36, :48].astype(np.float32) + 0.5
    slope = 2 * u + 3 * v
    larger = np.diag([4.0, 4.0, 1.0])
    found = resampled(slope, larger, (144, 192))
    vv, uu = np.mgrid[:144, :192] + 0.5
    np.testing.assert_allclose(found[4:-4, 4:-4], (2 * uu / 4 + 3 * vv / 4)[4:-4, 4:-4], atol=0.02)
    assert resampled(slope, np.eye(3), (36, 48)) is slope


def test_values_are_those_of_the_pixel_around_a_place() -> None:
    image = np.arange(12, dtype=np.float32).reshape(3, 4)
    places = np.array([[0.1, 0.1], [7.9, 5.9], [3.9, 2.1], [-0.1, 1], [8.1, 1], [1, 6.1]], np.float32)
    found = sampled(image, places, np.diag([0.5, 0.5, 1.0]))
    np.testing.assert_array_equal(found, [0, 11, 5, np.nan, np.nan, np.nan])
    assert sampled(image, np.zeros((0, 2), np.float32), np.eye(3)).shape == (0,)


def points_of(index: int) -> FeaturePoints:
    return FeaturePoints.of(orbit.features(index), orbit.depth(index), orbit.INTRINSICS, orbit.HW, np.eye(3))


def test_features_guess_the_pose_and_not_that_of_another_place() -> None:
    key, factors = points_of(0), np.ones(len(orbit.features(0)))
    found = guess_pose(key, orbit.picture(16), factors, 0.0)
    assert found is not None
    truth = se3.compose(se3.invert(orbit.pose(16)), orbit.pose(0))
    turn, distance = orbit.error(found.camera_from_key, truth)
    assert turn < 0.6
    assert distance < 0.01
    assert found.agreeing(found.camera_from_key) > 60
    twice = guess_pose(key, orbit.picture(16), 2 * factors, 0.0)
    assert twice is not None
    np.testing.assert_allclose(twice.camera_from_key[:3, 3], 2 * found.camera_from_key[:3, 3], atol=0.02)
    assert guess_pose(key, orbit.elsewhere(), factors, 0.0) is None
    assert guess_pose(key, orbit.picture(16), np.full(len(factors), np.nan), 0.0) is None


def test_a_guess_knows_the_focal_length_as_it_is_known_now() -> None:
    wrong = orbit.INTRINSICS * np.array([[1.3, 1, 1], [1, 1.3, 1], [1, 1, 1]])
    key = FeaturePoints.of(orbit.features(0), orbit.depth(0), wrong, orbit.HW, np.eye(3))
    found = guess_pose(key, orbit.picture(16), np.ones(len(orbit.features(0))), -np.log(1.3))
    assert found is not None
    turn, distance = orbit.error(found.camera_from_key, se3.compose(se3.invert(orbit.pose(16)), orbit.pose(0)))
    assert turn < 0.6
    assert distance < 0.01


def keyframe(index: int) -> Keyframe:
    features = orbit.features(index)
    z = sampled(orbit.depth(index), features.places, np.eye(3))
    depth = orbit.depth(index)
    return Keyframe(
        index, 0.1 * index, orbit.pose(index), 1.0, depth, np.ones_like(depth), orbit.INTRINSICS, np.eye(3), features, z
    )


def test_only_keyframes_that_moved_are_told() -> None:
    before = KeyframeMap({index: keyframe(index) for index in (0, 8)})
    after = before.draft()
    assert after.placed(before) == {}
    assert set(after.placed()) == {0, 8}
    after.keyframes[8] = after.keyframes[8].moved(orbit.pose(16), 1.0)
    after.keyframes[16] = keyframe(16)
    assert set(after.placed(before)) == {8, 16}
    rescaled = before.draft()
    rescaled.keyframes[0] = rescaled.keyframes[0].moved(rescaled.keyframes[0].world_from_camera, 2.0)
    assert rescaled.placed(before)[0].scale == 2.0
    assert set(before.keyframes) == {0, 8}
    assert after.newest.frame_id == 16
    np.testing.assert_allclose(after.camera_from_world(8), np.linalg.inv(orbit.pose(16)), atol=1e-12)
    assert after.nbytes == sum(one.nbytes for one in after.keyframes.values()) > orbit.depth(0).nbytes


def test_a_draft_is_nobody_elses() -> None:
    world = KeyframeMap({0: keyframe(0)})
    draft = world.draft()
    draft.keyframes.clear()
    draft.tracks.add(0, 1, [(1, 1)])
    draft.matched.add((0, 1))
    draft.edges.append(None)  # type: ignore[arg-type]
    draft.network_focals.append(1.0)
    assert (list(world.keyframes), len(world.tracks)) == ([0], 0)
    assert not world.matched
    assert not world.edges
    assert not world.network_focals
