"""Features and what a rigid scene allows of their matches: known motions come back, wrong matches do not stay."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from spark3r_core.features.rootsift import CELLS, Features, _spread, extract, match
from spark3r_core.features.verify import LEAST_INLIERS, LEAST_MATCHES, camera_from_points, epipolar_inliers
from spark3r_core.geometry import se3
from spark3r_core.stream.camera_sizes import sampled
from spark3r_core.stream.joined_tracks import LEAST_MATCHES as LEAST_OF_A_PAIR
from tests.core.stream import orbit

WIDTH = orbit.HW[1]


def places_in(index: int, seen_in: int, places: np.ndarray) -> np.ndarray:
    """Where points of one picture of the orbit are in another, by its exact depth; nan where it is unknown."""
    z = sampled(orbit.depth(index), places, np.eye(3))
    homogeneous = np.concatenate([places, np.ones((len(places), 1))], 1)
    points = homogeneous @ np.linalg.inv(orbit.INTRINSICS).T * z[:, None]
    other_from_this = se3.compose(se3.invert(orbit.pose(seen_in)), orbit.pose(index))
    seen = (points @ other_from_this[:3, :3].T + other_from_this[:3, 3]) @ orbit.INTRINSICS.T
    return seen[:, :2] / seen[:, 2:]


def test_matches_of_two_views_are_right() -> None:
    a, b = orbit.features(0), orbit.features(8)
    pairs = match(a, b)
    off = np.linalg.norm(places_in(0, 8, a.places[pairs[:, 0]]) - b.places[pairs[:, 1]], axis=1)
    assert len(pairs) > 100
    assert np.nanmean(off < 2) > 0.85
    assert np.nanmedian(off) < 0.7
    assert len(np.unique(pairs[:, 0])) == len(np.unique(pairs[:, 1])) == len(pairs), "each other's nearest"
    good = epipolar_inliers(a.places[pairs[:, 0]], b.places[pairs[:, 1]], WIDTH)
    assert good.mean() > 0.7
    assert np.nanmean(off[good] < 2) > np.nanmean(off < 2)


def test_a_picture_matches_itself_everywhere_and_strict_ratios_match_less() -> None:
    a, b = orbit.features(0), orbit.features(8)
    itself = match(a, a)
    np.testing.assert_array_equal(itself[:, 0], itself[:, 1])
    assert len(itself) > 0.9 * len(a)
    strict, loose = (set(map(tuple, match(a, b, ratio).tolist())) for ratio in (0.6, 0.95))
    assert strict < loose


def test_pictures_of_different_places_are_not_verified() -> None:
    """Neither joins tracks nor gives a pose; only chance matches are left."""
    elsewhere = extract(orbit.elsewhere())
    assert len(elsewhere) > 100
    for index in (0, 8, 16):
        here = orbit.features(index)
        pairs = match(here, elsewhere, 0.95)
        good = epipolar_inliers(here.places[pairs[:, 0]], elsewhere.places[pairs[:, 1]], WIDTH)
        assert good.sum() < LEAST_OF_A_PAIR
        z = sampled(orbit.depth(index), here.places[pairs[:, 0]], np.eye(3))
        rays = np.concatenate([here.places[pairs[:, 0]], np.ones((len(pairs), 1))], 1)
        points = rays @ np.linalg.inv(orbit.INTRINSICS).T * z[:, None]
        assert camera_from_points(points, elsewhere.places[pairs[:, 1]], orbit.INTRINSICS, WIDTH) is None


def test_descriptors_are_unit_vectors_and_bytes_are_repeatable() -> None:
    first, again = orbit.features(0), extract(orbit.picture(0))
    np.testing.assert_allclose(np.linalg.norm(first.descriptors, axis=1), 1, atol=1e-5)
    for a, b in ((first.places, again.places), (first.histograms, again.histograms), (first.sizes, again.sizes)):
        assert a.tobytes() == b.tobytes()
    assert first.nbytes == first.places.nbytes + first.histograms.nbytes + first.sizes.nbytes


def test_places_are_pixels_of_the_whole_picture() -> None:
    """A dot in the middle of pixel (300, 100) of a picture that is made smaller first."""
    picture = np.full((480, 1280), 100, np.uint8)
    cv2.circle(picture, (300, 100), 16, 255, -1)
    found = extract(picture)
    nearest = np.abs(found.places - [300.5, 100.5]).max(1).min()
    assert nearest < 0.6
    in_colour = extract(np.repeat(picture[..., None], 3, -1))
    np.testing.assert_allclose(in_colour.places, found.places, atol=0.05)


def test_features_spread_over_the_picture() -> None:
    """A quarter has stronger features than the rest: it takes no more than twice its share."""
    rng = np.random.default_rng(0)
    places = rng.uniform([0, 0], [320, 240], (1200, 2)).astype(np.float32)
    strength = rng.uniform(0.5, 1, 1200) + (places[:, 0] < 80)
    chosen = places[_spread(places, strength, (240, 320), 200)]
    assert len(chosen) == 200
    assert 0.4 < (chosen[:, 0] > 80).mean() < 0.6
    cells = (chosen // (320 / CELLS)).astype(int)
    assert np.unique(cells, axis=0, return_counts=True)[1].max() <= 2 * 200 // (CELLS * 6) + 1
    few = _spread(places[:150], strength[:150], (240, 320), 200)
    np.testing.assert_array_equal(few, np.argsort(-strength[:150], kind="stable"), "fewer than asked for: all of them")


def test_a_picture_without_texture_has_no_features_and_no_matches() -> None:
    nothing = extract(np.full((*orbit.HW, 3), 90, np.uint8))
    assert len(nothing) == 0
    assert match(nothing, orbit.features(0)).shape == match(orbit.features(0), nothing).shape == (0, 2)


def exact_views(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Points before a camera, camera_from_points of a second one, and where both see them: pixels at 640."""
    rng = np.random.default_rng(seed)
    camera = np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])
    points = rng.uniform([-1, -0.8, 2], [1, 0.8, 5], (count, 3))
    pose = se3.exp(np.array([0.3, -0.1, 0.2, 0.05, -0.1, 0.08]))
    views = []
    for one in (np.eye(4), pose):
        seen = (points @ one[:3, :3].T + one[:3, 3]) @ camera.T
        views.append((seen[:, :2] / seen[:, 2:]).astype(np.float32))
    return points, pose, views[0], views[1]


