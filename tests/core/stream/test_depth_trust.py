"""Confidence of a keyframe's depth falls with the distance from what several keyframes agree on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spark3r_core.stream.adjustment import LEAST_BEND_POINTS, bent
from spark3r_core.stream.depth_trust import MOST, expected_error, trust
from tests.core.stream import orbit
from tests.core.stream.test_adjustment import keyframe


def test_errors_grow_with_the_distance_from_a_point_and_end_somewhere() -> None:
    error = expected_error(np.array([[0.5, 0.5], [1.0, 1.0]]), (60, 100))
    assert error.shape == (60, 100)
    assert error.dtype == np.float32
    assert error[30, 50] == error.min() == error[59, 99] == pytest.approx(0.05)
    row = error[30, 50::-1]
    assert np.all(np.diff(row) >= 0)
    assert row[10] == pytest.approx(0.05 + 0.6 * 0.1, rel=0.02)
    assert error.max() == pytest.approx(MOST)
    assert np.all((trust(error) > 0.3) & (trust(error) < 0.9))
    assert trust(error)[30, 50] == trust(error).max()


def test_a_bent_keyframe_is_trusted_where_its_points_are() -> None:
    """Points on its left: the right half has less confidence than the network gave it, and keeps its order."""
    rng = np.random.default_rng(0)
    one = replace(keyframe(0), confidence=rng.uniform(0.4, 0.9, orbit.HW).astype(np.float32))
    fractions = rng.uniform(0, [0.4, 1], (300, 2))
    found, _ = bent(one, np.full(300, 0.1), fractions)
    share = found.confidence / one.confidence
    assert share[:, : orbit.HW[1] * 2 // 5].mean() > 1.5 * share[:, orbit.HW[1] * 3 // 4 :].mean()
    assert np.all((found.confidence > 0) & (found.confidence < 1))
    few = bent(one, np.full(LEAST_BEND_POINTS - 1, 0.1), fractions[: LEAST_BEND_POINTS - 1])[0]
    assert few.confidence is one.confidence, "without points the network's word stands"
