"""What the refiner expects of the next frames: steady motion, and nothing when the clock says nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from spark3r_core.geometry import se3
from spark3r_core.photometric.motion import LONG_STEP, SHORT_STEP, Motion

TWIST = np.array([0.02, -0.01, 0.03, 0.01, 0.03, -0.02])


def pose_at(time_s: float) -> np.ndarray:
    """On a screw motion, TWIST per second."""
    return se3.compose(se3.exp([0.3, 0.1, -2.0, 0.4, 1.0, 0.2]), se3.exp(time_s * TWIST))


def motion(times_s: Sequence[float]) -> Motion:
    result = Motion()
    for time_s in times_s:
        result.append(pose_at(time_s), time_s)
    return result


@pytest.mark.parametrize("interval", [1.0, 1 / 30])
def test_a_constant_twist_goes_on_exactly(interval: float) -> None:
    times = interval * np.arange(9)
    found = motion(times[:5]).continued(times[5:])
    assert found is not None
    np.testing.assert_allclose(found, [pose_at(t) for t in times[5:]], atol=1e-12)


def test_uneven_intervals_keep_the_speed() -> None:
    times = np.cumsum([0, 1.0, 1.3, 0.7, 1.0, 2.0, 0.5, 1.0, 3.0])
    found = motion(times[:6]).continued(times[6:])
    assert found is not None
    np.testing.assert_allclose(found, [pose_at(t) for t in times[6:]], atol=1e-12)


def test_a_repeated_stamp_counts_as_a_usual_step() -> None:
    times = [0.0, 1.0, 2.0, 3.0]
    moving = motion(times)
    np.testing.assert_array_equal(moving.steps([3.0, 4.0]), [1, 1, 1])
    found = moving.continued([3.0, 4.0])
    assert found is not None
    np.testing.assert_allclose(found, [pose_at(4.0), pose_at(5.0)], atol=1e-12)
    moving.append(pose_at(4.0), 3.0)  # the same stamp, already among the two newest
    speed = moving.speed([4.0])
    assert speed is not None
    np.testing.assert_allclose(speed, TWIST, atol=1e-12)


def test_stamps_that_lie_close_together_do_not_make_a_great_speed() -> None:
    moving = motion([0.0, 1.0, 2.0, 3.0])
    moving.append(pose_at(4.0), 3.0001)
    assert moving.steps([4.0])[0] == SHORT_STEP
    speed = moving.speed([4.0])
    assert speed is not None
    np.testing.assert_allclose(speed, TWIST / SHORT_STEP, atol=1e-9)


def test_a_clock_that_was_set_back_says_nothing_until_two_frames_later() -> None:
    moving = motion([100.0, 101.0, 102.0])
    assert moving.speed([7.0, 8.0]) is None
    assert moving.continued([7.0, 8.0]) is None
    assert moving.past([7.0, 8.0], np.eye(4)) is None
    moving.append(pose_at(103.0), 7.0)
    assert moving.speed([8.0]) is None
    moving.append(pose_at(104.0), 8.0)
    speed = moving.speed([9.0])
    assert speed is not None
    np.testing.assert_allclose(speed, TWIST, atol=1e-9)


def test_after_a_long_pause_the_old_speed_means_nothing() -> None:
    moving = motion([0.0, 1.0, 2.0, 3.0])
    assert moving.speed([3.0 + LONG_STEP - 0.5]) is not None
    assert moving.speed([3.0 + LONG_STEP + 0.5]) is None
    assert moving.speed([4.0, 5.0 + LONG_STEP + 0.5]) is None  # within the window, too


def test_one_frame_has_no_speed() -> None:
    assert Motion().next_times(2) == [0.0, 1.0]
    moving = motion([5.0])
    assert moving.speed([6.0]) is None
    assert moving.past([6.0], np.eye(4)) is None
    assert moving.next_times(3) == [6.0, 7.0, 8.0]
    np.testing.assert_array_equal(moving.newest, pose_at(5.0))


def test_the_past_is_seen_from_the_keyframe() -> None:
    world_from_key = se3.exp([1.0, 0.2, 0.1, 0.3, -0.4, 0.5])
    past = motion([0.0, 1.0, 2.0]).past([3.0, 5.0], world_from_key)
    assert past is not None
    for index, time_s in enumerate((1.0, 2.0)):
        back = se3.compose(world_from_key, se3.invert(past.camera_from_key[index]))
        np.testing.assert_allclose(back, pose_at(time_s), atol=1e-12)
    assert past.speed == pytest.approx(float(np.linalg.norm(TWIST[:3])))
    np.testing.assert_allclose(past.steps, [1, 1, 2])


def test_the_usual_interval_follows_the_newest_ones() -> None:
    times = [*np.arange(0, 10, 1.0), *np.arange(10, 20, 0.1)]
    assert motion(times).steps([times[-1] + 0.1])[-1] == pytest.approx(1.0)
