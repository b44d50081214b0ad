"""Path, frusta and viewpoints of a scene as numpy: what a viewer draws besides the points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry import se3
from spark3r_stream.map.trajectory import Trajectory
from spark3r_stream.wire.messages import CameraView

_FRUSTUM_EDGES = np.array([[0, 1], [0, 2], [0, 3], [0, 4], [1, 2], [2, 3], [3, 4], [4, 1], [1, 5], [5, 2]])
_SOME_CAMERA = CameraView(np.array([[1.0, 0, 0.5], [0, 1.0, 0.375], [0, 0, 1]]), 1, 1)


class Viewpoint(NamedTuple):
    """Where to look from: eye, target and up, each (3,), in the map."""

    eye: NDArray[np.float64]
    target: NDArray[np.float64]
    up: NDArray[np.float64]


def frustum_points(world_from_camera: NDArray[np.float64], camera: CameraView | None, depth: float) -> NDArray:
    """Centre, the image's corners at `depth` (clockwise from top left), and a tip over its upper edge: (6, 3)."""
    view = camera or _SOME_CAMERA
    w, h = float(view.width), float(view.height)
    pixels = np.array([[0, 0], [w, 0], [w, h], [0, h], [w / 2, -0.15 * h]])
    rays = np.concatenate([pixels, np.ones((5, 1))], 1) @ np.linalg.inv(view.matrix).T
    return se3.transform_points(world_from_camera, np.concatenate([np.zeros((1, 3)), depth * rays]))


def path_segments(trajectory: Trajectory) -> NDArray[np.float32]:
    """The way from each pose to the next: (n - 1, 2, 3)."""
    centres = trajectory.centres.astype(np.float32)
    return np.stack([centres[:-1], centres[1:]], 1) if len(centres) > 1 else np.zeros((0, 2, 3), np.float32)


def frustum_segments(
    world_from_camera: Sequence[NDArray[np.float64]], camera: CameraView | None, depth: float
) -> NDArray[np.float32]:
    """The edges of a frustum of that `depth` at each pose (4, 4): (10 n, 2, 3)."""
    if not len(world_from_camera):
        return np.zeros((0, 2, 3), np.float32)
    poses = np.stack(list(world_from_camera))
    points = frustum_points(np.eye(4), camera, depth) @ poses[:, :3, :3].transpose(0, 2, 1) + poses[:, None, :3, 3]
    return points[:, _FRUSTUM_EDGES].reshape(-1, 2, 3).astype(np.float32)


def scene_bounds(points: NDArray, trajectory: Trajectory) -> tuple[NDArray[np.float64], float]:
    """Centre (3,) and size (a diagonal) of the cameras and all but the outermost 2 % of the points."""
    parts = [trajectory.centres] if len(trajectory) else []
    if len(points):
        step = max(1, len(points) // 50_000)
        parts.append(np.quantile(np.asarray(points[::step], np.float64), [0.02, 0.98], axis=0))
    if not parts:
        return np.zeros(3), 1.0
    both = np.concatenate(parts)
    low, high = both.min(0), both.max(0)
    return (low + high) / 2, float(np.linalg.norm(high - low)) or 1.0


def overview(points: NDArray, trajectory: Trajectory) -> Viewpoint:
    """A view of the whole scene from behind and above the cameras, as they look on average."""
    centre, size = scene_bounds(points, trajectory)
    up, gaze = np.array([0.0, -1.0, 0.0]), np.array([0.0, 0.0, 1.0])
    if len(trajectory):
        mean_down = trajectory.world_from_camera[:, :3, 1].mean(0)
        mean_gaze = trajectory.world_from_camera[:, :3, 2].mean(0)
        if np.linalg.norm(mean_down) > 0.2:
            up = -mean_down / np.linalg.norm(mean_down)
        flat = mean_gaze - up * (mean_gaze @ up)
        if np.linalg.norm(flat) > 0.2:
            gaze = flat / np.linalg.norm(flat)
    gaze = gaze - up * (gaze @ up)
    if np.linalg.norm(gaze) < 1e-3:
        gaze = np.cross(up, [1.0, 0.0, 0.0])
    gaze = gaze / np.linalg.norm(gaze)
    return Viewpoint(centre - size * (0.6 * gaze - 0.4 * up), centre, up)


def behind(world_from_camera: NDArray[np.float64], scene_size: float, up: NDArray[np.float64]) -> Viewpoint:
    """A view over the shoulder of a camera (4, 4): from a fifth of the scene's size behind it and a little above."""
    centre, gaze = world_from_camera[:3, 3], world_from_camera[:3, 2]
    return Viewpoint(centre + scene_size * (0.08 * up - 0.2 * gaze), centre + 0.1 * scene_size * gaze, up)


def eased(now: Viewpoint, then: Viewpoint, share: float) -> Viewpoint:
    """`share` of the way from one view to another: a camera that shakes must not shake the whole picture."""
    eye, target, up = (a + share * (b - a) for a, b in zip(now, then, strict=True))
    length = float(np.linalg.norm(up))
    return Viewpoint(eye, target, up / length if length > 1e-6 else then.up)


def vertical_view(camera: CameraView | None) -> tuple[float, float]:
    """Vertical field of view in radians and width over height, as graphics libraries want a camera."""
    view = camera or _SOME_CAMERA
    fx, fy = float(view.matrix[0, 0]), float(view.matrix[1, 1])
    return 2 * float(np.arctan2(view.height / 2, fy)), (view.width / fx) / (view.height / fy)
