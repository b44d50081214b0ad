"""While the focal length is a guess: from where adjustment is tried, and which end is believed."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from spark3r_core.bundle.guard import Verdict
from spark3r_core.bundle.problem import Cameras
from spark3r_core.geometry import se3
from spark3r_core.stream import guessed_focal
from spark3r_core.stream.adjustment import adjust
from spark3r_core.stream.guessed_focal import DEPENDENT, PAID, bends, focals_to_try, ran_away
from spark3r_core.stream.keyframe_map import TrackedEdge
from tests.core.stream import orbit
from tests.core.stream.test_adjustment import FOCAL, world_of


@pytest.mark.parametrize(
    ("ratio", "std", "expected"), [(1.2, 0.3, False), (2.0, 0.3, True), (0.5, 0.3, True), (2.0, 0.03, False)]
)
def test_a_focal_length_far_from_the_networks_needs_parallax(ratio: float, std: float, expected: bool) -> None:
    cameras = SimpleNamespace(focal=200.0 * ratio)
    verdict = Verdict(SimpleNamespace(cameras=cameras, focal_std=std / DEPENDENT), True, 1.0, 0.5)
    assert ran_away(verdict, 200.0) is expected
    assert not ran_away(Verdict(None, False, 1.0, 1.0, "too few tracks"), 200.0)


def cameras(distance: float) -> Cameras:
    """Two, the second so far to the right of the first."""
    poses = np.stack([np.eye(4), se3.exp([-distance, 0, 0, 0, 0, 0])])
    return Cameras(poses, np.zeros(2), np.array([True, False]), FOCAL, FOCAL, 0.0, np.zeros(2))


@pytest.mark.parametrize(
    ("distance", "after", "expected"),
    [(0.2, 1.0, False), (0.06, 1.0, True), (0.06, 0.99 * PAID, False), (0.5, 1.0, True)],
)
def test_a_way_that_is_bent_must_be_paid_for(distance: float, after: float, expected: bool) -> None:
    """Tracked as 0.2, and adjusted to another distance, with another error where it was 1."""
    world = world_of((0, 8))
    world.edges.append(TrackedEdge(0, 8, se3.exp([-0.2, 0, 0, 0, 0, 0]), np.eye(6)))
    verdict = Verdict(SimpleNamespace(cameras=cameras(distance)), True, 1.0, after)
    assert bends(verdict, cameras(0.2), world, {0: 0, 8: 1}) is expected
    assert not bends(replace(verdict, accepted=False), cameras(0.2), world, {0: 0, 8: 1})
    assert not bends(verdict, cameras(0.2), replace(world, edges=[]), {0: 0, 8: 1}), "nothing was tracked"


def test_other_focal_lengths_are_tried_where_a_young_map_does_not_agree_with_itself() -> None:
    def verdict(after: float, accepted: bool = True) -> Verdict:
        return Verdict(None, accepted, 1.0, after)

    assert focals_to_try(verdict(0.2), 5, 320) == (1.0,)
    assert focals_to_try(verdict(0.4), 5, 640) == (1.0,), "pixels of a picture of 640"
    assert focals_to_try(verdict(0.4), 5, 320) == (1.0, 0.8, 1.25)
    assert focals_to_try(verdict(0.2, accepted=False), 5, 320) == (1.0, 0.8, 1.25)
    assert focals_to_try(verdict(math.nan), 5, 320) == (1.0, 0.8, 1.25)
    assert focals_to_try(verdict(0.4), 2, 320) == (1.0,), "two keyframes have a valley each"


def test_a_valley_of_another_focal_length_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adjustment, from other turns as well, ends in the wrong place; from a focal length beside, in the right one."""
    world = world_of((0, 8, 16, 24))
    world.focal, world.network_focals = 1.25 * orbit.INTRINSICS[0, 0], [1.25 * orbit.INTRINSICS[0, 0]]
    world.focal_std = math.inf
    whole, asked = guessed_focal.adjust_guarded, []

    def guarded(cameras: Cameras, *arguments: object) -> Verdict:
        asked.append(cameras.focal / world.focal)
        found = whole(cameras, *arguments)
        return found if asked[-1] < 0.9 else replace(found, after=2.0)

    monkeypatch.setattr(guessed_focal, "adjust_guarded", guarded)
    found = adjust(world, [0, 8, 16, 24], {0}, orbit.HW, focal_is_known=False)
    assert asked[1:4] == pytest.approx([1.0, 0.8, 1.25])
    assert found.verdict.accepted
    assert found.map.focal / orbit.INTRINSICS[0, 0] == pytest.approx(1.0, abs=0.12)
