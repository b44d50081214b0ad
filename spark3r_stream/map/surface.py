"""One surface of all keyframes: their depths fused into a truncated signed distance field, and its mesh.

Curless and Levoy 1996, by Open3D (extra `mesh`). The field is made anew from the keyframes each time, so that what a
correction of the map moved is fused where it lies now. Of equal input comes an equal mesh.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spark3r_core.errors import GeometryError
from spark3r_core.geometry.pointmap import depth_edges, points_from_depth, valid_depth
from spark3r_core.geometry.sim3 import Sim3

BLOCK = 16  # voxels along each side of what Open3D allocates at once
BYTES_PER_VOXEL = 20  # distance, weight, three colours in float32
TRUNCATION = 5.0  # voxels
PIXELS_PER_VOXEL = 1.5  # of the median depth: finer voxels would hold one pixel's noise each
EDGE_STEP = 0.06  # relative depth step that no surface bridges
MAX_DEPTH_RATIO = 6.0  # of a keyframe's median depth: beyond, depth is a guess
LEAST_CONFIDENCE = 0.5  # a probability: depth from several views has it
SAMPLED = 3  # pixels, of which one tells which blocks are needed
LEAST_WEIGHT = 0.5  # a voxel that one keyframe saw counts
LEAST_CLUSTER = 100  # triangles: smaller pieces float in the air


@dataclass(frozen=True)
class PosedDepth:
    """A keyframe to be fused.

    depth: (h, w) float32, 0 where it is not to be fused, see `usable_depth`; image: (h, w, 3) uint8 RGB; intrinsics:
    (3, 3) of them. map_from_keyframe: takes its camera and unit to the map.
    """

    depth: NDArray[np.float32]
    image: NDArray[np.uint8]
    intrinsics: NDArray[np.float64]
    map_from_keyframe: Sim3


class Mesh(NamedTuple):
    """vertices: (N, 3) float32 in the map; triangles: (M, 3) int32, counter-clockwise seen from outside; colours:
    (N, 3) uint8 RGB. voxel: edge that it was fused at."""

    vertices: NDArray[np.float32]
    triangles: NDArray[np.int32]
    colours: NDArray[np.uint8]
    voxel: float


def fused(keyframes: Sequence[PosedDepth], max_bytes: int) -> Mesh:
    """The mesh of all keyframes.

    Args:
        max_bytes: of the field while it is made; voxels grow until it fits.

    Raises GeometryError where no pixel is to be fused or the budget holds no field, ModuleNotFoundError without Open3D.
    """
    keyframes = [keyframe for keyframe in keyframes if (keyframe.depth > 0).any()]
    points = [
        one.map_from_keyframe.apply_to_points(points_from_depth(one.depth, one.intrinsics)[one.depth > 0][::SAMPLED])
        for one in keyframes
    ]
    if not points:
        raise GeometryError("no keyframe has a pixel that is sure enough to be fused")
    voxel = _voxel(keyframes, np.concatenate(points), max_bytes)
    import open3d  # heavy, and an extra

    o3d: Any = open3d
    core = o3d.core
    field = o3d.t.geometry.VoxelBlockGrid(
        ("tsdf", "weight", "color"), (core.float32,) * 3, ((1,), (1,), (3,)), voxel, BLOCK,
        max(8, max_bytes // (BLOCK**3 * BYTES_PER_VOXEL)), core.Device("CPU:0"),
    )  # fmt: skip
    for keyframe in keyframes:
        _integrate(o3d, field, keyframe)
    mesh = field.extract_triangle_mesh(LEAST_WEIGHT)
    if "indices" not in mesh.triangle or not len(mesh.triangle.indices):
        raise GeometryError(f"{len(keyframes)} keyframes make no surface: too few of their pixels lie side by side")
    colours = np.rint(np.clip(mesh.vertex.colors.numpy() * 255, 0, 255)).astype(np.uint8)
    vertices, triangles = mesh.vertex.positions.numpy(), mesh.triangle.indices.numpy()
    return _without_crumbs(*_in_order(vertices, triangles, colours), voxel)


def _in_order(
    vertices: NDArray[np.float32], triangles: NDArray[np.int64], colours: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.uint8]]:
    """The same mesh by position: Open3D's threads give vertices and triangles in any order."""
    order = np.lexsort(vertices.T)
    place = np.empty(len(order), np.int32)
    place[order] = np.arange(len(order), dtype=np.int32)
    renamed = place[triangles]
    first = renamed.argmin(1)
    renamed = np.take_along_axis(renamed, (first[:, None] + np.arange(3)) % 3, 1)  # turned, not flipped
    return vertices[order], renamed[np.lexsort(renamed.T[::-1])], colours[order]


