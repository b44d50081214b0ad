"""Errors of trajectories and depth maps. Poses are world_from_camera (n, 4, 4) float64, matched frame by frame.

Alignment is stated with each number: ATE after one Sim(3) (by evo); relative poses after the same Sim(3)'s scale;
directions and rotations need none; depth after one scale per sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from evo.core import metrics as evo_metrics
from evo.core.geometry import GeometryException
from evo.core.trajectory import PosePath3D
from numpy.typing import NDArray
from scipy.stats import spearmanr

from spark3r_core.geometry import se3, trajectory_errors
from spark3r_core.geometry.rotation import rotation_angle

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
MOVED = 0.005  # shortest baseline, as a share of the path's spread, that has a direction


def spread(poses: Array) -> float:
    """Root mean square distance of the camera centres from their mean."""
    return trajectory_errors.spread(poses[:, :3, 3])


def path_length(poses: Array) -> float:
    return float(np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1).sum())


def ate(estimate: Array, truth: Array) -> tuple[dict[str, float], Array]:
    """Absolute trajectory error after Sim(3) alignment by evo, and the aligned poses.

    rmse in the units of the truth; of_spread and of_path relate it to the truth's size. A trajectory that does not
    move at all cannot be aligned: it is placed at the truth's mean, where its error is the spread. For one on a line
    evo finds no unique rotation and refuses; the error is unique all the same.
    """
    if spread(estimate) < 1e-9 * max(1.0, float(np.abs(estimate[:, :3, 3]).max())) or spread(truth) == 0:
        aligned = estimate.copy()
        aligned[:, :3, 3] = truth[:, :3, 3].mean(0)
        rmse = spread(truth)
    else:
        reference, path = PosePath3D(poses_se3=list(truth)), PosePath3D(poses_se3=list(estimate))
        try:
            path.align(reference, correct_scale=True)
        except GeometryException:
            similarity = trajectory_errors.closest_similarity(estimate, truth)
            path = PosePath3D(poses_se3=list(similarity.apply_to_poses(estimate)))
        error = evo_metrics.APE(evo_metrics.PoseRelation.translation_part)
        error.process_data((reference, path))
        rmse = float(error.get_statistic(evo_metrics.StatisticsType.rmse))
        aligned = np.stack(path.poses_se3)
    size, length = spread(truth), path_length(truth)
    numbers = {"rmse": rmse, "of_spread": rmse / size if size else 0.0, "of_path": rmse / length if length else 0.0}
    return numbers, aligned


def relative(poses: Array, first: Sequence[int] | Indices, second: Sequence[int] | Indices) -> Array:
    """Pose (m, 4, 4) of the second camera in the first one."""
    return se3.compose(se3.invert(poses[np.asarray(first, int)]), poses[np.asarray(second, int)])


def relative_errors(estimate: Array, truth: Array, shortest: float) -> dict[str, Array]:
    """Per pair: rotation and direction of translation in degrees, length of the translation's error.

    Args:
        estimate, truth: relative poses (m, 4, 4), the estimate in the truth's scale.
        shortest: baselines below it have no direction (NaN).
    """
    rotation = np.degrees(rotation_angle(np.swapaxes(truth[:, :3, :3], 1, 2) @ estimate[:, :3, :3]))
    moved, true = estimate[:, :3, 3], truth[:, :3, 3]
    lengths = np.linalg.norm(moved, axis=1) * np.linalg.norm(true, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = np.where(lengths > 0, (moved * true).sum(1) / lengths, 0.0)  # no prediction is a right angle
    direction = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    direction[np.linalg.norm(true, axis=1) < shortest] = np.nan
    return {"rotation": rotation, "direction": direction, "translation": np.linalg.norm(moved - true, axis=1)}


def rpe(estimate: Array, truth: Array, distance: int, scale: float = 1.0) -> dict[str, float]:
    """Relative pose error of frames `distance` apart; `scale` brings the estimate's lengths to the truth's.

    Medians: rotation (degrees), direction (degrees), translation (truth's units) and the same over the true length.
    Raises ValueError for sequences shorter than the distance.
    """
    if len(truth) <= distance:
        raise ValueError(f"{len(truth)} frames cannot give pairs {distance} apart; choose a smaller distance")
    first = range(len(truth) - distance)
    second = [i + distance for i in first]
    scaled = estimate.copy()
    scaled[:, :3, 3] *= scale
    true = relative(truth, first, second)
    return summarise(relative_errors(relative(scaled, first, second), true, MOVED * spread(truth)), true)


def summarise(errors: dict[str, Array], true: Array) -> dict[str, float]:
    lengths = np.linalg.norm(true[:, :3, 3], axis=1)
    typical = float(np.median(lengths))
    direction = errors["direction"][np.isfinite(errors["direction"])]
    return {
        "rotation_deg": float(np.median(errors["rotation"])),
        "direction_deg": float(np.median(direction)) if len(direction) else float("nan"),
        "translation": float(np.median(errors["translation"])),
        "translation_of_motion": float(np.median(errors["translation"])) / typical if typical else float("nan"),
    }


def trajectory(estimate: Array, truth: Array, distance: int) -> tuple[dict[str, Any], Array]:
    """All numbers of a trajectory matched frame by frame with the truth, and its aligned poses."""
    errors, aligned = ate(estimate, truth)
    moved = spread(estimate)
    scale = 1.0 if moved == 0 else spread(aligned) / moved
    numbers = {
        "frames": len(truth),
        "ate": errors,
        "rpe": rpe(estimate, truth, distance, scale),
        "auc": pose_auc(estimate, truth),
    }
    return numbers, aligned


def auc(errors: Array, thresholds: Sequence[float] = (5.0, 15.0, 30.0)) -> dict[str, float]:
    """Area under the recall curve up to each threshold, of errors in degrees (NaN counts as failed)."""
    errors = np.sort(np.where(np.isfinite(errors), errors, np.inf))
    result = {}
    for threshold in thresholds:
        gained = np.clip(threshold - errors, 0.0, None).sum()
        result[f"auc@{threshold:g}"] = float(gained / (threshold * len(errors))) if len(errors) else float("nan")
    return result


def pose_auc(estimate: Array, truth: Array, pairs: int = 2000, seed: int = 0) -> dict[str, float]:
    """Relative-pose AUC@5/15/30 over random frame pairs: the larger of rotation and direction error counts.

    Pairs whose baseline is too short for a direction count by their rotation.
    """
    rng = np.random.default_rng(seed)
    count = len(truth)
    first, second = np.triu_indices(count, 1)
    chosen = rng.permutation(len(first))[:pairs]
    first, second = first[chosen], second[chosen]
    errors = relative_errors(relative(estimate, first, second), relative(truth, first, second), MOVED * spread(truth))
    return auc(np.fmax(errors["rotation"], errors["direction"]))


def depth_errors(
    predicted: Sequence[Array], truth: Sequence[Array], confidence: Sequence[Array] | None = None
) -> dict[str, Any]:
    """AbsRel and share with ratio below 1.25, after one scale (median ratio) for the whole sequence.

    flat_abs_rel: of the same depth everywhere, after the same kind of scale: what any network must beat.
    With confidences also the AbsRel of the most and least confident quarter, and how confidence orders the errors
    (`calibration`). Empty when no pixel has both depths.
    """
    keep = [np.isfinite(t) & (t > 0) & np.isfinite(p) & (p > 0) for p, t in zip(predicted, truth, strict=True)]
    p = np.concatenate([a[k] for a, k in zip(predicted, keep, strict=True)])
    t = np.concatenate([a[k] for a, k in zip(truth, keep, strict=True)])
    if not len(p):
        return {}
    scaled = p * np.median(t / p)
    error = np.abs(scaled - t) / t
    ratio = np.maximum(scaled / t, t / scaled)
    result: dict[str, Any] = {
        "abs_rel": float(error.mean()),
        "delta_1.25": float((ratio < 1.25).mean()),
        "flat_abs_rel": float((np.abs(np.median(t) - t) / t).mean()),
        "pixels": float(len(p)),
    }
    if confidence is not None:
        c = np.concatenate([a[k] for a, k in zip(confidence, keep, strict=True)])
        low, high = np.quantile(c, [0.25, 0.75])
        result["abs_rel_confident_quarter"] = float(error[c >= high].mean())
        result["abs_rel_unsure_quarter"] = float(error[c <= low].mean())
        result["calibration"] = calibration(error, c)
    return result


def calibration(error: Array, confidence: Array, bins: int = 10) -> dict[str, Any]:
    """How well confidence tells the error of a pixel, (n,) each; needs at least as many pixels as bins.

    rank_correlation: Spearman's, of confidence with minus the error: 1 is a perfect order, 0 none.
    sparsification: pixels leave, the least confident first; area between the mean error of those that stay and what
        leaving by true error would give, over the same area for leaving at random. 0 is perfect, 1 says nothing.
    bins: [mean confidence, mean error] of equally many pixels each, from least to most confident.
    """
    if len(error) < bins:
        raise ValueError(f"{len(error)} pixels cannot fill {bins} bins")
    order = np.argsort(confidence, kind="stable")
    parts = np.array_split(order, bins)
    shares = np.maximum(1, np.linspace(1, 0.05, 20) * len(error)).astype(int)
    by_confidence, by_error = (
        (np.cumsum(sequence) / np.arange(1, len(error) + 1))[shares - 1]
        for sequence in (error[order[::-1]], np.sort(error))
    )
    chance = float((error.mean() - by_error).mean())
    varies = float(np.ptp(confidence)) > 0 and float(np.ptp(error)) > 0
    return {
        "rank_correlation": float(spearmanr(confidence, -error).statistic) if varies else 0.0,
        "sparsification": float((by_confidence - by_error).mean()) / chance if chance > 0 else float("nan"),
        "bins": [[float(confidence[part].mean()), float(error[part].mean())] for part in parts],
    }
