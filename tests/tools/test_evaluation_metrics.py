"""The evaluation's numbers against cases whose answer is known, and against evo."""

from __future__ import annotations

import numpy as np
import pytest
from evo.core import metrics as evo_metrics
from evo.core.trajectory import PosePath3D

from spark3r_core.geometry import se3
from spark3r_core.geometry.rotation import exp_so3
from spark3r_core.geometry.trajectory_errors import closest_similarity
from tools.evaluation import baselines, metrics


def winding_path(count: int = 60, seed: int = 0) -> np.ndarray:
    """(count, 4, 4): a camera that wanders and turns."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(0, 1, (2, count, 3))
    turn, shift = np.cumsum(0.05 * steps[0], 0), np.cumsum(steps[1] + 0.5, 0)
    return np.stack([se3.make_pose(exp_so3(w), t) for w, t in zip(turn, shift, strict=True)])


def turning(degrees_per_frame: float, count: int = 30, speed: float = 1.0) -> np.ndarray:
    """A camera that turns about its own vertical axis while it drives along x."""
    angles = np.radians(degrees_per_frame) * np.arange(count)
    return np.stack([se3.make_pose(exp_so3(np.array([0, a, 0])), [speed * i, 0, 0]) for i, a in enumerate(angles)])


def moved_by_similarity(poses: np.ndarray, scale: float = 2.5) -> np.ndarray:
    gauge = se3.make_pose(exp_so3(np.array([0.3, -1.0, 0.7])), [4.0, -2.0, 9.0])
    moved = se3.compose(gauge, poses)
    moved[:, :3, 3] *= scale
    return moved


def test_a_trajectory_in_another_gauge_has_no_error() -> None:
    truth = winding_path()
    numbers, aligned = metrics.ate(moved_by_similarity(truth), truth)
    assert numbers["rmse"] < 1e-9
    assert np.allclose(aligned, truth, atol=1e-9)
    everything, _ = metrics.trajectory(moved_by_similarity(truth), truth, 8)
    assert everything["rpe"]["rotation_deg"] < 1e-5
    assert everything["rpe"]["translation"] < 1e-9
    assert everything["auc"] == pytest.approx({"auc@5": 1.0, "auc@15": 1.0, "auc@30": 1.0}, abs=1e-5)


def test_ate_of_no_motion_is_the_spread() -> None:
    truth = winding_path()
    numbers, _ = metrics.ate(baselines.no_motion(len(truth)), truth)
    centres = truth[:, :3, 3] - truth[:, :3, 3].mean(0)
    assert numbers["rmse"] == pytest.approx(np.sqrt((centres**2).sum(1).mean()))
    assert numbers["of_spread"] == pytest.approx(1.0)
    assert numbers["of_path"] == pytest.approx(numbers["rmse"] / np.linalg.norm(np.diff(centres, axis=0), axis=1).sum())


def test_the_least_squares_similarity_is_evos() -> None:
    truth = winding_path()
    noisy = moved_by_similarity(truth)
    noisy[:, :3, 3] += np.random.default_rng(3).normal(0, 4, (len(truth), 3))
    _, by_evo = metrics.ate(noisy, truth)
    assert np.allclose(closest_similarity(noisy, truth).apply_to_poses(noisy), by_evo, atol=1e-8)


def test_a_trajectory_on_a_line_has_an_error_too() -> None:
    """evo refuses to align it, for want of a unique rotation. A square seen as its diagonal keeps half its variance."""
    line = np.tile(np.eye(4), (4, 1, 1))
    line[:, 2, 3] = [0, 1, 2, 3]
    stretched = line.copy()
    stretched[:, :3, 3] = 7 * line[:, [2, 0, 1], 3] + 1
    assert metrics.ate(stretched, line)[0]["rmse"] < 1e-9
    square = np.tile(np.eye(4), (4, 1, 1))
    square[:, :2, 3] = [[0, 0], [1, 0], [1, 1], [0, 1]]
    diagonal = square.copy()
    diagonal[:, 0, 3] = [-1, 0, 1, 0]
    diagonal[:, 1, 3] = 0
    assert metrics.ate(diagonal, square)[0]["of_spread"] == pytest.approx(np.sqrt(0.5))


def test_a_known_rotation_error_is_found() -> None:
    numbers = metrics.rpe(turning(2.5), turning(2.0), 8)
    assert numbers["rotation_deg"] == pytest.approx(8 * 0.5, abs=1e-6)


def test_a_known_scale_error_is_found_and_taken_out() -> None:
    truth = turning(0.0)
    far = truth.copy()
    far[:, :3, 3] *= 3
    assert metrics.rpe(far, truth, 8)["translation"] == pytest.approx(2 * 8)
    assert metrics.rpe(far, truth, 8)["translation_of_motion"] == pytest.approx(2.0)
    assert metrics.rpe(far, truth, 8, scale=1 / 3)["translation"] == pytest.approx(0, abs=1e-12)
    assert metrics.rpe(far, truth, 8)["direction_deg"] == pytest.approx(0, abs=1e-5)


def test_relative_errors_are_evos() -> None:
    truth, estimate = winding_path(), winding_path(seed=5)
    pair = PosePath3D(poses_se3=list(truth)), PosePath3D(poses_se3=list(estimate))
    numbers = metrics.rpe(estimate, truth, 8)
    for key, relation in (
        ("rotation_deg", evo_metrics.PoseRelation.rotation_angle_deg),
        ("translation", evo_metrics.PoseRelation.translation_part),
    ):
        error = evo_metrics.RPE(relation, delta=8, delta_unit=evo_metrics.Unit.frames, all_pairs=True)
        error.process_data(pair)
        assert numbers[key] == pytest.approx(error.get_statistic(evo_metrics.StatisticsType.median), rel=1e-6)


def test_too_few_frames_are_refused() -> None:
    with pytest.raises(ValueError, match="choose a smaller distance"):
        metrics.rpe(turning(1, 8), turning(1, 8), 8)
    with pytest.raises(ValueError, match="too few"):
        baselines.constant_velocity_rpe(turning(1, 16), 8)


def test_constant_velocity_is_exact_for_constant_velocity_only() -> None:
    step = se3.make_pose(exp_so3(np.array([0.01, 0.05, 0.0])), [0.1, 0.0, 1.0])
    driving = np.stack([np.linalg.matrix_power(step, i) for i in range(30)])
    exact = baselines.constant_velocity_rpe(driving, 8)
    assert exact["rotation_deg"] == pytest.approx(0, abs=1e-5)
    assert exact["translation"] == pytest.approx(0, abs=1e-9)
    accelerating = np.tile(np.eye(4), (40, 1, 1))
    accelerating[:, 0, 3] = 0.5 * np.arange(40.0) ** 2  # x(i+d) - 2 x(i) + x(i-d) = d²
    assert baselines.constant_velocity_rpe(accelerating, 8)["translation"] == pytest.approx(64)


def test_a_short_baseline_has_no_direction() -> None:
    truth = turning(1.0, 3)
    truth[2, :3, 3] = truth[1, :3, 3] + 1e-4
    true = metrics.relative(truth, [0, 1], [1, 2])
    direction = metrics.relative_errors(np.tile(np.eye(4), (2, 1, 1)), true, shortest=0.01)["direction"]
    assert direction[0] == pytest.approx(90)
    assert np.isnan(direction[1])


def test_auc_of_known_errors() -> None:
    """The area under a recall curve that rises by 1/n at each error."""
    numbers = metrics.auc(np.array([10.0, 0.0, np.nan, 5.0]))
    assert numbers == pytest.approx({"auc@5": 5 / 20, "auc@15": 30 / 60, "auc@30": 75 / 120})
    assert np.isnan(metrics.auc(np.zeros(0))["auc@5"])


def test_pose_auc_counts_the_larger_error() -> None:
    """Every relative rotation is right and every direction 10 degrees off."""
    truth = np.tile(np.eye(4), (20, 1, 1))
    truth[:, 0, 3] = np.arange(20)
    turned = truth.copy()
    turned[:, :3, 3] = truth[:, :3, 3] @ exp_so3(np.array([0, 0, np.radians(10)])).T
    assert metrics.pose_auc(turned, truth) == pytest.approx({"auc@5": 0.0, "auc@15": 1 / 3, "auc@30": 2 / 3}, abs=1e-6)
    still = metrics.pose_auc(baselines.no_motion(20), truth)
    assert still["auc@30"] == 0.0


def test_depth_errors_after_one_scale() -> None:
    truth = np.full((2, 10, 10), 4.0)
    truth[0, 0, :5], truth[1, 3, 3] = np.inf, 0.0  # sky, unknown
    exact = metrics.depth_errors(list(truth / 7), list(truth))
    assert exact["abs_rel"] == pytest.approx(0)
    assert exact["delta_1.25"] == 1.0
    assert exact["pixels"] == 194
    wrong = truth.copy()
    wrong[1, 5:] *= 1.5  # 50 of 194 pixels, so the median scale is that of the others
    assert metrics.depth_errors(list(wrong), list(truth))["abs_rel"] == pytest.approx(0.5 * 50 / 194)
    assert metrics.depth_errors(list(wrong), list(truth))["delta_1.25"] == pytest.approx(144 / 194)
    assert metrics.depth_errors([np.full((2, 2), np.nan)], [np.ones((2, 2))]) == {}


def test_flat_depth_is_what_a_network_must_beat() -> None:
    truth = np.array([[1.0, 2.0, 4.0]])
    assert metrics.depth_errors([truth], [truth])["flat_abs_rel"] == pytest.approx((1 + 0 + 0.5) / 3)


def test_calibration_tells_good_confidence_from_none() -> None:
    error = np.random.default_rng(0).exponential(0.1, 5000)
    perfect = metrics.calibration(error, 1 / (1 + error))
    assert perfect["rank_correlation"] == pytest.approx(1)
    assert perfect["sparsification"] == pytest.approx(0, abs=1e-9)
    assert [b for _, b in perfect["bins"]] == sorted((b for _, b in perfect["bins"]), reverse=True)
    assert np.mean([b for _, b in perfect["bins"]]) == pytest.approx(error.mean())
    chance = metrics.calibration(error, np.random.default_rng(1).random(5000))
    assert abs(chance["rank_correlation"]) < 0.05
    assert chance["sparsification"] == pytest.approx(1, abs=0.15)
    assert metrics.calibration(error, error)["sparsification"] > 1.5
    assert metrics.calibration(error, np.ones(5000))["rank_correlation"] == 0.0
    with pytest.raises(ValueError, match="cannot fill 10 bins"):
        metrics.calibration(error[:9], error[:9])
