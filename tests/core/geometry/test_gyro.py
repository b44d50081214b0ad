"""Turns from angular velocities, and the offset of their clock."""

from __future__ import annotations

import numpy as np
import pytest

from spark3r_core.geometry.clocks import clock_offset
from spark3r_core.geometry.gyro import angles_of, turn_between
from spark3r_core.geometry.rotation import exp_so3, log_so3, rotation_angle

SECOND = 10**9


def rates_at(seconds: np.ndarray) -> np.ndarray:
    """(n, 3) of a camera that is swung about."""
    return np.stack([0.5 * np.sin(2 * seconds), np.sin(3.1 * seconds + 1), 0.3 * np.cos(5 * seconds)], -1)


def samples(until_s: float = 10.0, hertz: float = 200.0) -> tuple[np.ndarray, np.ndarray]:
    seconds = np.arange(0, until_s, 1 / hertz)
    return np.round(seconds * SECOND).astype(np.int64), rates_at(seconds)


def true_turn(from_s: float, to_s: float) -> np.ndarray:
    steps = 20_000
    width = (to_s - from_s) / steps
    turn = np.eye(3)
    for piece in exp_so3(rates_at(from_s + (np.arange(steps) + 0.5) * width) * width):
        turn = turn @ piece
    return turn


def test_samples_are_integrated_to_a_turn() -> None:
    times, rates = samples()
    found = turn_between(times, rates, int(1.0013 * SECOND), int(2.0471 * SECOND))
    truth = true_turn(1.0013, 2.0471)
    assert rotation_angle(truth) > 0.3
    assert rotation_angle(found.T @ truth) < 1e-4
    np.testing.assert_array_equal(turn_between(times, rates, SECOND, SECOND), np.eye(3))


@pytest.mark.parametrize(
    ("from_s", "to_s"), [(-0.5, 1.0), (9.9, 10.3), (12.0, 13.0), (3.9, 4.1), (2.0, 1.0)],
    ids=["before the first", "after the last", "long after", "a gap", "backwards"],
)  # fmt: skip
def test_where_samples_are_missing_nothing_is_said(from_s: float, to_s: float) -> None:
    times, rates = samples()
    kept = (times < 3.8 * SECOND) | (times > 4.0 * SECOND)
    assert turn_between(times[kept], rates[kept], int(from_s * SECOND), int(to_s * SECOND)) is None


def test_without_a_sample_nothing_is_said() -> None:
    assert turn_between(np.zeros(0, np.int64), np.zeros((0, 3)), 0, SECOND) is None


@pytest.mark.parametrize("offset_s", [0.137, -0.42, 0.0])
def test_the_offset_of_the_clock_is_found_with_its_deviation(offset_s: float) -> None:
    """Of samples with a bias, against turns that were seen with errors."""
    rng = np.random.default_rng(0)
    times, rates = samples()
    frames = np.round(np.arange(1.5, 8.5, 1 / 30) * SECOND).astype(np.int64)
    spans = np.stack([frames[:-1], frames[1:]], 1)
    seen = np.stack([log_so3(turn_between(times, rates, *span)) for span in spans.tolist()])
    seen += rng.normal(0, 0.002, seen.shape)
    found = clock_offset(times - round(offset_s * SECOND), angles_of(times, rates + 0.01), spans, seen)
    assert found.is_clear
    assert abs(found.seconds - offset_s) < min(4 * found.sigma, 0.01)
    assert found.sigma < 0.01
    assert found.likeness > 0.9


@pytest.mark.parametrize("what", ["steady", "unrelated"])
def test_turns_that_do_not_say_it_give_no_clear_offset(what: str) -> None:
    times, rates = samples()
    if what == "steady":
        rates = np.tile([0.0, 1.0, 0.0], (len(times), 1))
    frames = np.round(np.arange(1.5, 8.5, 1 / 30) * SECOND).astype(np.int64)
    spans = np.stack([frames[:-1], frames[1:]], 1)
    seen = np.tile([0.0, 1 / 30, 0.0], (len(spans), 1)) + np.random.default_rng(0).normal(0, 0.002, (len(spans), 3))
    assert not clock_offset(times, angles_of(times, rates), spans, seen).is_clear


def test_a_few_turns_are_not_looked_at() -> None:
    times, rates = samples()
    assert clock_offset(times, angles_of(times, rates), np.array([[2, 3]]) * SECOND, np.zeros((1, 3))) is None


def test_a_camera_that_sways_evenly_gives_no_clear_offset() -> None:
    """Seven tenths of a second later it does the same again."""
    times = np.round(np.arange(0, 10, 0.005) * SECOND).astype(np.int64)
    rates = np.cos(2 * np.pi * times / (0.7 * SECOND))[:, None] * [0.0, 1.0, 0.0]
    frames = np.round(np.arange(1.5, 8.5, 1 / 30) * SECOND).astype(np.int64)
    spans = np.stack([frames[:-1], frames[1:]], 1)
    seen = np.stack([log_so3(turn_between(times, rates, *span)) for span in spans.tolist()])
    found = clock_offset(times, angles_of(times, rates), spans, seen)
    assert found.likeness > 0.99
    assert found.sigma < 0.001
    assert not found.is_clear
