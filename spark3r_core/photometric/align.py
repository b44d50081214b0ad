"""Alignment of one frame to a keyframe, fast: what `adjust.adjust` does for a window, in plain numpy for one camera.

A frame at camera rate cannot afford thousands of small tensor operations. The residuals, weights and priors are those
of `residuals.linearise` and `priors.Priors` (tests hold the two against each other); what is new is that a keyframe's
depth correction and focal length are filtered: each aligned frame adds what it knows of them, so that the next frame
begins where this one ended (an information filter over [nodes, log focal]).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from spark3r_core.photometric.depth_grid import NODES
from spark3r_core.photometric.priors import BRIGHTNESS_SIGMA, GUESS_SIGMA, SLOWEST, SPEED_CHANGE, TURN_CHANGE, Past
from spark3r_core.photometric.pyramid import BLUR_SIGMA, level_count
from spark3r_core.photometric.residuals import DEPTH_SIGMA, HUBER, INTENSITY_SIGMA, MIN_Z

Array = NDArray[np.float64]
Floats = NDArray[np.float32]

POSE_AND_LIGHT = 8  # twist [rho, phi], gain, bias: unknowns of the frame; the rest is shared by all frames
SHARED = NODES + 1
ITERATIONS = (4, 4, 6)  # most per level, finest first; coarser levels take the last number
SETTLED = 5e-4  # largest change of a pose at which a level is done (radians, map units)
DAMPING = 1e-4
HELD = 1e12  # precision of depth and focal length at the coarsest level: a pose that is far off would bend them
INLIER = 2.5  # sigmas
BLOCK_ROWS = 128  # 41 x 41 x 128 multiplications stay on one BLAS thread
# Errors of neighbouring frames are much alike (the same shading, the same blur), so a frame's knowledge counts little.
FRAME_WEIGHT = 0.05
MOST_PRECISION = 2e4  # of a node and of the focal length: 0.7 percent; nothing is known better from one keyframe


@dataclass(frozen=True)
class Level:
    """One level of a grey pyramid: (h, w, 3) float32, blurred intensity in [0, 1], d/du, d/dv per pixel."""

    channels: Floats

    @property
    def size_hw(self) -> tuple[int, int]:
        return self.channels.shape[0], self.channels.shape[1]


def grey_levels(image: NDArray[np.uint8]) -> list[Level]:
    """Pyramid of an (H, W, 3) RGB or (H, W) grey image, finest level first, each half the size of the one before."""
    grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    grey = grey.astype(np.float32) * np.float32(1 / 255)
    levels = []
    for level in range(level_count(grey.shape[1])):
        if level:
            if min(grey.shape) < 8:
                break  # a strip; of less than 4 rows none is inside by a pixel
            height, width = grey.shape[0] // 2 * 2, grey.shape[1] // 2 * 2
            grey = cv2.resize(grey[:height, :width], (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        radius = math.ceil(2 * BLUR_SIGMA)
        kernel = (2 * radius + 1, 2 * radius + 1)
        blurred = cv2.GaussianBlur(grey, kernel, BLUR_SIGMA, borderType=cv2.BORDER_REPLICATE)
        padded = cv2.copyMakeBorder(blurred, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
        channels = np.empty((*grey.shape, 3), np.float32)
        channels[..., 0] = blurred
        np.subtract(padded[1:-1, 2:], padded[1:-1, :-2], out=channels[..., 1])
        np.subtract(padded[2:, 1:-1], padded[:-2, 1:-1], out=channels[..., 2])
        channels[..., 1:] *= 0.5
        levels.append(Level(channels))
    return levels


@dataclass(frozen=True)
class KeyPoints:
    """N pixels of one level of a keyframe: what `keyframe.Points` holds, as numpy float32.

    rays: (N, 3), z = 1. depth, intensity: (N,). basis: (N, NODES). focal_xy, centre_xy: pixels of the level.
    """

    rays: Floats
    depth: Floats
    intensity: Floats
    basis: Floats
    focal_xy: tuple[float, float]
    centre_xy: tuple[float, float]
    size_hw: tuple[int, int]

    def camera_points(self, nodes: Array, log_focal: float) -> Floats:
        """(N, 3) in the keyframe's camera, depth corrected by `nodes`, focal length times e^log_focal."""
        narrower = math.exp(-log_focal)
        depth = self.depth * np.exp(self.basis @ nodes.astype(np.float32))
        return self.rays * np.array([narrower, narrower, 1], np.float32) * depth[:, None]


@dataclass(frozen=True)
class Knowledge:
    """What is known of a keyframe's shared unknowns [nodes, log focal].

    mean: (SHARED,). information: (SHARED, SHARED).
    """

    mean: Array
    information: Array

    @property
    def nodes(self) -> Array:
        return self.mean[:-1]

    @property
    def log_focal(self) -> float:
        return float(self.mean[-1])


@dataclass(frozen=True)
class Aligned:
    """camera_from_key: (4, 4). inliers, overlap: share of the visible points that agree, share of all that are
    visible. likeness: correlation with the keyframe where they agree. covariance: (6, 6) of the twist [rho, phi] of
    camera_from_key from the left, residuals taken as independent. knowledge: of the keyframe after this frame."""

    camera_from_key: Array
    inliers: float
    overlap: float
    likeness: float
    visible: int
    covariance: Array
    knowledge: Knowledge


