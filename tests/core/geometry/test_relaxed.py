"""Frames between two keyframes, once the keyframes moved: the ends are exact, what is between goes along evenly."""

from __future__ import annotations

import numpy as np
import pytest

from spark3r_core.geometry import se3
from spark3r_core.geometry.relaxed import LONGEST_REACH, handed_over, relaxed

TIMES = np.linspace(10.0, 11.0, 11)  # of the frames; keyframes at both ends
STEP = np.array([0.05, 0.01, 0.02, 0.004, 0.02, -0.006])
TRACKED_PATH = np.stack([se3.exp(i * STEP) for i in range(11)])
TRACKED = TRACKED_PATH[-1]
CORRECTION = np.array([0.06, -0.03, 0.02, 0.02, 0.05, -0.03])
ADJUSTED = se3.compose(se3.exp(CORRECTION), TRACKED)


def test_the_ends_are_exact() -> None:
    found = relaxed(TRACKED_PATH, TIMES, 10.0, 11.0, TRACKED, ADJUSTED)
    np.testing.assert_allclose(found[0], TRACKED_PATH[0], atol=1e-12)
    np.testing.assert_allclose(found[-1], ADJUSTED, atol=1e-12)
    for pose in found:
        se3.require_se3(pose)


def test_what_is_between_moves_by_its_share_of_time() -> None:
    found = relaxed(TRACKED_PATH, TIMES, 10.0, 11.0, TRACKED, ADJUSTED)
    moved = np.stack(
        [se3.log(se3.compose(now, se3.invert(then))) for now, then in zip(found, TRACKED_PATH, strict=True)]
    )
    np.testing.assert_allclose(moved, np.linspace(0, 1, 11)[:, None] * CORRECTION, atol=1e-12)
    uneven = relaxed(TRACKED_PATH[[3, 7]], TIMES[[3, 7]], 10.0, 11.0, TRACKED, ADJUSTED)
    np.testing.assert_allclose(uneven, found[[3, 7]], atol=1e-12, err_msg="a frame does not depend on its neighbours")


def test_an_error_that_grew_evenly_is_undone() -> None:
    """Tracking that turned too much at every step: what is relaxed is nearer to the truth everywhere."""
    truth = np.stack([se3.exp(i * STEP * [1, 1, 1, 0.7, 0.7, 0.7]) for i in range(11)])
    found = relaxed(TRACKED_PATH, TIMES, 10.0, 11.0, TRACKED, truth[-1])
    before = [np.linalg.norm(se3.log(se3.compose(se3.invert(a), b))) for a, b in zip(TRACKED_PATH, truth, strict=True)]
    after = [np.linalg.norm(se3.log(se3.compose(se3.invert(a), b))) for a, b in zip(found, truth, strict=True)]
    assert (np.array(after)[1:] < 0.4 * np.array(before)[1:]).all()
    assert max(after) < 0.1 * max(before)


def test_nothing_that_was_adjusted_moves_nothing() -> None:
    found = relaxed(TRACKED_PATH, TIMES, 10.0, 11.0, TRACKED, TRACKED)
    np.testing.assert_allclose(found, TRACKED_PATH, atol=1e-12)


def test_frames_after_the_next_keyframe_go_on_and_stop_in_time() -> None:
    """They were tracked on the old keyframe while the new one was being mapped."""
    poses = np.stack([TRACKED_PATH[0]] * 4)
    found = relaxed(poses, [9.0, 11.2, 11.5, 15.0], 10.0, 11.0, TRACKED, ADJUSTED)
    shares = np.array([0, 1.2, LONGEST_REACH, LONGEST_REACH])
    np.testing.assert_allclose(se3.log(found), shares[:, None] * CORRECTION, atol=1e-12)


@pytest.mark.parametrize("next_time", [10.0, 9.0])
def test_a_clock_that_stood_still_or_went_back_relaxes_nothing(next_time: float) -> None:
    found = relaxed(TRACKED_PATH, TIMES, 10.0, next_time, TRACKED, ADJUSTED)
    np.testing.assert_array_equal(found, TRACKED_PATH)


def test_no_frames_are_no_frames() -> None:
    assert relaxed(np.zeros((0, 4, 4)), np.zeros(0), 10.0, 11.0, TRACKED, ADJUSTED).shape == (0, 4, 4)


def test_a_keyframe_that_was_aligned_wrongly_moves_no_frame_before_it() -> None:
    """The correction is a mistake mended, not drift; what was tracked after it went along with the mistake."""
    for mistake in (
        np.array([0, 0, 0, 0, np.radians(8), 0.0]),
        np.array([3.0, 0, 0, 0, 0, 0]) * np.linalg.norm(TRACKED[:3, 3]),
    ):
        adjusted = se3.compose(se3.exp(mistake), TRACKED)
        if not np.any(mistake[3:]):
            adjusted, tracked = TRACKED, se3.compose(se3.exp(4 * mistake), TRACKED)
        else:
            tracked = TRACKED
        path = np.concatenate([TRACKED_PATH[:-1], tracked[None]])
        found = relaxed(path, TIMES, 10.0, 11.0, tracked, adjusted)
        np.testing.assert_array_equal(found[:-1], path[:-1])
        np.testing.assert_allclose(found[-1], adjusted, atol=1e-9)


class TestHandedOver:
    """Frames 6 to 10 came after the next keyframe, frame 5; frame 11 is the first that was tracked on it."""

    path = np.stack([se3.exp(i * STEP) for i in range(11)])
    expected = se3.exp(11 * STEP)
    error = np.array([0.02, -0.01, 0.01, 0.01, 0.02, -0.01])

    def over(self, first: np.ndarray, first_time_s: float = 11.1) -> np.ndarray:
        return handed_over(self.path, TIMES, 10.5, self.path[5], first_time_s, first)

    def test_they_run_evenly_into_the_first_frame_on_the_next_keyframe(self) -> None:
        found = self.over(se3.compose(se3.exp(self.error), self.expected))
        np.testing.assert_allclose(found[:6], self.path[:6], atol=1e-12)
        moved = np.stack(
            [se3.log(se3.compose(a, se3.invert(b))) for a, b in zip(found[6:], self.path[6:], strict=True)]
        )
        np.testing.assert_allclose(moved, np.arange(1, 6)[:, None] / 6 * self.error, atol=1e-9)

    def test_what_already_fits_stays(self) -> None:
        np.testing.assert_allclose(self.over(self.expected), self.path, atol=1e-12)

    def test_a_jump_is_a_mistake_that_was_mended_and_moves_nothing(self) -> None:
        turned = se3.compose(se3.exp([0, 0, 0, 0, np.radians(8), 0]), self.expected)
        np.testing.assert_array_equal(self.over(turned), self.path)

    @pytest.mark.parametrize("first_time_s", [11.0, 10.2])
    def test_a_clock_that_went_back_moves_nothing(self, first_time_s: float) -> None:
        np.testing.assert_array_equal(self.over(self.expected, first_time_s), self.path)
