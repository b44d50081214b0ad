"""ATE and relative rotation against evo, and where no alignment is unique."""

from __future__ import annotations

import numpy as np
import pytest
from evo.core import metrics
from evo.core.trajectory import PosePath3D

from spark3r_core.geometry import se3
from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.geometry.trajectory_errors import absolute_error, relative_rotation_deg, spread


def walk(seed: int, frames: int = 40, turn: float = 0.1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    poses = [np.eye(4)]
    for _ in range(frames - 1):
        poses.append(poses[-1] @ se3.exp(np.concatenate([rng.normal(0, 0.2, 3), rng.normal(0, turn, 3)])))
    return np.stack(poses)


def test_as_evo_has_it() -> None:
    truth = walk(1)
    noise = np.stack([se3.exp(twist) for twist in np.random.default_rng(2).normal(0, 0.05, (len(truth), 6))])
    moved = Sim3(0.3, se3.exp(np.array([0, 0, 0, 0.3, -0.2, 1.0]))[:3, :3], np.array([4.0, 5, 6]))
    estimate = moved.apply_to_poses(truth @ noise)
    error = absolute_error(estimate, truth)
    path, reference = PosePath3D(poses_se3=list(estimate)), PosePath3D(poses_se3=list(truth))
    path.align(reference, correct_scale=True)
    ape = metrics.APE(metrics.PoseRelation.translation_part)
    ape.process_data((reference, path))
    assert error.rmse == pytest.approx(ape.get_statistic(metrics.StatisticsType.rmse), rel=1e-9)
    np.testing.assert_allclose(error.truth_from_estimate.apply_to_poses(estimate), path.poses_se3, atol=1e-9)
    rpe = metrics.RPE(metrics.PoseRelation.rotation_angle_deg, 5, metrics.Unit.frames, all_pairs=True)
    rpe.process_data((reference, path))
    first = np.arange(len(truth) - 5)
    turns = relative_rotation_deg(estimate, truth, first, first + 5)
    assert np.median(turns) == pytest.approx(rpe.get_statistic(metrics.StatisticsType.median), abs=1e-6)


def test_a_path_on_a_line_and_one_that_stands_still() -> None:
    truth = walk(3)
    line = np.tile(np.eye(4), (40, 1, 1))
    line[:, 0, 3] = np.linspace(0, 3, 40)
    assert absolute_error(line * np.array([1, 1, 1, 2.0]), line).rmse < 1e-9
    still = np.tile(np.eye(4), (40, 1, 1))
    assert absolute_error(still, truth).rmse == pytest.approx(spread(truth[:, :3, 3]), rel=1e-6)