@dataclass(frozen=True)
class _Linear:
    """squares: normal equations, the gradient and the cost as the last row and column."""

    squares: Array
    error: Floats
    visible: NDArray[np.bool_]
    intensity: Floats


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
        _likeness(levels[0].intensity, parts.intensity, agree),
        visible,
        _covariance(matrix),
        _learnt(known, shared, parts.squares[:size, :size], priors.matrix),
    )


class FramePriors:
    """`priors.Priors` of one frame, without its generality: this runs in every iteration of every frame.

    matrix: (8, 8) to be added to the normal equations.
    """

    def __init__(self, guess: Array, past: Past | None) -> None:
        self._precision = np.append(GUESS_SIGMA**-2.0, [BRIGHTNESS_SIGMA**-2.0] * 2)
        self._key_from_guess = _inverse(guess)
        self.matrix = np.diag(self._precision)
        self._trust: Array | None = None
        if past is not None:
            before, last = past.camera_from_key
            self._key_from_last = _inverse(last)
            self._rate = 1 / past.steps[1]
            self._speed = _small_twist(last @ _inverse(before)) / past.steps[0]
            self._trust = np.array([SPEED_CHANGE * past.speed + SLOWEST] * 3 + [TURN_CHANGE] * 3) ** -2.0
            self.matrix[_POSE_DIAGONAL] += self._rate**2 * self._trust

    def gradient(self, pose: Array, light: Array) -> Array:
        """(8,) at camera_from_key `pose` (4, 4) and (2,) gain and bias."""
        off = np.empty(8)
        off[:6] = _small_twist(pose @ self._key_from_guess)
        off[6], off[7] = light[0] - 1, light[1]
        off *= self._precision
        if self._trust is not None:
            speed = _small_twist(pose @ self._key_from_last) * self._rate
            off[:6] += self._rate * self._trust * (speed - self._speed)
        return off


def moved(pose: Array, twist: Array) -> Array:
    """exp(twist) pose for one (4, 4) and one (6,) [rho, phi]: `se3.exp` in scalars, at a tenth of its price."""
    x, y, z = (float(value) for value in twist[3:])
    angle = math.sqrt(x * x + y * y + z * z)
    if angle < 1e-4:
        a, b, c = 1 - angle**2 / 6, 0.5 - angle**2 / 24, 1 / 6 - angle**2 / 120
    else:
        a, b = math.sin(angle) / angle, (1 - math.cos(angle)) / angle**2
        c = (1 - a) / angle**2
    hat = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    square = hat @ hat
    step = np.eye(4)
    step[:3, :3] += a * hat + b * square
    step[:3, 3] = twist[:3] + (b * hat + c * square) @ twist[:3]
    return step @ pose


def _inverse(pose: Array) -> Array:
    inverse = np.eye(4)
    inverse[:3, :3] = pose[:3, :3].T
    inverse[:3, 3] = -pose[:3, :3].T @ pose[:3, 3]
    return inverse


def _small_twist(pose: Array) -> Array:
    """(4, 4) -> (6,), to first order."""
    r = pose[:3, :3]
    turn = (0.5 * (r[2, 1] - r[1, 2]), 0.5 * (r[0, 2] - r[2, 0]), 0.5 * (r[1, 0] - r[0, 1]))
    return np.array([pose[0, 3], pose[1, 3], pose[2, 3], *turn])


def linearise(points: KeyPoints, level: Level, pose: Array, light: Array, shared: Array) -> _Linear:
    """As `residuals.linearise`, for one frame."""
    height, width = points.size_hw
    wider = math.exp(shared[-1])
    fx, fy = np.float32(points.focal_xy[0] * wider), np.float32(points.focal_xy[1] * wider)
    cx, cy = (np.float32(c - 0.5) for c in points.centre_xy)
    key = points.camera_points(shared[:-1], float(shared[-1]))
    rotation = pose[:3, :3].astype(np.float32)
    turned = key @ rotation.T
    seen = turned + pose[:3, 3].astype(np.float32)
    x, y, z = seen[:, 0], seen[:, 1], seen[:, 2]
    ahead = z > MIN_Z
    per_z = 1 / np.where(ahead, z, np.float32(1))
    u, v = fx * x * per_z + cx, fy * y * per_z + cy
    visible = ahead & (u > 1) & (u < width - 2) & (v > 1) & (v < height - 2)
    sampled = bilinear(level.channels, np.where(visible, u, 1), np.where(visible, v, 1))
    du, dv = sampled[:, 1] * (fx * per_z), sampled[:, 2] * (fy * per_z)
    along_ray = du * x + dv * y
    third = -along_ray * per_z
    jacobian = np.empty((len(x), POSE_AND_LIGHT + SHARED + 1), np.float32)
    jacobian[:, 0], jacobian[:, 1], jacobian[:, 2] = du, dv, third
    jacobian[:, 3] = y * third - z * dv
    jacobian[:, 4] = z * du - x * third
    jacobian[:, 5] = x * dv - y * du
    jacobian[:, 6] = -points.intensity
    jacobian[:, 7] = -1
    by_log_depth = du * turned[:, 0] + dv * turned[:, 1] + third * turned[:, 2]
    np.multiply(by_log_depth[:, None], points.basis, out=jacobian[:, 8 : 8 + NODES])
    inwards = key[:, :2] @ rotation[:, :2].T
    jacobian[:, -2] = along_ray - (du * inwards[:, 0] + dv * inwards[:, 1] + third * inwards[:, 2])
    residual = sampled[:, 0] - (np.float32(light[0]) * points.intensity + np.float32(light[1]))
    jacobian[:, -1] = residual
    variance = np.float32(INTENSITY_SIGMA**2) + np.square(by_log_depth * np.float32(DEPTH_SIGMA))
    error = np.abs(residual) / np.sqrt(variance)
    weight = np.float32(HUBER) / np.maximum(error, np.float32(HUBER)) / variance * visible
    jacobian *= np.sqrt(weight)[:, None]
    squares = _squares(jacobian)
    return _Linear(squares, error.astype(np.float32, copy=False), visible, sampled[:, 0])


