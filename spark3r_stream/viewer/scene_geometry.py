"""Path, frustum and viewpoint of a scene as numpy: what a viewer draws besides the points."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry import se3
from spark3r_stream.map.trajectory import Trajectory
from spark3r_stream.wire.messages import CameraView

PATH_COLOUR = (1.0, 0.69, 0.18)
FRUSTUM_COLOUR = (0.33, 0.84, 0.47)
_FRUSTUM_EDGES = np.array([[0, 1], [0, 2], [0, 3], [0, 4], [1, 2], [2, 3], [3, 4], [4, 1], [1, 5], [5, 2]])
_SOME_CAMERA = CameraView(np.array([[1.0, 0, 0.5], [0, 1.0, 0.375], [0, 0, 1]]), 1, 1)


class Lines(NamedTuple):
    """points: (n, 3) float64; segments: (m, 2) indices into them; colours: (m, 3) in [0, 1]."""

    points: NDArray[np.float64]
    segments: NDArray[np.int64]
    colours: NDArray[np.float64]


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


def scene_lines(trajectory: Trajectory, camera: CameraView | None, scene_size: float) -> Lines:
    """The camera path as one polyline and the frustum of the newest pose, a twelfth of the scene deep."""
    count = len(trajectory)
    if not count:
        return Lines(np.zeros((0, 3)), np.zeros((0, 2), np.int64), np.zeros((0, 3)))
    frustum = frustum_points(trajectory.world_from_camera[-1], camera, scene_size / 12)
    path = np.stack([np.arange(count - 1), np.arange(1, count)], -1)
    colours = [np.tile(PATH_COLOUR, (len(path), 1)), np.tile(FRUSTUM_COLOUR, (len(_FRUSTUM_EDGES), 1))]
    return Lines(
        np.concatenate([trajectory.centres, frustum]),
        np.concatenate([path, _FRUSTUM_EDGES + count]),
        np.concatenate(colours),
    )


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
