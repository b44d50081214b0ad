"""preview.png: what a run saw and built, on one page. Pillow and numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spark3r_core.errors import GeometryError
from spark3r_core.geometry import align_points
from spark3r_core.geometry.sim3 import Sim3
from spark3r_stream.errors import OutputError
from spark3r_stream.files import write_whole
from spark3r_stream.map.cloud import PointCloud
from spark3r_stream.map.trajectory import Trajectory, match_times
from spark3r_stream.outputs.splat import Image, colour_depth, splat

if TYPE_CHECKING:  # Pillow is not part of a subscriber's installation
    from PIL.ImageDraw import ImageDraw

_WIDTH, _MARGIN, _VIEW, _STRIP = 1600, 32, (752, 560), 6
_INK, _DIM, _PAPER, _PANEL = (236, 238, 242), (150, 156, 168), (17, 19, 24), (26, 29, 36)
_PATH, _TRUTH, _START, _END = (255, 176, 46), (120, 200, 255), (84, 214, 120), (240, 80, 80)
_MAX_DRAWN = 500_000


class Snapshot(NamedTuple):
    """A small picture of a frame for the strip. image: (h, w, 3) uint8; depth: (h, w), of any size of its own."""

    frame_id: int
    image: Image
    depth: NDArray[np.float32]


@dataclass(frozen=True)
class _View:
    """An orthographic view. axes: rows are right, down and forward in the world; centre: world point in the middle."""

    axes: NDArray[np.float64]
    centre: NDArray[np.float64]
    pixels_per_unit: float
    depth_range: float

    def project(self, points: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        local = (points - self.centre) @ self.axes.T
        middle = np.array(_VIEW) / 2
        return local[:, :2] * self.pixels_per_unit + middle, local[:, 2] / self.depth_range


def render_preview(
    cloud: PointCloud,
    trajectory: Trajectory,
    snapshots: Sequence[Snapshot],
    title: str,
    facts: str,
    ground_truth: Trajectory | None = None,
    unit: str = "model units",
) -> Image:
    """The page as (height, 1600, 3) uint8. Works with an empty cloud, trajectory or strip.

    unit: plural, of lengths.
    ground_truth is matched by time, aligned by Sim(3) and drawn when at least three poses match and are not on a line.
    """
    try:
        from PIL import Image as PilImage
        from PIL import ImageDraw
    except ImportError as error:
        raise OutputError("preview.png needs Pillow: pip install 'spark3r-stream[engine]'") from error

    strip_h = _strip_height(snapshots)
    page = PilImage.new("RGB", (_WIDTH, 96 + _VIEW[1] + 24 + strip_h + _MARGIN), _PAPER)
    draw = ImageDraw.Draw(page)
    draw.text((_MARGIN, 18), title, _INK, _font(30))
    draw.text((_MARGIN, 58), facts, _DIM, _font(18))
    truth = None if ground_truth is None else _aligned_truth(trajectory, ground_truth)
    up = _up_direction(trajectory)
    cloud = _thin(cloud)
    for index, (name, view, shown) in enumerate(_views(cloud, trajectory, up)):
        panel = PilImage.fromarray(_draw_cloud(view, shown))
        pen = ImageDraw.Draw(panel)
        _draw_path(pen, view, trajectory.centres, _PATH, 3, dots=True)
        if truth is not None:
            _draw_path(pen, view, truth, _TRUTH, 1, dots=False)
        _draw_scale(pen, view, unit)
        pen.text((16, 12), name, _INK, _font(18))
        page.paste(panel, (_MARGIN + index * (_VIEW[0] + 32), 96))
    _draw_legend(draw, truth is not None)
    _draw_strip(page, snapshots, 96 + _VIEW[1] + 24)
    return np.asarray(page)


def write_preview(path: str | Path, image: Image) -> None:
    from PIL import Image as PilImage

    png = BytesIO()
    PilImage.fromarray(image).save(png, format="PNG")
    try:
        write_whole(Path(path), png.getvalue())
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


def _up_direction(trajectory: Trajectory) -> NDArray[np.float64]:
    """People hold cameras upright on average: up is against the mean of the image's down axes."""
    if not len(trajectory):
        return np.array([0.0, -1.0, 0.0])
    down = trajectory.world_from_camera[:, :3, 1].mean(0)
    if np.linalg.norm(down) < 0.2:  # a camera that rolled all around
        down = trajectory.world_from_camera[0, :3, 1]
    return -down / np.linalg.norm(down)


