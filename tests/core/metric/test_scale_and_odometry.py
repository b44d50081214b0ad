"""Evidence of a scale joined, gravity as axes, and odometry that does not jump when its unit changes."""

from __future__ import annotations

import numpy as np
import pytest

from spark3r_core.geometry import se3
from spark3r_core.geometry.rotation import exp_so3
from spark3r_core.metric.gravity import ROBOT_FROM_OPTICAL, levelled
from spark3r_core.metric.scale import ScaleEvidence, joined
from spark3r_core.metric.steady_odometry import SteadyOdometry


def evidence(factor: float, std: float, source: str = "tag") -> ScaleEvidence:
    return ScaleEvidence(float(np.log(factor)), std, source)


def test_two_that_agree_are_better_than_one() -> None:
    found = joined([evidence(2.0, 0.02, "a"), evidence(2.02, 0.02, "b")])
    assert found is not None
    assert found.metres_per_unit == pytest.approx(2.01, rel=1e-3)
    assert found.log_std == pytest.approx(0.02 / np.sqrt(2), rel=0.1)
    assert found.source == "a, b"


def test_one_that_is_wrong_is_outvoted_and_widens_nothing_much() -> None:
    found = joined([evidence(2.0, 0.01, "a"), evidence(2.02, 0.01, "b"), evidence(4.0, 0.01, "wrong")])
    assert found is not None
    assert found.metres_per_unit == pytest.approx(2.01, rel=0.01)
    assert found.source == "a, b"


def test_two_that_contradict_each_other_make_it_unsure() -> None:
    found = joined([evidence(2.0, 0.01), evidence(2.2, 0.01)])
    assert found is not None
    assert found.log_std > 0.02


@pytest.mark.parametrize("bad", [[], [evidence(2.0, 0.5)], [ScaleEvidence(float("nan"), 0.01, "x")]])
def test_what_is_not_known_is_none(bad: list[ScaleEvidence]) -> None:
    assert joined(bad) is None


def test_levelled_takes_up_to_z_and_turns_as_little_as_it_can() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        up = rng.normal(size=3)
        rotation = levelled(ROBOT_FROM_OPTICAL, up)
        np.testing.assert_allclose(rotation @ up / np.linalg.norm(up), [0, 0, 1], atol=1e-12)
    lean = exp_so3(np.array([0.1, 0.0, 0.2]))
    rotation = levelled(ROBOT_FROM_OPTICAL, lean @ [0.0, -1.0, 0.0])
    assert rotation @ [0.0, 0.0, 1.0] @ [1.0, 0.0, 0.0] > 0.9, "x is where the camera looked"
    np.testing.assert_allclose(levelled(np.eye(3), [0, 0, -1]) @ [0, 0, -1], [0, 0, 1], atol=1e-12)


def test_odometry_goes_on_in_metres_without_a_jump() -> None:
    steps, poses = [], [np.eye(4)]
    for _ in range(30):
        steps.append(se3.exp(np.array([0.1, 0, 0.02, 0, 0.05, 0])))
        poses.append(se3.compose(poses[-1], steps[-1]))
    odometry = SteadyOdometry()
    factors = [1.0] * 10 + [2.0] * 10 + [2.1] * 11
    out = [odometry.published(pose, factor) for pose, factor in zip(poses, factors, strict=True)]
    np.testing.assert_array_equal(out[9], poses[9])
    for k in range(1, 31):
        moved = np.linalg.norm(out[k][:3, 3] - out[k - 1][:3, 3])
        true = np.linalg.norm(poses[k][:3, 3] - poses[k - 1][:3, 3])
        assert moved == pytest.approx(factors[k] * true, rel=1e-9), "each step in the unit of its time"
        np.testing.assert_array_equal(out[k][:3, :3], poses[k][:3, :3])
