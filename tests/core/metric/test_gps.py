"""A map among positions: its scale, what is up, the antenna, false positions, and positions that are garbage."""

from __future__ import annotations

import numpy as np
import pytest

from spark3r_core.geometry.rotation import exp_so3, rotation_angle
from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.metric.gps import GpsEvidence
from spark3r_core.metric.gps_fit import PlacesFit, fit_places
from spark3r_core.metric.measured import MetricMap
from spark3r_core.metric.options import MetricOptions
from spark3r_core.metric.scale import MOST_STD

TRUE = Sim3(2.3, exp_so3(np.array([-1.5, 0.3, -0.2])), np.array([100.0, -50.0, 3.0]))  # metres_from_map
CAMERA = np.diag([300.0, 300.0, 1.0])


def circle(count: int, radius: float = 5.0) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, count)
    return radius * np.stack([np.sin(angle), 0.02 * np.sin(3 * angle), np.cos(angle)], 1)


def fitted(centres: np.ndarray, places: np.ndarray, std: float = 0.5) -> PlacesFit | None:
    return fit_places(centres, np.zeros_like(centres), places, np.full_like(places, std))


def test_scale_and_up_are_as_well_known_as_they_say() -> None:
    scales, ups = [], []
    for seed in range(25):
        rng = np.random.default_rng(seed)
        places = TRUE.apply_to_points(circle(30)) + rng.normal(0, 0.5, (30, 3))
        thrown = rng.choice(30, 3, replace=False)
        places[thrown] += rng.normal(0, 20, (3, 3))
        found = fitted(circle(30), places)
        assert found is not None
        scales.append(np.log(found.metres_from_map.scale / TRUE.scale) / found.log_std)
        up = TRUE.rotation.T[:, 2] @ found.metres_from_map.rotation.T[:, 2]
        ups.append(np.arccos(min(1.0, up)) / found.up_std)
        assert found.weights[thrown].mean() < 0.2 < found.weights.mean()
    assert 0.5 < np.std(scales) < 1.3
    assert 0.5 < np.sqrt(np.mean(np.square(ups))) < 1.3


def test_a_drift_of_the_map_widens_what_is_known() -> None:
    rng = np.random.default_rng(0)
    exact = TRUE.apply_to_points(circle(40))
    noisy = exact + rng.normal(0, 0.1, exact.shape)
    sure, drifting = fitted(circle(40), noisy, 0.1), fitted(circle(40) * np.linspace(1, 1.2, 40)[:, None], noisy, 0.1)
    assert sure is not None
    assert drifting is not None
    assert drifting.log_std > 5 * sure.log_std


def test_a_short_path_does_not_know_the_scale_and_a_straight_one_not_what_is_up() -> None:
    rng = np.random.default_rng(0)
    short = fitted(circle(30, 0.1), TRUE.apply_to_points(circle(30, 0.1)) + rng.normal(0, 1, (30, 3)), 1.0)
    assert short is None or short.log_std > MOST_STD
    line = np.linspace(0, 10, 30)[:, None] * [1.0, 0.0, 0.0]
    straight = fitted(line, TRUE.apply_to_points(line) + rng.normal(0, 0.2, line.shape), 0.2)
    assert straight is not None
    assert straight.metres_from_map.scale == pytest.approx(TRUE.scale, rel=4 * straight.log_std)
    assert straight.up_std > 1
    assert fitted(circle(11), TRUE.apply_to_points(circle(11))) is None, "too few"


@pytest.mark.parametrize("kind", ["white", "walk", "stuck"])
@pytest.mark.parametrize("count", [15, 40])
def test_garbage_gives_no_scale(kind: str, count: int) -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        places = rng.normal(0, 8.0 if kind == "white" else 0.5, (count, 3))
        if kind == "walk":
            places = np.cumsum(4 * places, 0)
        found = fitted(circle(count), places)
        assert found is None or found.log_std > MOST_STD


def keyframes(count: int) -> dict[int, Sim3]:
    """On the circle, looking along it."""
    angle = np.linspace(0, 2 * np.pi, count)
    turns = exp_so3(np.stack([0 * angle, angle + np.pi / 2, 0 * angle], 1))
    lies = zip(turns, circle(count), strict=True)
    return {10 * i: Sim3(1.0, turn, centre) for i, (turn, centre) in enumerate(lies)}