def _views(cloud: PointCloud, trajectory: Trajectory, up: NDArray[np.float64]) -> list[tuple[str, _View, PointCloud]]:
    """The two views and the points each shows. The one from above leaves out what hangs over the cameras."""
    points = np.asarray(cloud.points, np.float64)
    centres = trajectory.centres
    heights = points @ up
    shown = cloud
    if len(points) and len(centres):
        low, high = np.quantile(heights, [0.02, 0.98])
        ceiling = np.quantile(centres @ up, 0.9) + 0.15 * (high - low)
        below = heights <= ceiling
        if below.mean() > 0.3:  # else the cameras look up and there is nothing but ceiling
            shown = cloud.take(below)
    flat = points - np.outer(heights, up)
    right = _long_axis(flat if len(flat) else centres - np.outer(centres @ up, up), up)
    above = np.stack([right, np.cross(-up, right), -up])
    ahead = _horizontal_gaze(trajectory, up, above[1])
    forward = np.cos(0.62) * ahead - np.sin(0.62) * up
    side = np.cross(ahead, up)
    oblique = np.stack([side, np.cross(forward, side), forward])
    return [
        ("from above", _fit(above, shown.points, centres), shown),
        ("oblique", _fit(oblique, cloud.points, centres), cloud),
    ]


def _long_axis(flat: NDArray[np.float64], up: NDArray[np.float64]) -> NDArray[np.float64]:
    """Horizontal direction in which the scene is longest, for a picture that is wider than high."""
    if len(flat) >= 3:
        middle = np.median(flat, axis=0)
        distance = np.linalg.norm(flat - middle, axis=1)
        near = flat[distance <= np.quantile(distance, 0.9)] - middle
        axis = np.linalg.eigh(near.T @ near)[1][:, -1]
        axis = axis - up * (axis @ up)
        if np.linalg.norm(axis) > 1e-6:
            return axis / np.linalg.norm(axis)
    axis = np.cross(up, np.eye(3)[np.argmin(np.abs(up))])
    return axis / np.linalg.norm(axis)