def _without_crumbs(
    vertices: NDArray[np.float32], triangles: NDArray[np.int32], colours: NDArray[np.uint8], voxel: float
) -> Mesh:
    """The mesh without small pieces, which float in the air; the largest one always stays."""
    label = np.arange(len(vertices), dtype=np.int32)
    while True:  # every vertex takes the least label around it, then that one's, until nothing changes
        least = label[triangles].min(1)
        lower = label.copy()
        for corner in range(3):
            np.minimum.at(lower, triangles[:, corner], least)
        lower = lower[lower]
        if (lower == label).all():
            break
        label = lower
    sizes = np.bincount(label[triangles[:, 0]], minlength=len(vertices))
    keep = sizes[label[triangles[:, 0]]] >= min(LEAST_CLUSTER, int(sizes.max()))
    used = np.unique(triangles[keep])
    place = np.full(len(vertices), -1, np.int32)
    place[used] = np.arange(len(used), dtype=np.int32)
    return Mesh(vertices[used], place[triangles[keep]], colours[used], voxel)


def usable_depth(depth: NDArray[np.float32], confidence: NDArray[np.float32]) -> NDArray[np.float32]:
    """(h, w) depth, 0 where it is unsure, far or at an edge."""
    keep = valid_depth(depth)
    if keep.any():
        keep &= depth <= MAX_DEPTH_RATIO * float(np.median(depth[keep]))
    keep &= (confidence >= LEAST_CONFIDENCE) & ~depth_edges(depth, EDGE_STEP)
    return np.where(keep, depth, 0).astype(np.float32)


def _voxel(keyframes: Sequence[PosedDepth], points: NDArray[np.float64], max_bytes: int) -> float:
    """Edge of a voxel in the map's unit: some pixels of a usual keyframe, or what the budget allows."""
    footprints = [
        one.map_from_keyframe.scale * float(np.median(one.depth[one.depth > 0])) / one.intrinsics[0, 0]
        for one in keyframes
    ]
    voxel = PIXELS_PER_VOXEL * float(np.median(footprints))
    bytes_per_block = BLOCK**3 * BYTES_PER_VOXEL
    if max_bytes < 8 * bytes_per_block:
        raise GeometryError(f"{max_bytes} bytes hold no field; expected at least {8 * bytes_per_block}")
    for _ in range(40):
        if _blocks(points, voxel) * bytes_per_block <= max_bytes:
            return voxel
        voxel *= 1.25
    raise GeometryError("points lie too far apart for any field in this budget")


def _blocks(points: NDArray[np.float64], voxel: float) -> int:
    """Blocks that come within the truncation of a point."""
    reach = TRUNCATION * voxel
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float64) * reach
    cells = np.floor(points / (reach)).astype(np.int64)  # first thinned to one point per cell, which changes little
    one_each = points[np.unique(cells, axis=0, return_index=True)[1]]
    touched = np.floor((one_each[:, None] + corners).reshape(-1, 3) / (BLOCK * voxel)).astype(np.int64)
    return len(np.unique(touched, axis=0))


def _integrate(o3d: Any, field: Any, keyframe: PosedDepth) -> None:
    k = keyframe.intrinsics
    place = keyframe.map_from_keyframe
    camera_from_map = np.eye(4)
    camera_from_map[:3, :3] = place.rotation.T
    camera_from_map[:3, 3] = -place.rotation.T @ place.translation
    scaled = np.ascontiguousarray(keyframe.depth * np.float32(place.scale))
    image = np.ascontiguousarray(keyframe.image.astype(np.float32) / 255)
    camera = np.array(
        [[k[0, 0], 0, k[0, 2] - 0.5], [0, k[1, 1], k[1, 2] - 0.5], [0, 0, 1]]
    )  # Open3D's pixel centres are integers
    depth_image, colour_image = o3d.t.geometry.Image(scaled), o3d.t.geometry.Image(image)
    intrinsic, extrinsic = o3d.core.Tensor(camera), o3d.core.Tensor(camera_from_map)
    far = float(scaled.max()) * 1.01
    blocks = field.compute_unique_block_coordinates(depth_image, intrinsic, extrinsic, 1.0, far, TRUNCATION)
    field.integrate(blocks, depth_image, colour_image, intrinsic, extrinsic, 1.0, far, TRUNCATION)
