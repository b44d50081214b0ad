"""Alignment of one frame to a keyframe whose depth is known: `align.align` without the keyframe's unknowns.

It has eight unknowns instead of thirty-nine, no memory, and expects nothing of the way to the frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spark3r_core.photometric.align import DAMPING, INLIER, ITERATIONS, SETTLED, likeness
from spark3r_core.photometric.frame_priors import moved
from spark3r_core.photometric.frame_residuals import POSE_AND_LIGHT, KeyPoints, linearise
from spark3r_core.photometric.levels import Level
from spark3r_core.photometric.priors import BRIGHTNESS_SIGMA

Array = NDArray[np.float64]

NOTHING_SEEN = 1e-6  # on the diagonal: where no pixel of the keyframe is in view, a pose stays as it is
_DIAGONAL = np.diag_indices(POSE_AND_LIGHT)


@dataclass(frozen=True)
class OnKnownDepth:
    """camera_from_key: (4, 4). inliers, overlap, likeness: see `align.Aligned`."""

    camera_from_key: Array
    inliers: float
    overlap: float
    likeness: float


def align_to_known(levels: Sequence[KeyPoints], pyramid: Sequence[Level], guess: Array) -> OnKnownDepth:
    """Gauss-Newton, coarse to fine, from camera_from_key `guess` (4, 4). levels: of the keyframe, finest first."""
    pose, light = guess.copy(), np.array([1.0, 0.0])
    for level in reversed(range(len(pyramid))):
        for _ in range(ITERATIONS[min(level, len(ITERATIONS) - 1)]):
            parts = linearise(levels[level], pyramid[level], pose, light, None)
            matrix, gradient = parts.squares[:-1, :-1].copy(), parts.squares[:-1, -1].copy()
            matrix[_DIAGONAL] = matrix[_DIAGONAL] * (1 + DAMPING) + NOTHING_SEEN
            matrix[6, 6] += BRIGHTNESS_SIGMA**-2
            matrix[7, 7] += BRIGHTNESS_SIGMA**-2
            gradient[6:] += (light - (1.0, 0.0)) * BRIGHTNESS_SIGMA**-2
            change = -np.asarray(np.linalg.solve(matrix, gradient), np.float64)
            if not np.isfinite(change).all():
                break  # residuals that are no numbers count as disagreeing below
            pose = moved(pose, change[:6])
            light = light + change[6:]
            if np.abs(change[:6]).max() < SETTLED:
                break
    parts = linearise(levels[0], pyramid[0], pose, light, None)
    visible = int(parts.visible.sum())
    agree = (parts.error < INLIER) & parts.visible
    return OnKnownDepth(
        pose,
        float(agree.sum() / max(visible, 1)),
        visible / max(len(parts.visible), 1),
        likeness(levels[0].intensity, parts.intensity, agree),
    )