def _horizontal_gaze(
    trajectory: Trajectory, up: NDArray[np.float64], otherwise: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Where the cameras look on average, turned by 25 degrees so that walls do not stand edge-on."""
    gaze = trajectory.world_from_camera[:, :3, 2].mean(0) if len(trajectory) else np.zeros(3)
    gaze = gaze - up * (gaze @ up)
    gaze = gaze / np.linalg.norm(gaze) if np.linalg.norm(gaze) > 0.2 else otherwise
    turned = np.cos(0.44) * gaze + np.sin(0.44) * np.cross(up, gaze)
    return turned / np.linalg.norm(turned)


def _fit(axes: NDArray[np.float64], points: NDArray, centres: NDArray[np.float64]) -> _View:
    """A scale and centre that show all of the path and all but the outermost points."""
    corners = [centres @ axes.T] if len(centres) else []
    if len(points):
        corners.append(np.quantile(points @ axes.T, [0.01, 0.99], axis=0))
    if not corners:
        return _View(axes, np.zeros(3), 1.0, 1.0)
    stacked = np.concatenate(corners)
    low, high = stacked.min(0), stacked.max(0)
    extent = np.maximum(high - low, 1e-9)
    pixels_per_unit = float(min(0.88 * _VIEW[0] / extent[0], 0.88 * _VIEW[1] / extent[1]))
    return _View(axes, axes.T @ ((low + high) / 2), pixels_per_unit, float(extent.max()))


def _draw_cloud(view: _View, cloud: PointCloud) -> Image:
    background = np.full((_VIEW[1], _VIEW[0], 3), _PANEL, np.uint8)
    if not len(cloud.points):
        return background
    pixels, depth = view.project(cloud.points)
    return splat(pixels, depth, cloud.colours, _VIEW, background, 2 if len(pixels) > 100_000 else 3)


def _draw_path(
    pen: ImageDraw, view: _View, centres: NDArray[np.float64], colour: tuple[int, int, int], width: int, dots: bool
) -> None:
    if not len(centres):
        return
    pixels = view.project(centres)[0]
    line = [tuple(pixel) for pixel in pixels.tolist()]
    if dots:
        pen.line(line, _PAPER, width + 3, joint="curve")
    pen.line(line, colour, width, joint="curve")
    if dots:
        for (x, y), fill in ((line[0], _START), (line[-1], _END)):
            pen.ellipse((x - 7, y - 7, x + 7, y + 7), fill, _PAPER, 2)


def _draw_scale(pen: ImageDraw, view: _View, unit: str) -> None:
    """A bar of a round length, about a fifth of the picture."""
    target = 0.2 * _VIEW[0] / view.pixels_per_unit
    power = 10.0 ** np.floor(np.log10(target))
    length = power * max(step for step in (1, 2, 5) if step * power <= target * 1.0001)
    pixels, y = length * view.pixels_per_unit, _VIEW[1] - 22
    pen.line([(16, y), (16 + pixels, y)], _INK, 3)
    for x in (16, 16 + pixels):
        pen.line([(x, y - 6), (x, y + 6)], _INK, 3)
    words = unit.removesuffix("s") if length == 1 else unit
    pen.text((26 + pixels, y - 11), f"{length:g} {words}", _INK, _font(16))


def _draw_legend(draw: ImageDraw, truth: bool) -> None:
    entries = [("camera path", _PATH), ("start", _START), ("end", _END)]
    entries += [("ground truth, Sim(3)-aligned", _TRUTH)] if truth else []
    x = _WIDTH - _MARGIN
    for label, colour in reversed(entries):
        x -= int(draw.textlength(label, _font(16)))
        draw.text((x, 60), label, _DIM, _font(16))
        draw.ellipse((x - 18, 64, x - 6, 76), colour)
        x -= 40


def _draw_strip(page: Any, snapshots: Sequence[Snapshot], top: int) -> None:
    from PIL import Image as PilImage
    from PIL import ImageDraw

    cell = (_WIDTH - 2 * _MARGIN - (_STRIP - 1) * 12) // _STRIP
    for index, snapshot in enumerate(_spread_choice(snapshots, _STRIP)):
        x, y = _MARGIN + index * (cell + 12), top
        for pixels in (snapshot.image, colour_depth(snapshot.depth)):
            height = _strip_part(cell, pixels)
            page.paste(PilImage.fromarray(pixels).resize((cell, height), PilImage.Resampling.LANCZOS), (x, y))
            y += height + 6
        ImageDraw.Draw(page).text((x, y), f"frame {snapshot.frame_id}", _DIM, _font(16))


def _strip_height(snapshots: Sequence[Snapshot]) -> int:
    cell = (_WIDTH - 2 * _MARGIN - (_STRIP - 1) * 12) // _STRIP
    heights = [
        sum(_strip_part(cell, part) for part in (item.image, item.depth)) for item in _spread_choice(snapshots, _STRIP)
    ]
    return max(heights) + 36 if heights else 0


def _strip_part(width: int, pixels: NDArray) -> int:
    """Height of a picture (h, w, ...) at `width` in the strip: a line at least, twice that at most."""
    return min(max(1, round(width * pixels.shape[0] / pixels.shape[1])), 2 * width)


def _spread_choice(items: Sequence[Snapshot], count: int) -> list[Snapshot]:
    picked = np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int)
    return [items[index] for index in picked]


def _aligned_truth(trajectory: Trajectory, truth: Trajectory) -> NDArray[np.float64] | None:
    mine, theirs = match_times(trajectory.time_ns, truth.time_ns, 20_000_000)
    if len(mine) < 3:
        return None
    try:
        transform: Sim3 = align_points(truth.centres[theirs], trajectory.centres[mine]).target_from_source
    except GeometryError:
        return None
    return transform.apply_to_points(truth.centres)


def _thin(cloud: PointCloud) -> PointCloud:
    step = -(-len(cloud.points) // _MAX_DRAWN)
    return cloud.take(slice(None, None, max(step, 1)))


def _font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size)
