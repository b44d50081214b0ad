"""Residuals and normal equations of one frame on one keyframe, in plain numpy: `residuals.linearise` for one camera.

Tests hold the two against each other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spark3r_core.photometric.assumed import DEPTH_SIGMA, HUBER, INTENSITY_SIGMA, MIN_Z
from spark3r_core.photometric.depth_grid import NODES
from spark3r_core.photometric.knowledge import Knowledge
from spark3r_core.photometric.levels import Level

Array = NDArray[np.float64]
Floats = NDArray[np.float32]

POSE_AND_LIGHT = 8  # twist [rho, phi], gain, bias: unknowns of the frame; the rest is shared by all frames
SHARED = NODES + 1
BLOCK_ROWS = 128  # 41 x 41 x 128 multiplications stay on one BLAS thread


@dataclass(frozen=True)
class KeyPoints:
    """N pixels of one level of a keyframe: what `keyframe.Points` holds, as numpy float32.

    rays: (N, 3), z = 1. depth, intensity: (N,). basis: (N, NODES). focal_xy, centre_xy: pixels of the level.
    depth_sigma: of log depth, (N,) or one for all.
    """

    rays: Floats
    depth: Floats
    intensity: Floats
    basis: Floats
    focal_xy: tuple[float, float]
    centre_xy: tuple[float, float]
    size_hw: tuple[int, int]
    depth_sigma: Floats | float = DEPTH_SIGMA

    def camera_points(self, nodes: Array, log_focal: float) -> Floats:
        """(N, 3) in the keyframe's camera, depth corrected by `nodes`, focal length times e^log_focal."""
        narrower = math.exp(-log_focal)
        depth = self.depth * np.exp(self.basis @ nodes.astype(np.float32))
        return self.rays * np.array([narrower, narrower, 1], np.float32) * depth[:, None]


@dataclass(frozen=True)
class Linear:
    """squares: normal equations, the gradient and the cost as the last row and column."""

    squares: Array
    error: Floats
    visible: NDArray[np.bool_]
    intensity: Floats


def linearise(points: KeyPoints, level: Level, pose: Array, light: Array, shared: Array | None) -> Linear:
    """As `residuals.linearise`, for one frame. shared: None where depth and focal length are known, and no unknowns."""
    height, width = points.size_hw
    unknowns = POSE_AND_LIGHT + (0 if shared is None else SHARED)
    wider = 1.0 if shared is None else math.exp(shared[-1])
    fx, fy = np.float32(points.focal_xy[0] * wider), np.float32(points.focal_xy[1] * wider)
    cx, cy = (np.float32(c - 0.5) for c in points.centre_xy)
    if shared is None:
        key = points.rays * points.depth[:, None]
    else:
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
    jacobian = np.empty((len(x), unknowns + 1), np.float32)
    jacobian[:, 0], jacobian[:, 1], jacobian[:, 2] = du, dv, third
    jacobian[:, 3] = y * third - z * dv
    jacobian[:, 4] = z * du - x * third
    jacobian[:, 5] = x * dv - y * du
    jacobian[:, 6] = -points.intensity
    jacobian[:, 7] = -1
    by_log_depth = du * turned[:, 0] + dv * turned[:, 1] + third * turned[:, 2]
    if shared is not None:
        np.multiply(by_log_depth[:, None], points.basis, out=jacobian[:, 8 : 8 + NODES])
        inwards = key[:, :2] @ rotation[:, :2].T
        jacobian[:, -2] = along_ray - (du * inwards[:, 0] + dv * inwards[:, 1] + third * inwards[:, 2])
    residual = sampled[:, 0] - (np.float32(light[0]) * points.intensity + np.float32(light[1]))
    jacobian[:, -1] = residual
    variance = np.float32(INTENSITY_SIGMA**2) + np.square(by_log_depth * points.depth_sigma)
    error = np.abs(residual) / np.sqrt(variance)
    weight = np.float32(HUBER) / np.maximum(error, np.float32(HUBER)) / variance * visible
    jacobian *= np.sqrt(weight)[:, None]
    squares = _squares(jacobian)
    return Linear(squares, error.astype(np.float32, copy=False), visible, sampled[:, 0])


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


def misfit(points: KeyPoints, level: Level, pose: Array, known: Knowledge | None) -> float:
    """Mean error in sigmas of camera_from_key `pose` (4, 4) at one level; 9 where little is visible. known: None where
    depth needs no correction."""
    parts = linearise(points, level, pose, np.array([1.0, 0.0]), None if known is None else known.mean)
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
