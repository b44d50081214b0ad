"""Points from sightings: the place nearest to all their rays, held by the dense depth where the rays run alike."""

from __future__ import annotations

import numpy as np

from spark3r_core.bundle.problem import Array, Cameras, Mask, Observations

DEPTH_HOLD = 1e-5  # weight of a point on the dense depth, against one ray


def triangulate(cameras: Cameras, seen: Observations) -> tuple[Array, Mask]:
    """(P, 3) points in the world, and which of them lie before every camera that sees them.

    Minimises the squared distances to the rays, each divided by the point's distance along it as the dense depth has
    it, so that a near view does not outweigh the far ones; a weak pull towards the dense depth decides along the rays
    when parallax cannot.
    """
    rays = cameras.rays(seen.slot, seen.places)
    length = np.linalg.norm(rays, axis=1, keepdims=True)
    poses = cameras.camera_from_world[seen.slot]
    world_from_camera = poses[:, :3, :3].transpose(0, 2, 1)
    direction = np.einsum("mij,mj->mi", world_from_camera, rays / length)
    centre = -np.einsum("mij,mj->mi", world_from_camera, poses[:, :3, 3])
    depth = seen.depth * np.exp(cameras.log_scale[seen.slot])
    usual = float(np.nanmedian(depth)) if np.isfinite(depth).any() else 1.0
    known = np.isfinite(depth) & (depth > 0)
    distance = np.where(known, depth, usual)[:, None] * length
    weight = 1 / np.square(distance[:, 0])
    across = np.eye(3) - direction[:, :, None] * direction[:, None]
    hold = (DEPTH_HOLD * known)[:, None, None] * np.eye(3)
    order = np.argsort(seen.point, kind="stable")
    starts = np.searchsorted(seen.point[order], np.arange(seen.count))
    matrix = np.add.reduceat((weight[:, None, None] * (across + hold))[order], starts, axis=0)
    towards = np.einsum("mij,mj->mi", across, centre) + (DEPTH_HOLD * known)[:, None] * (centre + distance * direction)
    vector = np.add.reduceat((weight[:, None] * towards)[order], starts, axis=0)
    matrix += 1e-12 * np.trace(matrix, axis1=1, axis2=2)[:, None, None] * np.eye(3)
    points = np.asarray(np.linalg.solve(matrix, vector[..., None])[..., 0], np.float64)
    z = in_camera(cameras, seen, points)[:, 2]
    ahead = np.logical_and.reduceat((z > 1e-6 * usual)[order], starts)
    return points, np.asarray(ahead & np.isfinite(points).all(1), np.bool_)


def in_camera(cameras: Cameras, seen: Observations, points: Array) -> Array:
    """(M, 3) each sighting's point in its camera."""
    poses = cameras.camera_from_world[seen.slot]
    return np.asarray(np.einsum("mij,mj->mi", poses[:, :3, :3], points[seen.point]) + poses[:, :3, 3])


def reprojection(cameras: Cameras, seen: Observations, points: Array) -> Array:
    """(M,) distance in pixels from where each point should be seen; infinite behind the camera."""
    x, y, z = in_camera(cameras, seen, points).T
    ahead = z > 1e-9
    per_z = cameras.focal / np.where(ahead, z, 1.0)
    off = np.stack([x * per_z, y * per_z], 1) + cameras.centre_xy - seen.places
    return np.where(ahead, np.linalg.norm(off, axis=1), np.inf)
