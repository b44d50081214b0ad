"""A picture of a scene without a browser, a display or a graphics driver: numpy and Pillow."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spark3r_stream.errors import OutputError
from spark3r_stream.files import write_whole
from spark3r_stream.map.scene_map import SceneMap
from spark3r_stream.outputs.splat import splat
from spark3r_stream.viewer.scene_geometry import (
    Viewpoint,
    frustum_segments,
    overview,
    path_segments,
    scene_bounds,
)

_BACKGROUND, _PATH, _CAMERA = (17, 19, 24), (255, 176, 46), (84, 214, 120)
_FIELD_OF_VIEW = np.radians(55.0)  # vertical
_NEAR = 1e-3  # of the scene's size


def render_scene(scene: SceneMap, size: tuple[int, int] = (1280, 720)) -> NDArray[np.uint8]:
    """Points, path and newest frustum of `scene` from behind and above. size: width, height of (height, width, 3)."""
    from PIL import Image, ImageDraw

    width, height = size
    cloud, trajectory, newest = scene.cloud(), scene.trajectory(), scene.newest_pose()
    view, length = overview(cloud.points, trajectory), scene_bounds(cloud.points, trajectory)[1]
    image = np.full((height, width, 3), _BACKGROUND, np.uint8)
    pixels, depth = _project(cloud.points, view, size)
    ahead = depth > _NEAR * length
    if ahead.any():
        square = 2 if len(depth) > 100_000 else 3
        image = splat(pixels[ahead], depth[ahead] / length, cloud.colours[ahead], size, image, square)
    picture = Image.fromarray(image)
    pen = ImageDraw.Draw(picture)
    parts = [(path_segments(one), _PATH) for one in scene.trajectories()]
    if newest is not None:
        parts.append((frustum_segments([newest], scene.camera, length / 12), _CAMERA))
    for segments, colour in parts:
        pixels, depth = _project(segments.reshape(-1, 3), view, size)
        visible = (depth > _NEAR * length).reshape(-1, 2).all(1)
        for line in pixels.reshape(-1, 4)[visible].tolist():
            pen.line(line, colour, 3)
    return np.asarray(picture)


def render_png(scene: SceneMap, path: str | Path, size: tuple[int, int] = (1280, 720)) -> None:
    """Write `render_scene` as a PNG. Raises OutputError if the file cannot be written."""
    path = Path(path)
    if not path.parent.is_dir():
        raise OutputError(f"cannot write {path}: there is no folder {path.parent}")
    from PIL import Image

    png = BytesIO()
    Image.fromarray(render_scene(scene, size)).save(png, format="PNG")
    try:
        write_whole(path, png.getvalue())
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error


def _project(
    points: NDArray, view: Viewpoint, size: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pixels (n, 2) and depth (n,) of points (n, 3) in the map; pixels of points behind the eye mean nothing."""
    forward = (view.target - view.eye) / np.linalg.norm(view.target - view.eye)
    right = np.cross(forward, view.up)
    right /= np.linalg.norm(right)
    local = (np.asarray(points, np.float64) - view.eye) @ np.stack([right, np.cross(forward, right), forward]).T
    focal = size[1] / 2 / np.tan(_FIELD_OF_VIEW / 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        pixels = focal * local[:, :2] / local[:, 2:] + np.array(size) / 2
    return np.nan_to_num(pixels), local[:, 2]
