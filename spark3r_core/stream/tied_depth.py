"""The depth of a new keyframe, tied to the points of the keyframe before: in the unit of odom, and bent to them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry import se3
from spark3r_core.photometric import depth_grid

Array = NDArray[np.float64]

LEAST_TIES = 50  # points of the old keyframe in view, for a scale


def tied_depth(
    points: NDArray[np.float32] | None, depth: NDArray[np.float32], camera: Array
) -> tuple[NDArray[np.float32], Array | None]:
    """The network's depth (h, w) as the points say, and how well they know each node of its correction; the depth as
    it is, and None, without enough of them.

    points: (N, 3) of the keyframe before in this camera. camera: (3, 3) of the depth.
    """
    if points is None:
        return depth, None
    x, y, z = points.astype(np.float64).T
    ahead = np.where(z > depth_grid.MIN_DEPTH, z, np.inf)
    u, v = camera[0, 0] * x / ahead + camera[0, 2], camera[1, 1] * y / ahead + camera[1, 2]
    height, width = depth.shape
    inside = np.isfinite(ahead) & (u >= 0) & (u < width) & (v >= 0) & (v < height)
    u, v, z = u[inside], v[inside], z[inside]
    by_network = depth[v.astype(int), u.astype(int)]
    known = np.isfinite(by_network) & (by_network > depth_grid.MIN_DEPTH)
    if known.sum() < LEAST_TIES:
        return depth, None
    u, v, z, by_network = u[known], v[known], z[known], by_network[known]
    log_scale, nodes, information = depth_grid.fit(np.log(z / by_network), np.stack([u / width, v / height], -1))
    bent = depth * np.float32(np.exp(log_scale)) * depth_grid.factors(nodes, height, width)
    return bent.astype(np.float32), information


def seen_from(mended: Array, tracked: Array, scale: float, points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Points (N, 3) of the camera at `tracked`, as the one at `mended` sees them. Both world_from_camera (4, 4); scale:
    units of the world per unit of the points."""
    step = se3.compose(se3.invert(mended), tracked)
    return (points @ step[:3, :3].T + step[:3, 3] / scale).astype(np.float32)