CAMERA = np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])


def test_epipolar_geometry_refuses_what_moved_otherwise() -> None:
    _, _, a, b = exact_views(300)
    wrong = np.zeros(300, bool)
    wrong[::3] = True
    b = b + np.where(wrong[:, None], np.random.default_rng(1).uniform(-60, 60, (300, 2)), 0).astype(np.float32)
    found = epipolar_inliers(a, b, 640)
    assert found[~wrong].mean() > 0.99
    assert found[wrong].mean() < 0.15  # a wrong place on the epipolar line cannot be told
    np.testing.assert_array_equal(found, epipolar_inliers(a, b, 640))
    assert not epipolar_inliers(a[: LEAST_MATCHES - 1], b[: LEAST_MATCHES - 1], 640).any()
    assert not epipolar_inliers(np.zeros((30, 2), np.float32), np.zeros((30, 2), np.float32), 640).all()


def test_the_pose_is_found_among_wrong_matches() -> None:
    points, truth, _, places = exact_views(200)
    wrong = np.zeros(200, bool)
    wrong[::4] = True
    places[wrong] = np.random.default_rng(2).uniform([0, 0], [640, 480], (50, 2))
    found = camera_from_points(points, places, CAMERA, 640)
    assert found is not None
    pose, agree = found
    np.testing.assert_allclose(pose, truth, atol=2e-4)
    assert agree[~wrong].all()
    assert agree[wrong].mean() < 0.05
    again = camera_from_points(points, places, CAMERA, 640)
    assert again is not None
    assert again[0].tobytes() == pose.tobytes()


def test_too_few_points_or_none_that_agree_give_no_pose() -> None:
    points, _, _, places = exact_views(200)
    few = LEAST_INLIERS - 1
    assert camera_from_points(points[:few], places[:few], CAMERA, 640) is None
    shuffled = np.random.default_rng(0).permutation(places)
    assert camera_from_points(points, shuffled, CAMERA, 640) is None
    places[few - 3 : 26] = np.random.default_rng(0).uniform([0, 0], [640, 480], (26 - few + 3, 2))
    assert camera_from_points(points[:26], places[:26], CAMERA, 640) is None, "16 of 26 agree: too few"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_points_that_are_no_numbers_do_not_end_in_a_pose_that_is_none(value: float) -> None:
    points, _, _, places = exact_views(60)
    points[:] = value
    assert camera_from_points(points, places, CAMERA, 640) is None


def test_features_are_plain_arrays() -> None:
    empty = Features(np.zeros((0, 2), np.float32), np.zeros((0, 128), np.uint8), np.zeros(0, np.float32))
    assert len(empty) == empty.nbytes == 0
