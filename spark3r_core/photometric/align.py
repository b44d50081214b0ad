"""Alignment of one frame to a keyframe, fast: what `adjust.adjust` does for a window, in plain numpy for one camera.

A frame at camera rate cannot afford thousands of small tensor operations. Its residuals (frame_residuals.py), weights
and priors (frame_priors.py) are those of `residuals.linearise` and `priors.Priors`; what is new is that a keyframe's
depth correction and focal length are filtered (knowledge.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spark3r_core.photometric.assumed import HUBER
from spark3r_core.photometric.depth_grid import NODES
from spark3r_core.photometric.frame_priors import FramePriors, moved
from spark3r_core.photometric.frame_residuals import POSE_AND_LIGHT, SHARED, KeyPoints, linearise
from spark3r_core.photometric.knowledge import HELD, Knowledge, learnt
from spark3r_core.photometric.levels import Level
from spark3r_core.photometric.priors import Past

Array = NDArray[np.float64]
Floats = NDArray[np.float32]

ITERATIONS = (4, 4, 6)  # most per level, finest first; coarser levels take the last number
SETTLED = 5e-4  # largest change of a pose at which a level is done (radians, map units)
DAMPING = 1e-4
INLIER = 2.5  # sigmas
_DIAGONAL = np.diag_indices(POSE_AND_LIGHT + SHARED)
_FOCAL_ONLY = np.diag(np.append(np.zeros(NODES), 1.0))


@dataclass(frozen=True)
class Aligned:
    """camera_from_key: (4, 4). inliers, overlap: share of the visible points that agree, share of all that are
    visible. likeness: correlation with the keyframe where they agree. covariance: (6, 6) of the twist [rho, phi] of
    camera_from_key from the left, residuals taken as independent. knowledge: of the keyframe after this frame. cost:
    mean robust error of the visible points, in squared sigmas."""

    camera_from_key: Array
    inliers: float
    overlap: float
    likeness: float
    visible: int
    covariance: Array
    knowledge: Knowledge
    cost: float


def align(
    levels: Sequence[KeyPoints],
    pyramid: Sequence[Level],
    guess: Array,
    known: Knowledge,
    past: Past | None,
    *,
    fixed_focal: bool,
) -> Aligned:
    """Gauss-Newton, coarse to fine, from camera_from_key `guess` (4, 4).

    known: the prior of the shared unknowns. fixed_focal: the user gave the camera, the focal length stays.
    """
    pose, light = guess.copy(), np.array([1.0, 0.0])
    shared = known.mean.copy()
    priors = FramePriors(guess, past)
    size = POSE_AND_LIGHT + SHARED
    parts, matrix = None, np.eye(size)
    for level in reversed(range(len(pyramid))):
        hold = fixed_focal * HELD * _FOCAL_ONLY
        if level and level == len(pyramid) - 1:
            hold = HELD * np.eye(SHARED)
        for _ in range(ITERATIONS[min(level, len(ITERATIONS) - 1)]):
            parts = linearise(levels[level], pyramid[level], pose, light, shared)
            matrix = parts.squares[:size, :size].copy()
            gradient = parts.squares[:size, size].copy()
            matrix[:8, :8] += priors.matrix
            gradient[:8] += priors.gradient(pose, light)
            matrix[8:, 8:] += known.information + hold
            gradient[8:] += known.information @ (shared - known.mean)
            matrix[_DIAGONAL] *= 1 + DAMPING
            change = -np.asarray(np.linalg.solve(matrix, gradient), np.float64)
            if not np.isfinite(change).all():
                break  # residuals that are no numbers count as disagreeing below
            pose = moved(pose, change[:6])
            light = light + change[6:8]
            shared = shared + change[8:]
            if np.abs(change[:6]).max() < SETTLED:
                break
    assert parts is not None
    agree = (parts.error < INLIER) & parts.visible
    visible = int(parts.visible.sum())
    return Aligned(
        pose,
        float(agree.sum() / max(visible, 1)),
        visible / max(len(parts.visible), 1),
        likeness(levels[0].intensity, parts.intensity, agree),
        visible,
        _covariance(matrix),
        learnt(known, shared, parts.squares[:size, :size], priors.matrix),
        _cost(parts.error[parts.visible]),
    )


def _cost(error: Floats) -> float:
    """Mean Huber loss, infinite without a point."""
    if not len(error):
        return math.inf
    return float(np.where(error < HUBER, np.square(error), HUBER * (2 * error - HUBER)).mean())


def likeness(key: Floats, frame: Floats, agree: NDArray[np.bool_]) -> float:
    """Correlation of intensities over the points that agree; 0 without any (see `adjust._likeness`)."""
    return correlation(key[agree], frame[agree]) if agree.any() else 0.0


def correlation(a: Floats, b: Floats) -> float:
    """Of two (N,); 0 where one of them is the same everywhere."""
    a, b = a - a.mean(), b - b.mean()
    spread = float((a @ a) * (b @ b))
    return float(a @ b) / math.sqrt(spread) if spread > 1e-16 else 0.0


def _covariance(matrix: Array) -> Array:
    """(6, 6) of the pose once everything else is solved for, priors included."""
    try:
        return np.asarray(np.linalg.inv(matrix)[:6, :6], np.float64)
    except np.linalg.LinAlgError:
        return np.full((6, 6), np.inf)