def _squares(jacobian: Floats) -> Array:
    """jacobian.T @ jacobian in blocks of rows.

    A product that is large enough for several BLAS threads is slower than this, and where another thread wants the
    processor thirty times slower: BLAS threads wait by spinning.
    """
    rows, columns = jacobian.shape
    blocks = rows // BLOCK_ROWS
    whole = jacobian[: blocks * BLOCK_ROWS].reshape(blocks, BLOCK_ROWS, columns)
    rest = jacobian[blocks * BLOCK_ROWS :]
    return (whole.swapaxes(1, 2) @ whole).sum(0, dtype=np.float64) + rest.T @ rest


def misfit(points: KeyPoints, level: Level, pose: Array, known: Knowledge) -> float:
    """Mean error in sigmas of camera_from_key `pose` (4, 4) at one level; 9 where little is visible."""
    parts = linearise(points, level, pose, np.array([1.0, 0.0]), known.mean)
    if parts.visible.mean() <= 0.3:
        return 9.0
    return float(np.minimum(parts.error[parts.visible], 3).mean())


def bilinear(channels: Floats, u: Floats, v: Floats) -> Floats:
    """(N, C) values between pixel centres; u, v: (N,) columns and rows, inside by a pixel."""
    _, width, count = channels.shape
    flat = channels.reshape(-1, count)
    left, top = u.astype(np.int32), v.astype(np.int32)
    right, below = (u - left)[:, None].astype(np.float32), (v - top)[:, None].astype(np.float32)
    at = top * width + left
    value = flat.take(at, axis=0)
    beside = flat.take(at + 1, axis=0)
    beside -= value
    beside *= right
    value += beside
    at += width
    lower = flat.take(at, axis=0)
    beside = flat.take(at + 1, axis=0)
    beside -= lower
    beside *= right
    lower += beside
    lower -= value
    lower *= below
    value += lower
    return value


def more_known(known: Knowledge, information: Array) -> Knowledge:
    """Knowledge with information added, bounded: nothing is known arbitrarily well from pixels.

    A focal length that is held stays held.
    """
    total = known.information + information
    diagonal = np.diag(total)
    shrink = np.sqrt(np.minimum(1.0, MOST_PRECISION / np.maximum(diagonal, 1e-12)))
    if diagonal[-1] >= HELD:
        shrink[-1] = 1.0
    return replace(known, information=total * shrink[:, None] * shrink[None])


_DIAGONAL = np.diag_indices(POSE_AND_LIGHT + SHARED)
_POSE_DIAGONAL = np.diag_indices(6)
_FOCAL_ONLY = np.diag(np.append(np.zeros(NODES), 1.0))


def _likeness(key: Floats, frame: Floats, agree: NDArray[np.bool_]) -> float:
    """Correlation of intensities over the points that agree; 0 without any (see `adjust._likeness`)."""
    if not agree.any():
        return 0.0
    a, b = key[agree], frame[agree]
    a, b = a - a.mean(), b - b.mean()
    spread = float((a @ a) * (b @ b))
    return float(a @ b) / math.sqrt(spread) if spread > 1e-16 else 0.0


def _covariance(matrix: Array) -> Array:
    """(6, 6) of the pose once everything else is solved for, priors included."""
    try:
        return np.asarray(np.linalg.inv(matrix)[:6, :6], np.float64)
    except np.linalg.LinAlgError:
        return np.full((6, 6), np.inf)


def _learnt(known: Knowledge, shared: Array, squares: Array, of_frame: Array) -> Knowledge:
    """The keyframe's knowledge after a frame: its information once pose and light are solved for, discounted."""
    own = squares[:8, :8] + of_frame + 1e-6 * np.eye(8)
    cross = squares[:8, 8:]
    information = squares[8:, 8:] - cross.T @ np.linalg.solve(own, cross)
    information = 0.5 * (information + information.T) * FRAME_WEIGHT
    return more_known(Knowledge(shared, known.information), information)