def with_fixes(lies: dict[int, Sim3], evidence: GpsEvidence | MetricMap, antenna: np.ndarray, per_key: int = 1) -> None:
    """A keyframe per second and fixes of an antenna on the camera, between which the camera goes straight."""
    sent = evidence.add_fix if isinstance(evidence, GpsEvidence) else evidence.saw_fix
    for i, (frame_id, key) in enumerate(lies.items()):
        if isinstance(evidence, GpsEvidence):
            evidence.add_keyframe(float(i), frame_id)
        else:
            evidence.saw_frame(float(i), frame_id, None)
        camera = TRUE.apply_to_points(key.translation)
        sent(i / per_key, camera + TRUE.rotation @ key.rotation @ antenna, np.full(3, 0.05))


@pytest.mark.parametrize("given", [True, False])
def test_the_antenna_beside_the_camera_counts(given: bool) -> None:
    antenna = np.array([0.4, -0.3, -2.0])
    evidence = GpsEvidence((0.4, -0.3, -2.0) if given else (0.0, 0.0, 0.0))
    lies = keyframes(40)
    with_fixes(lies, evidence, antenna)
    found = evidence.known(lies).fit(lies)
    assert found is not None
    off = abs(found.metres_from_map.scale / TRUE.scale - 1)
    assert off < 1e-6 if given else off > 0.01
    if given:
        assert rotation_angle(found.metres_from_map.rotation.T @ TRUE.rotation) < 1e-4


def test_keyframes_are_interpolated_and_those_between_the_same_fixes_share_them() -> None:
    evidence = GpsEvidence()
    for frame_id, time_s in ((1, 0.25), (2, 0.5), (3, 1.5), (4, 9.0), (5, 20.0)):
        evidence.add_keyframe(time_s, frame_id)
    for time_s in (0.0, 1.0, 2.0, 8.0, 10.0, 10.0, 9.5):
        evidence.add_fix(time_s, np.array([time_s, 0, 0]), np.ones(3))
    known = evidence.known(range(9))
    assert known.keyframe_ids == (1, 2, 3, 4), "keyframe 5 waits for a later fix"
    np.testing.assert_allclose(known.metres[:, 0], [0.25, 0.5, 1.5, 9.0])
    curve = np.hypot(1, 1 / 8)
    np.testing.assert_allclose(known.stds[:, 0], [np.sqrt(2) * curve] * 2 + [curve, np.hypot(1, 4 / 8)])
    late = GpsEvidence()
    late.add_keyframe(4.0, 7)
    for time_s in (2.0, 8.0):
        late.add_fix(time_s, np.zeros(3), np.ones(3))
    assert not late.known([7]).keyframe_ids, "nothing was known for six seconds"
    late.take_in(evidence)
    assert late.known([1, 7]).keyframe_ids == (1,)


def test_it_is_a_source_of_the_scale_beside_the_others_and_says_what_is_up() -> None:
    lies = keyframes(40)
    metric = MetricMap(MetricOptions())
    assert not metric.asks
    assert metric.measured(lies, CAMERA) is None
    with_fixes(lies, metric, np.zeros(3))
    assert metric.asks
    up_in_map = TRUE.rotation[2]
    found = metric.measured(lies, CAMERA)
    assert found is not None
    assert found.up is not None
    assert found.scale.source == "gps"
    assert found.scale.metres_per_unit == pytest.approx(TRUE.scale, rel=1e-3)
    np.testing.assert_allclose(found.up, up_in_map, atol=1e-3)


def test_positions_whose_axes_were_swapped_are_refused() -> None:
    """A level path and its mirror image differ by what is up."""
    lies, evidence = keyframes(40), GpsEvidence()
    level = Sim3(2.0, np.array([[1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]]))  # z of the positions is the pictures' up
    for sign, is_right in ((1.0, True), (-1.0, False)):
        evidence = GpsEvidence()
        for i, (frame_id, key) in enumerate(lies.items()):
            evidence.add_keyframe(float(i), frame_id)
            place = level.apply_to_points(key.translation * [1, 0, 1])
            evidence.add_fix(float(i), place * [sign, 1, 1], np.full(3, 0.1))
        assert (evidence.known(lies).fit(lies) is not None) == is_right
