"""A recording as a floor plan: an occupancy grid (PGM and YAML) that ROS's map_server and Nav2 load.

    spark3r run video.mp4 --record today.mcap
    python examples/occupancy_grid.py today.mcap floor            # floor.pgm, floor.yaml

Each keyframe sees points: those at the height of obstacles fill a cell, and the way from the camera to each point is
free. Heights are given in heights of the camera above the floor, so that they mean something without a scale; give
--scale (metres per unit of the stream) for a map that a robot drives by.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spark3r_core.geometry.sim3 import Sim3
from spark3r_stream import decode
from spark3r_stream.errors import StreamError
from spark3r_stream.recording.reader import Recording
from spark3r_stream.ros2.axes import upright
from spark3r_stream.wire import envelope as wire
from spark3r_stream.wire.messages import Cloud, MapCorrections, submap_frame

FREE, UNKNOWN, OCCUPIED = 254, 205, 0  # as map_server reads them with the thresholds below
OCCUPIED_THRESHOLD, FREE_THRESHOLD = 0.65, 0.196
LEAST_CONFIDENCE = 0.5
LEAST_POINTS = 3  # of an obstacle in a cell: fewer may be stray
LEAST_SHARE = 0.3  # of the keyframes that see the cell at all
MOST_CELLS = 4096  # in one direction
FLOOR_BINS = 20  # per height of the camera
MOST_TARGETS = 4000  # rays of one keyframe


@dataclass(frozen=True)
class View:
    """A keyframe: camera (3,) and what it sees (n, 3), z up."""

    camera: np.ndarray
    points: np.ndarray


def read_views(path: Path, gravity: tuple[float, float, float], scale: float) -> list[View]:
    """The newest points of every keyframe of a recording, where it lies in the end."""
    clouds: dict[str, Cloud] = {}
    placed: dict[str, Sim3] = {}
    for message in Recording(path).messages([wire.CLOUD, wire.MAP_CORRECTION]):
        content = decode(message)
        if isinstance(content, Cloud):
            clouds[content.frame_name] = content
        elif isinstance(content, MapCorrections):
            placed |= {submap_frame(one.submap): one.map_from_submap for one in content.corrections}
    turn = upright(gravity)[:3, :3] * scale
    views = []
    for name, cloud in clouds.items():
        map_from_submap = placed.get(name, Sim3())
        points = map_from_submap.apply_to_points(cloud.points[cloud.confidence >= LEAST_CONFIDENCE].astype(np.float64))
        points = points[np.isfinite(points).all(1)]
        views.append(View(turn @ map_from_submap.translation, points @ turn.T))
    return views


def floor_height(views: list[View]) -> tuple[float, float]:
    """z of the floor, and how high the cameras are above it: the height below them at which most points lie."""
    camera = float(np.median([view.camera[2] for view in views]))
    below = np.concatenate([view.points[:, 2] for view in views])
    below = below[below < camera]
    if not len(below):
        raise StreamError("no point lies below the cameras; is --gravity right?")
    bins = np.linspace(np.percentile(below, 1), camera, FLOOR_BINS + 1)
    fullest = int(np.argmax(np.histogram(below, bins)[0]))
    in_bin = below[(below >= bins[fullest]) & (below <= bins[fullest + 1])]
    floor = float(np.median(in_bin))
    return floor, camera - floor


def occupancy(views: list[View], resolution: float, low: float, high: float) -> tuple[np.ndarray, tuple[float, float]]:
    """The grid (rows, columns) uint8, row 0 at the top (largest y), and x, y of its lower left corner.

    low, high: what stands between them above the floor is an obstacle, in the unit of the views.
    """
    floor, _ = floor_height(views)
    everything = np.concatenate([np.vstack([view.camera, view.points])[:, :2] for view in views])
    origin = np.floor(everything.min(0) / resolution) * resolution
    columns, rows = np.ceil((everything.max(0) - origin) / resolution).astype(int) + 1
    if max(columns, rows) > MOST_CELLS:
        raise StreamError(f"{columns} x {rows} cells; at most {MOST_CELLS} each: give a larger --resolution")
    points, hits, passes = (np.zeros((rows, columns), int) for _ in range(3))
    for view in views:
        height = view.points[:, 2] - floor
        obstacles = view.points[(height > low) & (height < high), :2]
        seen = np.unique(((view.points[height < high, :2] - origin) / resolution).astype(int), axis=0)
        seen = seen[:: max(1, -(-len(seen) // MOST_TARGETS))]
        hit, count = np.unique(((obstacles - origin) / resolution).astype(int), axis=0, return_counts=True)
        passed = cells_between((view.camera[:2] - origin) / resolution, seen + 0.5)
        free = np.zeros((rows, columns), bool)
        free[passed[:, 1], passed[:, 0]] = True
        free[hit[:, 1], hit[:, 0]] = False
        points[hit[:, 1], hit[:, 0]] += count
        hits[hit[:, 1], hit[:, 0]] += 1
        passes += free
    grid = np.full((rows, columns), UNKNOWN, np.uint8)
    grid[passes > 0] = FREE
    grid[(points >= LEAST_POINTS) & (hits >= LEAST_SHARE * (hits + passes))] = OCCUPIED
    return grid[::-1], (float(origin[0]), float(origin[1]))


def cells_between(begin: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Cells (m, 2) on the ways from `begin` (2,) to the cells before each of `ends` (n, 2), in cells."""
    if not len(ends):
        return np.zeros((0, 2), int)
    length = np.linalg.norm(ends - begin, axis=1)
    steps = np.arange(0, 2 * int(np.ceil(length.max())))[None] / 2.0  # half a cell each
    inside = steps < (length - 1)[:, None]
    direction = (ends - begin) / np.maximum(length, 1e-9)[:, None]
    points = begin + steps[..., None] * direction[:, None]
    return np.unique(points[inside].astype(int), axis=0)


