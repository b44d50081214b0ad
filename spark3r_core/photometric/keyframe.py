"""The frame that others are aligned to: chosen pixels with depth, at every level of its pyramid."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spark3r_core.photometric import depth_grid
from spark3r_core.photometric.assumed import MIN_DEPTH, MIN_GRADIENT, POINTS
from spark3r_core.photometric.grid_weights import weights

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Points:
    """N pixels of one level.

    rays: (N, 3) through the pixels, z = 1; depth: (N,); intensity: (N,); basis: (N, NODES) weights of the depth
    correction; focal_xy, centre_xy: of the camera at this level, pixels; size_hw: of the level.
    """

    rays: Tensor
    depth: Tensor
    intensity: Tensor
    basis: Tensor
    focal_xy: tuple[float, float]
    centre_xy: tuple[float, float]
    size_hw: tuple[int, int]

    def camera_points(self, nodes: Tensor, log_focal: float) -> Tensor:
        """(N, 3) in the keyframe's camera, depth corrected by `nodes` (NODES,), focal length times e^log_focal."""
        narrower = math.exp(-log_focal)
        rays = self.rays * self.rays.new_tensor([narrower, narrower, 1.0])
        return rays * (self.depth * torch.exp(self.basis @ nodes))[:, None]


@dataclass
class Keyframe:
    """world_from_camera: (4, 4). intrinsics: (3, 3) of its points, finest level. levels: finest first.

    nodes: (NODES,) present correction of its depth; prior_nodes and prior_precision: what was known of it when it was
    made. frames: so many were aligned to it.
    """

    world_from_camera: Array
    intrinsics: Array
    levels: list[Points]
    nodes: Array
    prior_nodes: Array
    prior_precision: Array
    frames: int = 0

    @staticmethod
    def of(
        world_from_camera: Array,
        pyramid: list[Tensor],
        depth: Tensor,
        intrinsics: Array,
        nodes: Array | None = None,
        precision: Array | None = None,
    ) -> Keyframe:
        """pyramid: (3, h, w) per level; depth: (H, W) of the finest; intrinsics: (3, 3) pixels of the finest."""
        levels = [choose_points(level, depth, intrinsics, index) for index, level in enumerate(pyramid)]
        first = np.zeros(depth_grid.NODES) if nodes is None else nodes
        precision = depth_grid.prior_precision() if precision is None else precision
        return Keyframe(world_from_camera, intrinsics, levels, first, first, precision)


def choose_points(level: Tensor, depth: Tensor, intrinsics: Array, index: int) -> Points:
    """The pixel of strongest gradient in each cell of a regular raster: what carries information, everywhere."""
    _, height, width = level.shape
    cell = max(1, round(math.sqrt(height * width / POINTS[min(index, len(POINTS) - 1)])))
    rows, columns = height // cell, width // cell
    strength = (level[1].square() + level[2].square())[: rows * cell, : columns * cell]
    cells = strength.unflatten(1, (columns, cell)).unflatten(0, (rows, cell)).transpose(1, 2).flatten(2).flatten(0, 1)
    best, inside = cells.max(1)
    number = torch.arange(rows * columns)
    v = torch.div(number, columns, rounding_mode="floor") * cell + torch.div(inside, cell, rounding_mode="floor")
    u = number % columns * cell + inside % cell
    step = 2**index
    z = depth[v * step + step // 2, u * step + step // 2]
    usable = (best > MIN_GRADIENT**2) & torch.isfinite(z) & (z > MIN_DEPTH)
    u, v, z = u[usable], v[usable], z[usable]
    fx, fy, cx, cy = (float(intrinsics[i]) / step for i in ((0, 0), (1, 1), (0, 2), (1, 2)))
    rays = torch.stack([(u + 0.5 - cx) / fx, (v + 0.5 - cy) / fy, torch.ones_like(z)], -1)
    basis = weights((u + 0.5) / width, (v + 0.5) / height)
    return Points(rays, z, level[0, v, u], basis, (fx, fy), (cx, cy), (height, width))
