"""The tracker on a rendered orbit: where frames are, what it says when it does not know, and that doubt teaches it
nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest

from spark3r_core.geometry import se3
from spark3r_core.photometric import depth_grid
from spark3r_core.photometric.knowledge import Knowledge
from spark3r_core.photometric.levels import grey_levels
from spark3r_core.stream.feature_guess import FeatureGuess
from spark3r_core.stream.keyframe_choice import KeyframeRule
from spark3r_core.stream.motion_hint import MotionHint, StepStds
from spark3r_core.stream.reference import Reference
from spark3r_core.stream.tracked_frame import TrackedFrame
from spark3r_core.stream.tracker import Tracker, _expecting
from tests.core.stream import orbit

FRAMES = 10


def asked_in_vain() -> None:
    return None


def never_asked() -> None:
    raise AssertionError("features were asked for a frame that alignment was sure of")


def begun(index: int = 0) -> Tracker:
    tracker = Tracker()
    tracker.adopt(orbit.reference(index), pose_time_s=index * orbit.INTERVAL_S)
    return tracker


def follow(
    tracker: Tracker, index: int, image: np.ndarray | None = None, by_features: Callable = asked_in_vain
) -> TrackedFrame:
    image = orbit.picture(index) if image is None else image
    return tracker.track(index, grey_levels(image), index * orbit.INTERVAL_S, by_features)


def state(tracker: Tracker) -> list:
    """Everything that later frames depend on, but the count of frames that were lost."""
    key = tracker.reference
    assert key is not None
    motion = tracker.motion
    return [
        key.frame_id, key.frames, key.known.mean.tobytes(), key.known.information.tobytes(),
        key.odom_from_key.tobytes(), [points.depth.tobytes() for points in key.levels],
        [pose.tobytes() for pose in motion._poses], list(motion._times_s), list(motion._intervals_s),
    ]  # fmt: skip


BAD_PICTURES = {
    "black": lambda: np.zeros((*orbit.HW, 3), np.uint8),
    "white": lambda: np.full((*orbit.HW, 3), 255, np.uint8),
    "grey": lambda: np.full((*orbit.HW, 3), 120, np.uint8),
    "noise": lambda: np.random.default_rng(0).integers(0, 255, (*orbit.HW, 3), np.uint8),
    "another room": orbit.elsewhere,
    "upside down": lambda: np.ascontiguousarray(orbit.picture(4)[::-1]),
}


def test_every_frame_of_an_orbit_is_found() -> None:
    tracker = begun()
    for index in range(1, FRAMES):
        found = follow(tracker, index, by_features=never_asked)
        turn, distance = orbit.error(found.odom_from_camera, orbit.pose(index))
        assert found.aligned
        assert not found.doubt
        assert (found.frame_id, found.keyframe_id) == (index, 0)
        assert turn < 0.4
        assert distance < 0.008
        assert found.inliers > 0.85
        assert found.likeness > 0.9
        np.testing.assert_allclose(found.key_from_camera, found.odom_from_camera)
    moved = np.linalg.norm(orbit.pose(FRAMES - 1)[:3, 3]) / tracker.reference.median_depth
    assert found.distance == pytest.approx(moved, rel=0.05)
    assert found.turn == pytest.approx(orbit.error(orbit.pose(FRAMES - 1), np.eye(4))[0], abs=0.3)
    assert tracker.reference.frames == FRAMES - 1


def test_poses_go_on_smoothly_over_the_next_keyframe() -> None:
    tracker = begun()
    for index in range(1, 5):
        found = follow(tracker, index)
    tracker.adopt(orbit.reference(4, found.odom_from_camera))
    for index in range(5, 8):
        found = follow(tracker, index, by_features=never_asked)
        turn, distance = orbit.error(found.odom_from_camera, orbit.pose(index))
        assert found.keyframe_id == 4
        assert turn < 0.5
        assert distance < 0.01
        turn, distance = orbit.error(found.key_from_camera, np.linalg.inv(orbit.pose(4)) @ orbit.pose(index))
        assert turn < 0.4
        assert distance < 0.008


@pytest.mark.parametrize("kind", BAD_PICTURES)
def test_a_picture_of_something_else_is_doubted_and_changes_nothing(kind: str) -> None:
    tracker = begun()
    for index in range(1, 4):
        follow(tracker, index)
    before, asked = state(tracker), []
    found = follow(tracker, 4, BAD_PICTURES[kind](), by_features=lambda: asked.append(kind))
    assert not found.aligned
    assert found.doubt.startswith(("only ", "the picture is not like the keyframe"))
    assert asked, "features are asked before a frame is given up"
    assert state(tracker) == before
    assert tracker.lost_frames == 1
    turn, distance = orbit.error(found.odom_from_camera, orbit.pose(4))
    assert turn < 1, "the guess is steady motion"
    assert distance < 0.02
    assert KeyframeRule().reason(found, 1000) == ""
    back = follow(tracker, 5, by_features=never_asked)
    turn, distance = orbit.error(back.odom_from_camera, orbit.pose(5))
    assert back.aligned
    assert turn < 0.4
    assert distance < 0.008
    assert tracker.lost_frames == 0


def test_after_many_dark_frames_the_camera_is_taken_to_stand_still() -> None:
    tracker = begun()
    for index in range(1, 4):
        last = follow(tracker, index)
    before = state(tracker)
    guesses = [follow(tracker, index, BAD_PICTURES["black"]()) for index in range(4, 9)]
    assert [guess.aligned for guess in guesses] == [False] * 5
    assert tracker.lost_frames == 5
    assert state(tracker) == before
    for guess in guesses[1:]:
        np.testing.assert_allclose(guess.odom_from_camera, last.odom_from_camera, atol=1e-9)


def test_the_same_pictures_give_the_same_bytes() -> None:
    runs = []
    for _ in range(2):
        tracker = begun()
        follow(tracker, 1)
        follow(tracker, 2, BAD_PICTURES["noise"]())
        found = follow(tracker, 3)
        runs.append((found.odom_from_camera.tobytes(), found.covariance.tobytes(), state(tracker)))
    assert runs[0] == runs[1]


def test_a_pose_is_as_sure_as_its_covariance_says() -> None:
    """A keyframe whose depth nobody knows well: turn and sidestep are hard to tell apart, and that is said."""
    turns = []
    for precision in (0.0, 1e4):
        tracker = Tracker()
        tracker.adopt(orbit.reference(0, node_precision=precision), pose_time_s=0.0)
        sigmas = []
        for index in range(1, 9):
            found = follow(tracker, index)
            off = se3.log(se3.require_se3(np.linalg.inv(orbit.pose(index)) @ found.key_from_camera))
            sigmas.append(off @ np.linalg.solve(found.covariance, off) / 6)
        assert 0.002 < np.mean(sigmas) < 2
        turns.append(np.rad2deg(np.sqrt(found.covariance[4, 4])))
    assert 0.05 < turns[1] < 0.9 * turns[0] < 1, "what is known of depth makes poses surer"


@pytest.mark.parametrize("degrees", [45, -45])
def test_features_find_a_camera_that_turned_between_two_frames(degrees: float) -> None:
    tracker = begun()
    key = tracker.reference
    rolled = cv2.warpAffine(orbit.picture(2), cv2.getRotationMatrix2D((95.5, 71.5), degrees, 1.0), (192, 144))
    truth = orbit.pose(2) @ se3.exp(np.array([0, 0, 0, 0, 0, np.deg2rad(degrees)]))
    assert not follow(begun(), 2, rolled).aligned, "out of the gradient's reach, or this test shows nothing"
    found = follow(tracker, 2, rolled, by_features=lambda: key.guess(rolled))
    turn, distance = orbit.error(found.odom_from_camera, truth)
    assert found.aligned
    assert found.guessed_by_features
    assert turn < 0.5
    assert distance < 0.01
    assert found.turn == pytest.approx(45, abs=2)
    assert tracker.motion.continued([0.3]) is None, "it did not come here by steady motion, and will not go on so"


def test_features_are_asked_where_fewer_pixels_agree_than_before() -> None:
    """A picture of which a sixth differs is aligned all the same; it could be another place that looks alike."""
    tracker, asked = begun(), []
    follow(tracker, 1)
    follow(tracker, 2)
    changed = orbit.picture(3).copy()
    changed[:, :32] = 255 - changed[:, :32]
    found = follow(tracker, 3, changed, by_features=lambda: asked.append(3))
    assert found.aligned
    assert 0.75 < found.inliers < 0.92
    assert asked == [3]


def test_a_guess_counts_what_a_pose_explains() -> None:
    points = np.random.default_rng(0).uniform([-1, -1, 2], [1, 1, 4], (50, 3))
    pose = se3.exp([0.1, 0, 0.05, 0, 0.1, 0])
    seen = points @ pose[:3, :3].T + pose[:3, 3]
    places = ((seen / seen[:, 2:]) @ orbit.INTRINSICS.T)[:, :2].astype(np.float32)
    places[:10] += 40
    guess = FeatureGuess(pose, points, places, orbit.INTRINSICS, 192)
    assert guess.agreeing(pose) == 40
    assert guess.agreeing(se3.exp([1.0, 0, 0, 0, 0, 0])) < 5
    assert guess.agreeing(se3.exp([0, 0, -9.0, 0, 0, 0])) == 0, "points behind the camera"


def test_a_wrong_guess_by_features_is_not_believed() -> None:
    tracker = begun()
    follow(tracker, 1)
    before = state(tracker)
    wrong = FeatureGuess(
        np.linalg.inv(orbit.pose(8)), np.ones((9, 3)), np.zeros((9, 2), np.float32), orbit.INTRINSICS, 192
    )
    found = follow(tracker, 2, orbit.elsewhere(), by_features=lambda: wrong)
    assert not found.aligned
    assert not found.guessed_by_features
    assert state(tracker) == before


def test_knowledge_of_a_keyframe_grows_and_mends_its_depth() -> None:
    reference = orbit.reference(0)
    tracker = Tracker()
    tracker.adopt(reference, pose_time_s=0.0)
    before = np.trace(reference.known.information[:-1, :-1])
    for index in range(1, 6):
        follow(tracker, index)
        after = np.trace(reference.known.information[:-1, :-1])
        assert after > before
        before = after
    assert tracker.fixed_focal
    np.testing.assert_allclose(reference.camera(), orbit.INTRINSICS, rtol=1e-9)


def test_a_relief_that_was_taken_inside_out_is_given_up() -> None:
    """The keyframe's depth as the bas-relief ambiguity turns it: near is far, and the camera goes the other way."""
    reference = orbit.reference(0, node_precision=0.0)
    row, column = np.mgrid[: depth_grid.ROWS, : depth_grid.COLUMNS]
    rows = np.minimum(row * orbit.HW[0] // (depth_grid.ROWS - 1), orbit.HW[0] - 1)
    columns = np.minimum(column * orbit.HW[1] // (depth_grid.COLUMNS - 1), orbit.HW[1] - 1)
    relief = np.log(orbit.depth(0)[rows, columns]).ravel()
    inside_out = np.append(-2 * (relief - relief.mean()), 0.0)
    reference.known = Knowledge(inside_out, reference.known.information + 2e3 * np.eye(len(inside_out)))
    tracker = Tracker()
    tracker.adopt(reference, pose_time_s=0.0)
    first = follow(tracker, 1)
    assert first.aligned, "its pixels agree, or this test shows nothing"
    assert orbit.error(first.odom_from_camera, orbit.pose(1))[0] > 0.7
    for index in range(2, 6):
        found = follow(tracker, index)
    turn, distance = orbit.error(found.odom_from_camera, orbit.pose(5))
    assert turn < 0.8, "without doubt 5 degrees"
    assert distance < 0.015, "without doubt 0.09"
    assert np.std(reference.known.nodes) < 0.2, "at first 0.41"


def test_a_picture_without_texture_is_no_reference() -> None:
    assert orbit.reference(0).has_texture
    plain = Reference.of(0, grey_levels(BAD_PICTURES["grey"]()), orbit.depth(0), orbit.INTRINSICS, np.eye(4))
    assert not plain.has_texture
    assert plain.guess(orbit.picture(0)) is None


def hint_of(index: int, turned_deg: float = 0.0, is_sure: bool = True) -> MotionHint:
    """What a gyroscope says of a frame of the orbit, wrong by a turn about its y axis."""
    off = se3.exp([0, 0, 0, 0, np.deg2rad(turned_deg), 0])
    return MotionHint.of(0, se3.compose(orbit.pose(index), off), has_position=False, is_sure=is_sure)


def begun_with_hint() -> Tracker:
    tracker = begun()
    tracker.newest_hint = hint_of(0)
    tracker.reference.hint = hint_of(0)
    return tracker


def tracked_with(tracker: Tracker, index: int, hint: MotionHint | None) -> TrackedFrame:
    return tracker.track(index, grey_levels(orbit.picture(index)), index * orbit.INTERVAL_S, asked_in_vain, hint)


def test_a_measured_turn_leads_to_a_frame_that_is_out_of_the_gradients_reach() -> None:
    far = 40
    turn = np.rad2deg(se3.relative_angle(orbit.pose(far), orbit.pose(0)))
    assert turn > 25
    assert not tracked_with(begun(), far, None).aligned
    found = tracked_with(begun_with_hint(), far, hint_of(far))
    assert found.aligned
    assert orbit.error(found.odom_from_camera, orbit.pose(far))[0] < 1
    assert np.rad2deg(se3.relative_angle(found.hinted_key_from_camera, orbit.pose(far))) < 1e-4


def test_pixels_that_fit_another_turn_than_the_one_that_was_measured_confirm_nothing() -> None:
    tracker = begun_with_hint()
    before = state(tracker)
    found = tracked_with(tracker, 3, hint_of(3, turned_deg=10))
    assert not found.aligned
    assert "another turn" in found.doubt
    assert state(tracker) == before
    wrong = se3.compose(orbit.pose(3), se3.exp([0, 0, 0, 0, np.deg2rad(10), 0]))
    assert np.rad2deg(se3.relative_angle(found.odom_from_camera, wrong)) < 0.5, "the guess is the measured turn"


def test_a_hint_that_is_not_sure_is_one_guess_among_others() -> None:
    found = tracked_with(begun_with_hint(), 3, hint_of(3, turned_deg=10, is_sure=False))
    assert found.aligned
    assert found.hinted_key_from_camera is None
    assert orbit.error(found.odom_from_camera, orbit.pose(3))[0] < 0.4


def test_hints_of_different_runs_say_nothing_of_each_other() -> None:
    one, other = hint_of(0), replace(hint_of(3, turned_deg=10), run=1)
    assert one.to(other) is None
    tracker = begun_with_hint()
    assert tracked_with(tracker, 3, other).aligned


@pytest.mark.parametrize("std", [None, 0.0005, 0.05, 0.3])
def test_a_hint_counts_as_much_as_its_sensor_says(std: float | None) -> None:
    """By 4 degrees off: without a deviation it denies what pixels say, and one that claims to be sure draws the frame
    to it. With a deviation of 3 degrees that is within it; with 17 it is a first guess."""
    variances = [None if std is None else (0.0, n * std**2) for n in (1, 2)]
    first, hint = (
        replace(hint_of(index, turned_deg=turned), variances=one)
        for index, turned, one in zip((0, 3), (0.0, 4.0), variances, strict=True)
    )
    tracker = begun()
    tracker.newest_hint = tracker.reference.hint = first
    found = tracked_with(tracker, 3, hint)
    off, _ = orbit.error(found.odom_from_camera, orbit.pose(3))
    assert found.aligned == (std is not None)
    assert (found.hinted_key_from_camera is None) == (std == 0.3)
    assert off > 1.5 if std in (None, 0.0005) else off < 0.4


def test_a_picture_unlike_the_one_before_breaks_what_was_followed() -> None:
    tracker = begun()
    shown = [orbit.picture(1), orbit.picture(2), orbit.elsewhere(), orbit.picture(3), orbit.picture(4)]
    found = [follow(tracker, index + 1, image) for index, image in enumerate(shown)]
    assert [one.broken for one in found] == [True, False, True, True, False], "nothing is before the first"
    assert [one.aligned for one in found] == [True, True, False, True, True]


def test_an_expected_pose_is_held_as_tightly_as_it_is_known() -> None:
    pose = se3.exp([0.1, 0, 0, 0, 0.02, 0])
    free = _expecting(pose, None, None)
    tight, loose = (_expecting(pose, None, StepStds(place, turn)) for place, turn in ((0.001, 0.0002), (0.5, 0.05)))
    assert (tight.trust > 5 * loose.trust).all()
    assert (tight.trust[3:] > free.trust[3:]).all(), "of a turn without a deviation the clock's error is feared"
    np.testing.assert_array_equal(_expecting(pose, None, StepStds(np.inf, 0.01)).trust[:3], free.trust[:3])
