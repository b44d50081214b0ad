"""Adjustment of one window: poses of its frames against the keyframe, its depth correction and the focal length.

Gauss-Newton over all of them at once (Baker & Matthews, Lucas-Kanade 20 Years On, 2004; Kerl et al., Robust Odometry
Estimation for RGB-D Cameras, 2013), coarse to fine. The depth correction and the focal length are shared by the frames
of the window, so every frame's parallax tells about them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spark3r_core.geometry import se3
from spark3r_core.photometric.depth_grid import NODES
from spark3r_core.photometric.keyframe import Keyframe, Points
from spark3r_core.photometric.priors import PER_FRAME, Past, Priors
from spark3r_core.photometric.residuals import FOCAL, NODE, POSE, linearise

Array = NDArray[np.float64]

ITERATIONS = (4, 4, 5)  # most per level, finest first; coarser levels take the last number
SETTLED = 1e-3  # largest change of a pose at which a level is done (radians, map units): a fifth of a pixel
DAMPING = 1e-4
HELD = 1e12  # precision of depth and focal length at the coarsest level: a pose that is far off would bend them
INLIER = 2.5  # sigmas


@dataclass(frozen=True)
class Adjusted:
    """camera_from_key: (n, 4, 4). nodes: (NODES,). log_focal. inliers, overlap: (n,) share of the visible points that
    agree, and share of all points that are visible. likeness: (n,) correlation with the keyframe where they agree.
    focal_information: what this window knew of log_focal."""

    camera_from_key: Array
    nodes: Array
    log_focal: float
    inliers: Array
    overlap: Array
    likeness: Array
    focal_information: float


def adjust(
    keyframe: Keyframe,
    pyramid: Sequence[Tensor],
    guess: Array,
    log_focal: float,
    focal_prior: tuple[float, float],
    past: Past | None,
) -> Adjusted:
    """Align the frames of `pyramid`, (n, 3, h, w) per level, to the keyframe, from camera_from_key `guess` (n, 4, 4).

    log_focal: where to start; focal_prior: its mean and precision.
    """
    poses, brightness = guess.copy(), np.tile([1.0, 0.0], (len(guess), 1))
    shared = np.append(keyframe.nodes, log_focal)
    prior = np.append(keyframe.prior_nodes, focal_prior[0])
    precision = np.zeros((NODES + 1, NODES + 1))
    precision[:-1, :-1], precision[-1, -1] = keyframe.prior_precision, focal_prior[1]
    priors = Priors(guess, past)
    for level in reversed(range(len(pyramid))):
        points = keyframe.levels[level]
        for _ in range(ITERATIONS[min(level, len(ITERATIONS) - 1)]):
            parts = linearise(points, pyramid[level], *_tensors(poses, brightness, shared[:-1]), float(shared[-1]))
            matrix, gradient = _normal_equations(parts.squares().double().numpy())
            known = matrix[-NODES - 1 :, -NODES - 1 :].copy()
            matrix[: -NODES - 1, : -NODES - 1] += priors.matrix
            gradient[: -NODES - 1] += priors.gradient(poses, brightness)
            matrix[-NODES - 1 :, -NODES - 1 :] += precision
            gradient[-NODES - 1 :] += precision @ (shared - prior)
            matrix[np.diag_indices_from(matrix)] *= 1 + DAMPING
            if level and level == len(pyramid) - 1:
                matrix[-NODES - 1 :, -NODES - 1 :] += HELD * np.eye(NODES + 1)
            change = -np.linalg.solve(matrix, gradient)
            if not np.isfinite(change).all():
                break  # residuals that are no numbers count as disagreeing below
            of_frames = change[: -NODES - 1].reshape(-1, PER_FRAME)
            poses = se3.compose(se3.exp(of_frames[:, POSE]), poses)
            brightness = brightness + of_frames[:, 6:]
            shared = shared + change[-NODES - 1 :]
            if np.abs(of_frames[:, POSE]).max() < SETTLED:
                break
    agree, visible = (parts.error < INLIER) & parts.visible, parts.visible.sum(1).clamp_min(1)
    return Adjusted(
        poses,
        shared[:-1],
        float(shared[-1]),
        (agree.sum(1) / visible).double().numpy(),
        parts.visible.float().mean(1).double().numpy(),
        _likeness(keyframe.levels[0].intensity, parts.intensity, agree),
        _left_for_focal(matrix, known, precision),
    )


def _likeness(key: Tensor, frames: Tensor, agree: Tensor) -> Array:
    """(n,) correlation of intensities key (N,) and frames (n, N) over the points of `agree` (n, N); 0 without any.

    A wall of one colour agrees with every keyframe once its gain is nought, and so does the noise of a covered lens.
    """
    share = agree / agree.sum(1, keepdim=True).clamp_min(1)
    off_key = key - (share * key).sum(1, keepdim=True)
    off = frames - (share * frames).sum(1, keepdim=True)
    spread = (share * off_key.square()).sum(1) * (share * off.square()).sum(1)
    return ((share * off_key * off).sum(1) / spread.clamp_min(1e-16).sqrt()).double().numpy()


def misfit(keyframe: Keyframe, level: int, images: Tensor, poses: Array, log_focal: float) -> Array:
    """(n,) mean error in sigmas of camera_from_key `poses` at one level; large where little is visible."""
    brightness = np.tile([1.0, 0.0], (len(poses), 1))
    points: Points = keyframe.levels[level]
    parts = linearise(points, images, *_tensors(poses, brightness, keyframe.nodes), log_focal)
    error = (parts.error.clamp_max(3) * parts.visible).sum(1) / parts.visible.sum(1).clamp_min(1)
    return torch.where(parts.visible.float().mean(1) > 0.3, error, 9.0).double().numpy()


def _tensors(poses: Array, brightness: Array, nodes: Array) -> tuple[Tensor, Tensor, Tensor]:
    return tuple(torch.from_numpy(array).float() for array in (poses, brightness, nodes))  # type: ignore[return-value]


def _normal_equations(squares: Array) -> tuple[Array, Array]:
    """Arrow-shaped matrix and gradient over [frame 0, frame 1, ..., nodes, focal] from each frame's own, (n, c, c)."""
    frames = len(squares)
    size = PER_FRAME * frames + NODES + 1
    matrix, gradient = np.zeros((size, size)), np.zeros(size)
    shared = slice(NODE.start, FOCAL + 1)
    for frame, own in enumerate(squares):
        at = slice(PER_FRAME * frame, PER_FRAME * (frame + 1))
        matrix[at, at] = own[:PER_FRAME, :PER_FRAME]
        matrix[at, -NODES - 1 :] = own[:PER_FRAME, shared]
        matrix[-NODES - 1 :, at] = own[shared, :PER_FRAME]
        gradient[at] = own[:PER_FRAME, -1]
    matrix[-NODES - 1 :, -NODES - 1 :] = squares[:, shared, shared].sum(0)
    gradient[-NODES - 1 :] = squares[:, shared, -1].sum(0)
    return matrix, gradient


def _left_for_focal(matrix: Array, known: Array, precision: Array) -> float:
    """Information about the focal length once everything else is solved for (Schur complement, without its prior)."""
    reduced = matrix.copy()
    reduced[-NODES - 1 :, -NODES - 1 :] = known + precision
    others, own = reduced[:-1, :-1], reduced[:-1, -1]
    left = known[-1, -1] - own @ np.linalg.solve(others, own)
    return max(0.0, float(left))
