"""Ways from one keyframe to the next, as tracked and as mapped: when they agree."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spark3r_core.geometry import se3
from spark3r_core.stream.way_agreement import way_between, ways_agree
from tests.core.stream.test_camera_sizes_and_map import keyframe


def way(x: float, turn_deg: float = 0.0) -> np.ndarray:
    return se3.exp([x, 0, 0, 0, np.deg2rad(turn_deg), 0])


@pytest.mark.parametrize(
    ("tracked", "mapped", "agree"),
    [
        (way(0.2), way(0.2), True),
        (way(0.2), way(0.28), True),
        (way(0.2), way(0.45), False),
        (way(0.45), way(0.2), False),
        (way(0.2), way(-0.2), False),
        (way(0.2), way(0.2, 4), True),
        (way(0.2), way(0.2, 6), False),
        (way(0.01), way(0.03), True),  # of a scene 2 away: too short to say anything
    ],
)
def test_ways_agree_in_share_and_turn(tracked: np.ndarray, mapped: np.ndarray, agree: bool) -> None:
    assert ways_agree(tracked, mapped, 2.0) is agree


@pytest.mark.parametrize(
    ("tracked", "mapped", "agree"),
    [
        (way(0.2), way(0.03), True),  # tracking took a part of the turn for a way, which adjustment does not
        (way(0.03), way(0.2), False),
        (way(0.2), way(0.03, 6), False),
    ],
)
def test_a_measured_turn_on_the_spot_is_believed(tracked: np.ndarray, mapped: np.ndarray, agree: bool) -> None:
    assert ways_agree(tracked, mapped, 2.0, turn_is_measured=True) is agree
    assert not ways_agree(tracked, mapped, 2.0)


def test_a_way_is_given_in_the_unit_of_its_first_keyframe() -> None:
    first, second = keyframe(0), keyframe(4)
    expected = np.linalg.inv(first.world_from_camera) @ second.world_from_camera
    np.testing.assert_allclose(way_between(replace(first, scale=1.0), second), expected, atol=1e-12)
    expected[:3, 3] /= 2.5
    np.testing.assert_allclose(way_between(replace(first, scale=2.5), second), expected, atol=1e-12)
