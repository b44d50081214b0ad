"""Does the published covariance of a pose tell its error? The normalised error squared (NEES) of poses on keyframes.

A pose is that of a frame in its keyframe's camera; the unit of length is the keyframe's own, so one scale per keyframe
is taken out first: that of least squares between the true and the found translations of its frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from spark3r_core.errors import GeometryError
from spark3r_core.geometry import se3
from spark3r_stream.wire.messages import FrameResult, TrackingState

Array = NDArray[np.float64]
PARTS = {"pose": slice(0, 6), "translation": slice(0, 3), "rotation": slice(3, 6)}
LEAST_FRAMES = 3  # of a keyframe, for a scale


def pose_errors(results: Sequence[FrameResult], truth: dict[int, Array]) -> tuple[Array, Array]:
    """Errors (n, 6), twist [translation, rotation] in the camera's axes and the keyframe's unit, and their covariances
    (n, 6, 6).

    Of frames that were tracked (state TRACKING) and not mapped: those that begin a map are exact by definition.
    truth: world_from_camera (4, 4) by frame id.
    """
    by_keyframe: dict[int, list[FrameResult]] = {}
    for one in results:
        known = one.valid and one.covariance is not None and not one.mapped and one.keyframe_id is not None
        if known and one.state is TrackingState.TRACKING and {one.frame_id, one.keyframe_id} <= truth.keys():
            by_keyframe.setdefault(int(one.keyframe_id or 0), []).append(one)
    errors, covariances = [], []
    for keyframe, frames in by_keyframe.items():
        if len(frames) < LEAST_FRAMES:
            continue
        found = np.stack([np.asarray(one.world_from_camera, np.float64) for one in frames])
        true = se3.compose(se3.invert(truth[keyframe]), np.stack([truth[one.frame_id] for one in frames]))
        moved = float((true[:, :3, 3] ** 2).sum())
        if moved == 0:
            continue
        true[:, :3, 3] *= float((true[:, :3, 3] * found[:, :3, 3]).sum()) / moved
        errors.append(se3.log(se3.compose(se3.invert(found), true)))
        covariances.append(np.stack([np.asarray(one.covariance, np.float64) for one in frames]))
    if not errors:
        return np.zeros((0, 6)), np.zeros((0, 6, 6))
    return np.concatenate(errors), np.concatenate(covariances)


def nees(errors: Array, covariances: Array) -> Array:
    """Normalised error squared (n,): chi-squared with as many degrees of freedom as the errors (n, d) have."""
    try:
        return np.einsum("ni,ni->n", errors, np.linalg.solve(covariances, errors[..., None])[..., 0])
    except np.linalg.LinAlgError:
        raise GeometryError("a published covariance is singular; expected positive definite matrices") from None


def calibration(errors: Array, covariances: Array) -> dict[str, Any]:
    """Median NEES against that of chi-squared, by part of the pose, and the share within the 95 % bound.

    sigma_factor: what the standard deviations would have to be multiplied by for the medians to agree.
    """
    numbers: dict[str, Any] = {"frames": len(errors)}
    if not len(errors):
        return numbers
    for name, part in PARTS.items():
        freedom = part.stop - part.start
        values = nees(errors[:, part], covariances[:, part, part])
        expected = float(chi2.median(freedom))
        numbers[name] = {
            "median": float(np.median(values)),
            "expected_median": expected,
            "sigma_factor": float(np.sqrt(np.median(values) / expected)),
            "within_95_percent": float((values < chi2.ppf(0.95, freedom)).mean()),
        }
    return numbers
