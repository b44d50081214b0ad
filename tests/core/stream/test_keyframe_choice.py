"""When a frame becomes a keyframe, by numbers and on a camera that moves or does not."""

from __future__ import annotations

import numpy as np
import pytest

from spark3r_core.photometric.levels import grey_levels
from spark3r_core.stream.keyframe_choice import KeyframeRule
from spark3r_core.stream.tracker import Tracker
from tests.core.stream import orbit

RULE = KeyframeRule()


@pytest.mark.parametrize(
    ("changes", "frames", "reason"),
    [
        ({}, 5, ""),
        ({"overlap": 0.67}, 1, "overlap"),
        ({"overlap": 0.69}, 1, ""),
        ({"distance": 0.23}, 1, "distance"),
        ({"distance": 0.21}, 1, ""),
        ({"turn": 21.0}, 1, "turn"),
        ({"turn": 19.0}, 1, ""),
        ({"inliers": 0.78, "distance": 0.07}, 1, "agreement"),
        ({"inliers": 0.78, "turn": 6.0}, 1, "agreement"),
        ({"inliers": 0.78}, 1, ""),  # something moves before a camera that stands still
        ({"inliers": 0.82, "distance": 0.07}, 1, ""),
        ({"distance": 0.07}, 40, "age"),
        ({"turn": 5.5}, 40, "age"),
        ({"distance": 0.07}, 39, ""),
        ({"distance": 0.05, "turn": 4.0}, 10_000, ""),
        ({"overlap": 0.5, "distance": 0.5, "turn": 50.0}, 100, "overlap"),
        ({"aligned": False, "overlap": 0.1, "distance": 3.0, "turn": 90.0, "inliers": 0.1}, 100, ""),
    ],
)
def test_the_reason_is_the_first_bound_that_is_passed(changes: dict, frames: int, reason: str) -> None:
    assert RULE.reason(orbit.tracked(0, 1, **changes), frames) == reason


def reasons(indices: list[int], rng: np.random.Generator | None = None) -> list[str]:
    """Per frame of a walk over the orbit's pictures; `rng`: noise of the camera."""
    tracker = Tracker()
    tracker.adopt(orbit.reference(0), pose_time_s=0.0)
    found = []
    for count, index in enumerate(indices, 1):
        picture = orbit.picture(index)
        if rng is not None:
            picture = np.clip(picture + rng.normal(0, 4, picture.shape), 0, 255).astype(np.uint8)
        tracked = tracker.track(count, grey_levels(picture), count * orbit.INTERVAL_S, lambda: None)
        assert tracked.aligned
        found.append(RULE.reason(tracked, count))
    return found


def test_standing_still_makes_no_keyframe() -> None:
    assert reasons([0] * 60, np.random.default_rng(0)) == [""] * 60


def test_moving_makes_one_for_the_distance() -> None:
    found = reasons([2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22])
    first = next(place for place, reason in enumerate(found) if reason)
    assert 5 < first < 11
    assert found[first] == "distance"
    truth = orbit.pose(2 * first + 2)[:3, 3]
    assert np.linalg.norm(truth) / np.median(orbit.depth(0)) == pytest.approx(RULE.most_distance, rel=0.2)
