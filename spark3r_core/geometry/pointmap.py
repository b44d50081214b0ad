"""Depth maps to points, and which of them to trust. Plain numpy; z-depth in model units."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spark3r_core.errors import GeometryError
from spark3r_core.geometry.rotation import Array, as_float64
from spark3r_core.geometry.se3 import transform_points

Mask = NDArray[np.bool_]


def points_from_depth(depth: ArrayLike, intrinsics: ArrayLike, world_from_camera: ArrayLike | None = None) -> Array:
    """z-depth (H, W), K (3, 3) in pixels of that map -> points (H, W, 3), in the camera or, with a pose, the world.

    Rays go through pixel centres (column + 0.5, row + 0.5). Invalid depths give invalid points: mask them.
    """
    depth = _depth_map(depth)
    k = as_float64(intrinsics, (3, 3), "intrinsics")
    if k.ndim != 2 or not (k[0, 0] > 0 and k[1, 1] > 0):
        raise GeometryError(f"intrinsics {k.shape} with focal lengths {k[..., 0, 0]}, {k[..., 1, 1]}; expected one K")
    height, width = depth.shape
    y = (np.arange(height) + 0.5 - k[1, 2]) / k[1, 1]
    x = (np.arange(width) + 0.5 - k[0, 2] - k[0, 1] * y[:, None]) / k[0, 0]
    points = np.stack([x * depth, y[:, None] * depth, depth], -1)
    return points if world_from_camera is None else transform_points(world_from_camera, points)


def valid_depth(depth: ArrayLike, max_depth: float = np.inf) -> Mask:
    """(H, W) bool: finite, positive and not beyond `max_depth`."""
    depth = _depth_map(depth)
    return np.isfinite(depth) & (depth > 0) & (depth <= max_depth)


def depth_edges(depth: ArrayLike, max_step: float = 0.05) -> Mask:
    """(H, W) bool: pixels whose depth differs from a direct neighbour's by more than `max_step` of the nearer one.

    At such pixels a network's depth lies between object and background and its points float in the air. Both sides
    of a step are marked. Invalid pixels are marked, and so are their neighbours.
    """
    depth = _depth_map(depth)
    inverse = np.where(valid_depth(depth), 1.0 / np.where(depth > 0, depth, 1.0), np.inf)
    edges = ~np.isfinite(inverse)
    for near, far in (((slice(None, -1),), (slice(1, None),)), ((..., slice(None, -1)), (..., slice(1, None)))):
        a, b = inverse[near], inverse[far]
        # The ratio of inverse depths is that of depths; an invalid side is infinite and so never passes.
        step = ~((np.maximum(a, b) <= (1.0 + max_step) * np.minimum(a, b)) & np.isfinite(a) & np.isfinite(b))
        edges[near] |= step
        edges[far] |= step
    return edges


def confident(confidence: ArrayLike, quantile: float, valid: Mask | None = None) -> Mask:
    """(H, W) bool: confidence at or above its own `quantile` in [0, 1] over the valid pixels; NaN never passes."""
    confidence = np.asarray(confidence, np.float64)
    if not 0.0 <= quantile <= 1.0:
        raise GeometryError(f"confidence quantile is {quantile}; expected 0 to 1")
    usable = np.isfinite(confidence) if valid is None else np.isfinite(confidence) & valid
    if not usable.any():
        return usable
    return usable & (confidence >= np.quantile(confidence[usable], quantile))


def subsample(mask: Mask, max_points: int) -> NDArray[np.int64]:
    """Flat indices of at most `max_points` true pixels of `mask`, evenly spread over them in scan order.

    Deterministic; steps by a non-integer stride, so it does not lock onto columns of the image.
    """
    indices = np.flatnonzero(mask)
    if len(indices) <= max_points:
        return indices
    return (
        indices[np.linspace(0, len(indices) - 1, max_points).round().astype(np.int64)]
        if max_points > 0
        else indices[:0]
    )


def _depth_map(depth: ArrayLike) -> Array:
    depth = np.asarray(depth, np.float64)
    if depth.ndim != 2 or depth.size == 0:
        raise GeometryError(f"depth has shape {depth.shape}; expected (H, W)")
    return depth
