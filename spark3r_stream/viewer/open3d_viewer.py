"""The window: cloud, camera path and frustum of a running stream or a recording. Run it on the main thread."""

from __future__ import annotations

import time
from types import ModuleType
from typing import Any

import numpy as np

from spark3r_stream.errors import ViewerUnavailable
from spark3r_stream.map.scene_map import SceneMap
from spark3r_stream.viewer.availability import import_open3d, rendering_failed, require_display, require_installed
from spark3r_stream.viewer.feed import MessageSource, SceneFeed
from spark3r_stream.viewer.scene_geometry import Viewpoint, overview, scene_bounds, scene_lines

_MAX_POINTS = 1_000_000  # more than a screen has pixels to tell apart
_FRAME_S = 1 / 30  # of the window; messages are taken in the time between
_REFRESH_S = 0.25  # copying the cloud is the dear part, so that is done less often
_GROWTH = 1.3  # the view steps back when the scene has outgrown it by so much
_BACKGROUND = (0.067, 0.075, 0.094)


def run_window(source: MessageSource, title: str = "Spark3R-Stream", max_points: int = _MAX_POINTS) -> None:
    """Show what `source` sends until the window is closed; a stream that ended stays on the screen.

    Raises ViewerUnavailable without Open3D, its libraries or a display.
    """
    require_installed()
    require_display()
    o3d = import_open3d()
    window = o3d.visualization.Visualizer()
    if not window.create_window(title, 1280, 720):
        raise rendering_failed("no window could be opened")
    try:
        scene = SceneMap(max_points)
        feed = SceneFeed(source, scene)
        picture = _Picture(o3d, window)
        while window.poll_events():
            started_s = time.monotonic()
            if feed.take(_FRAME_S, wait_s=_FRAME_S) == 0:  # a recording at its end does not wait
                time.sleep(max(0.0, _FRAME_S - (time.monotonic() - started_s)))
            picture.refresh(scene)
            window.update_renderer()
    finally:
        window.destroy_window()


class _Picture:
    """The scene's geometries in the window, brought up to date when the scene changed."""

    def __init__(self, o3d: ModuleType, window: Any) -> None:
        self._o3d, self._window = o3d, window
        self._cloud, self._lines = o3d.geometry.PointCloud(), o3d.geometry.LineSet()
        self._drawn_version = -1
        self._next_s = 0.0
        self._placed_size = 0.0  # of the scene when the view was last set
        self._placed_view: np.ndarray | None = None
        options = window.get_render_option()
        if options is None:
            raise ViewerUnavailable("the window has no OpenGL context; use --offscreen FILE.png")
        options.background_color = np.array(_BACKGROUND)
        options.point_size = 2.0

    def refresh(self, scene: SceneMap) -> None:
        """Copy the scene to the window, at most every quarter of a second."""
        now_s = time.monotonic()
        if scene.version == self._drawn_version or now_s < self._next_s:
            return
        self._drawn_version, self._next_s = scene.version, now_s + _REFRESH_S
        vectors, pairs = self._o3d.utility.Vector3dVector, self._o3d.utility.Vector2iVector
        cloud, trajectory = scene.cloud(), scene.trajectory()
        lines = scene_lines(trajectory, scene.camera, scene_bounds(cloud.points, trajectory)[1])
        self._cloud.points, self._cloud.colors = vectors(cloud.points.astype(float)), vectors(cloud.colours / 255.0)
        self._lines.points, self._lines.lines = vectors(lines.points), pairs(lines.segments.astype(np.int32))
        self._lines.colors = vectors(lines.colours)
        if self._placed_size > 0:
            self._window.update_geometry(self._cloud)
            self._window.update_geometry(self._lines)
        elif len(cloud.points):
            self._window.add_geometry(self._cloud)
            self._window.add_geometry(self._lines)
        size = scene_bounds(cloud.points, trajectory)[1]
        if len(cloud.points) and size > _GROWTH * self._placed_size and self._view_untouched():
            self._place(overview(cloud.points, trajectory))
            self._placed_size = size

    def _place(self, view: Viewpoint) -> None:
        """Look at the whole scene."""
        self._window.reset_view_point(True)
        control = self._window.get_view_control()
        away = view.eye - view.target
        control.set_lookat(view.target)
        control.set_front(away / np.linalg.norm(away))
        control.set_up(view.up)
        control.set_zoom(0.55)
        self._placed_view = self._current_view()

    def _view_untouched(self) -> bool:
        """Whether the view is the one set last: once the mouse has moved it, it belongs to the user."""
        return self._placed_view is None or np.allclose(self._placed_view, self._current_view(), atol=1e-6)

    def _current_view(self) -> np.ndarray:
        return np.array(self._window.get_view_control().convert_to_pinhole_camera_parameters().extrinsic)