def write_map(target: Path, grid: np.ndarray, origin: tuple[float, float], resolution: float) -> None:
    """target.pgm and target.yaml."""
    rows, columns = grid.shape
    target.with_suffix(".pgm").write_bytes(b"P5\n%d %d\n255\n" % (columns, rows) + np.ascontiguousarray(grid).tobytes())
    target.with_suffix(".yaml").write_text(
        f"image: {target.with_suffix('.pgm').name}\nmode: trinary\nresolution: {resolution:g}\n"
        f"origin: [{origin[0]:.6g}, {origin[1]:.6g}, 0]\nnegate: 0\n"
        f"occupied_thresh: {OCCUPIED_THRESHOLD}\nfree_thresh: {FREE_THRESHOLD}\n"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", type=Path)
    parser.add_argument("target", type=Path, help="name of the map, without an ending")
    parser.add_argument("--scale", type=float, default=1.0, help="metres per unit of the stream")
    parser.add_argument("--gravity", type=float, nargs=3, default=(0, 1, 0), help="down, in the first picture's axes")
    parser.add_argument("--resolution", type=float, help="metres per cell; default: a 25th of the camera's height")
    parser.add_argument("--low", type=float, default=0.15, help="of obstacles, in heights of the camera over the floor")
    parser.add_argument("--high", type=float, default=1.2, help="of obstacles, in the same")
    given = parser.parse_args()
    try:
        views = read_views(given.recording, tuple(given.gravity), given.scale)
        if not views:
            raise StreamError(f"{given.recording} holds no points")
        floor, height = floor_height(views)
        resolution = given.resolution or height / 25
        grid, origin = occupancy(views, resolution, given.low * height, given.high * height)
        write_map(given.target, grid, origin, resolution)
    except StreamError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    shares = [100 * float(np.mean(grid == value)) for value in (FREE, OCCUPIED, UNKNOWN)]
    print(f"{given.target.with_suffix('.yaml')}: {grid.shape[1]} x {grid.shape[0]} cells of {resolution:.3g}, floor at")
    print(f"{floor:.3g}; {shares[0]:.0f} % free, {shares[1]:.0f} % occupied, {shares[2]:.0f} % unknown")
    return 0


if __name__ == "__main__":
    sys.exit(main())
