"""A printed tag on a wall of a procedural world, painted into its pictures where nothing hides it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spark3r_core.errors import GeometryError
from spark3r_core.geometry import se3
from spark3r_core.geometry.camera import Intrinsics

Array = NDArray[np.float64]
Pattern = NDArray[np.uint8]

WHITE, BLACK = 0.85, 0.04
SAMPLES = 4  # per pixel and direction
MARGIN = 1.25  # half of the paper, in halves of the black square
_BEHIND = 0.03  # how far, in units of the world, the tag may lie behind what is seen and still be on it
_STEP = 8  # pixels between the places that are tried
_FLAT = 0.01  # of the distance, how far a surface may bend under the paper
_FACING = 0.8  # cosine between the surface's normal and the view


@dataclass(frozen=True)
class PaintedTag:
    """world_from_tag: (4, 4), x right, y up, z out of the paper. size: edge of the black square. pattern: its cells,
    (n, n) uint8, 0 black, 255 white."""

    world_from_tag: Array
    size: float
    pattern: Pattern

    def paint(
        self, image: NDArray[np.float32], depth: NDArray[np.float32], world_from_camera: Array, camera: Intrinsics
    ) -> bool:
        """Into an image (H, W, 3) in [0, 1] with its z-depth (H, W). Whether any of it is seen."""
        camera_from_tag = se3.compose(se3.invert(world_from_camera), self.world_from_tag)
        half = self.size / 2 * MARGIN
        corners = np.array([[-half, half, 0], [half, half, 0], [half, -half, 0], [-half, -half, 0]])
        seen = se3.transform_points(camera_from_tag, corners)
        if seen[:, 2].min() <= 0.05 or camera_from_tag[:3, 2] @ camera_from_tag[:3, 3] >= 0:
            return False
        places = camera.project(seen)
        left, top = np.maximum(np.floor(places.min(0)).astype(int) - 1, 0)
        right, bottom = np.minimum(np.ceil(places.max(0)).astype(int) + 1, [camera.width, camera.height])
        if right <= left or bottom <= top:
            return False
        offsets = (np.arange(SAMPLES) + 0.5) / SAMPLES
        u = (np.arange(left, right)[:, None] + offsets).ravel()
        v = (np.arange(top, bottom)[:, None] + offsets).ravel()
        rays = camera.rays(np.stack(np.meshgrid(u, v), -1))
        z = (camera_from_tag[:3, 2] @ camera_from_tag[:3, 3]) / (rays @ camera_from_tag[:3, 2])
        on_paper = (rays * z[..., None] - camera_from_tag[:3, 3]) @ camera_from_tag[:3, :2]
        here = (np.abs(on_paper) < half).all(-1) & (z > 0)
        here &= z < np.repeat(np.repeat(depth[top:bottom, left:right], SAMPLES, 0), SAMPLES, 1) + _BEHIND
        cells = len(self.pattern)
        at = np.floor((on_paper / self.size + 0.5) * cells).astype(int)
        inside = ((at >= 0) & (at < cells)).all(-1)
        at = at.clip(0, cells - 1)
        dark = inside & (self.pattern[cells - 1 - at[..., 1], at[..., 0]] < 128)
        rows, columns = bottom - top, right - left
        shape = (rows, SAMPLES, columns, SAMPLES)
        share = here.reshape(shape).mean((1, 3))[..., None]
        value = np.where(here, np.where(dark, BLACK, WHITE), 0.0).reshape(shape).mean((1, 3))[..., None]
        part = image[top:bottom, left:right]
        part[:] = part * (1 - share) + value
        return bool(share.any())


def place_on_surface(
    depth: NDArray[np.float32], world_from_camera: Array, camera: Intrinsics, size: float, pattern: Pattern
) -> PaintedTag:
    """A tag where a view's picture shows a flat surface, as near to its middle as there is one. depth: (H, W) z.

    Raises GeometryError where there is none that is large enough.
    """
    height, width = depth.shape
    v, u = np.mgrid[_STEP // 2 : height : _STEP, _STEP // 2 : width : _STEP]
    order = np.argsort(np.hypot(u - width / 2, v - height / 2).ravel(), kind="stable")
    up = np.array([0.0, -1.0, 0.0])  # y points down in these worlds
    for row, column in zip(v.ravel()[order].tolist(), u.ravel()[order].tolist(), strict=True):
        z = float(depth[row, column])
        reach = int(np.ceil(size * camera.fx / z)) if np.isfinite(z) else 0
        rows, columns = row + reach * np.array([-1, 0, 1]), column + reach * np.array([-1, 0, 1])
        if reach < 4 or rows[0] < 0 or columns[0] < 0 or rows[2] >= height or columns[2] >= width:
            continue
        r, c = (one.ravel() for one in np.meshgrid(rows, columns, indexing="ij"))
        points = camera.rays(np.stack([c + 0.5, r + 0.5], -1)) * depth[r, c][:, None].astype(np.float64)
        if not np.isfinite(points).all():
            continue
        middle = points.mean(0)
        normal = np.linalg.svd(points - middle)[2][2]
        normal = -normal * np.sign(normal @ middle)
        off = np.abs((points - middle) @ normal).max()
        if off > _FLAT * z or -normal @ middle < _FACING * np.linalg.norm(middle):
            continue
        out = world_from_camera[:3, :3] @ normal
        right = np.cross(up, out)
        if np.linalg.norm(right) < 0.1:
            right = world_from_camera[:3, 0] - out * (out @ world_from_camera[:3, 0])
        right = right / np.linalg.norm(right)
        pose = np.eye(4)
        pose[:3, :3] = np.column_stack([right, np.cross(out, right), out])
        pose[:3, 3] = se3.transform_points(world_from_camera, points[4] + normal * 1e-3)
        return PaintedTag(pose, size, pattern)
    raise GeometryError(f"no surface in this view is flat and large enough for a tag of {size:g}")
