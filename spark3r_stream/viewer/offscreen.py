"""A picture of a scene without a display, drawn by Open3D's OffscreenRenderer in a process of its own.

The process is not for speed: where a driver is missing, Open3D's renderer aborts instead of raising; a process takes
one renderer only; and EGL_PLATFORM must be set before the import. A child with a clean environment has none of that
reach its parent, and a viewer that already opened a window can still make a picture.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from spark3r_stream.errors import OutputError, ViewerUnavailable
from spark3r_stream.files import write_whole
from spark3r_stream.map.scene_map import SceneMap
from spark3r_stream.viewer.availability import import_open3d, rendering_failed, require_installed
from spark3r_stream.viewer.scene_geometry import overview, scene_bounds, scene_lines

_TIMEOUT_S = 120.0
_BACKGROUND = (0.067, 0.075, 0.094, 1.0)


def render_png(scene: SceneMap, path: str | Path, size: tuple[int, int] = (1280, 720)) -> None:
    """Draw points, path and frustum of `scene` into a PNG of `size` (width, height).

    Raises ViewerUnavailable if Open3D or a graphics driver is missing, OutputError if the file cannot be written.
    """
    require_installed()
    path = Path(path)
    if not path.parent.is_dir():
        raise OutputError(f"cannot write {path}: there is no folder {path.parent}")
    cloud, trajectory = scene.cloud(), scene.trajectory()
    lines = scene_lines(trajectory, scene.camera, scene_bounds(cloud.points, trajectory)[1])
    with tempfile.TemporaryDirectory(prefix="spark3r-view-") as folder:
        scene_file, picture = Path(folder, "scene.npz"), Path(folder, "picture.png")
        np.savez(
            scene_file,
            points=cloud.points,
            colours=cloud.colours,
            line_points=lines.points,
            line_segments=lines.segments,
            line_colours=lines.colours,
            viewpoint=np.stack(overview(cloud.points, trajectory)),
            size=np.array(size),
        )
        _run_renderer(scene_file, picture)
        try:
            write_whole(path, picture.read_bytes())
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror}") from error


def try_rendering() -> None:
    """Draw a small empty picture and throw it away: only drawing shows whether a driver works.

    Raises ViewerUnavailable as `render_png` does.
    """
    with tempfile.TemporaryDirectory(prefix="spark3r-view-") as folder:
        render_png(SceneMap(1), Path(folder, "picture.png"), size=(32, 24))


def _run_renderer(scene_file: Path, picture: Path) -> None:
    environment = {**os.environ, "EGL_PLATFORM": "surfaceless"}
    for variable in ("DISPLAY", "WAYLAND_DISPLAY"):  # else a display that is there but unusable is tried first
        environment.pop(variable, None)
    environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[2]), environment.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "spark3r_stream.viewer.offscreen", str(scene_file), str(picture)]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        raise rendering_failed(f"no picture after {_TIMEOUT_S:.0f} s") from None
    if done.returncode != 0 or not picture.exists():
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        if lines and lines[-1].startswith(ViewerUnavailable.__name__):
            raise ViewerUnavailable(lines[-1].partition(": ")[2])
        raise rendering_failed(lines[-1] if lines else f"exit code {done.returncode}")


def _render(scene_file: Path, picture: Path) -> None:
    """The child's work."""
    o3d = import_open3d()
    rendering = o3d.visualization.rendering
    with np.load(scene_file) as data:
        width, height = (int(side) for side in data["size"])
        eye, target, up = data["viewpoint"]
        renderer = rendering.OffscreenRenderer(width, height)
        renderer.scene.set_background(_BACKGROUND)
        renderer.scene.view.set_post_processing(False)  # the tone mapping is for lit scenes, and washes colours out
        if len(data["points"]):
            cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(data["points"].astype(np.float64)))
            cloud.colors = o3d.utility.Vector3dVector(data["colours"] / 255.0)
            renderer.scene.add_geometry("cloud", cloud, _material(rendering, "defaultUnlit", point_size=2.5))
        if len(data["line_segments"]):
            lines = o3d.geometry.LineSet(
                o3d.utility.Vector3dVector(data["line_points"]), o3d.utility.Vector2iVector(data["line_segments"])
            )
            lines.colors = o3d.utility.Vector3dVector(data["line_colours"])
            renderer.scene.add_geometry("lines", lines, _material(rendering, "unlitLine", line_width=3.0))
    renderer.setup_camera(55.0, target, eye, up)
    if not o3d.io.write_image(str(picture), renderer.render_to_image()):
        raise ViewerUnavailable("Open3D made no picture")


def _material(rendering: object, shader: str, **values: float) -> object:
    material = rendering.MaterialRecord()  # type: ignore[attr-defined]
    material.shader = shader
    for name, value in values.items():
        setattr(material, name, value)
    return material


if __name__ == "__main__":
    try:
        _render(Path(sys.argv[1]), Path(sys.argv[2]))
    except ViewerUnavailable as error:
        sys.exit(f"{ViewerUnavailable.__name__}: {error}")
    sys.stdout.flush()
    os._exit(0)  # the picture is on disk; Filament's teardown order at interpreter exit is not to be relied on
