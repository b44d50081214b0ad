"""Two equal rooms with equal doors on one corridor, and a walk from one into the other: what place recognition must not
take for one place.

Each room stands in a shell of its own, so that walls, floor, furniture and pictures are the same to the pixel; only the
light differs, which comes from one lamp.
"""

from __future__ import annotations

import numpy as np

from spark3r_core.synthetic import furniture, materials
from spark3r_core.synthetic.distance import WorldDistance
from spark3r_core.synthetic.primitives import Layout, yaw_matrix
from spark3r_core.synthetic.steering import bspline

THICK = 0.06  # half the thickness of a wall
CORRIDOR = 1.6  # width
DOOR, LINTEL = 0.55, 2.05  # half the width, and height
SHEET = 0.006


def furnish_twin_rooms(layout: Layout, rng: np.random.Generator) -> None:
    """A shell twice as wide as a room, and deeper by the corridor, becomes two rooms side by side."""
    low, high = layout.room_min, layout.room_max
    half_x, depth, height = (high[0] - low[0]) / 4 - 2 * THICK, high[2] - low[2] - CORRIDOR - 2 * THICK, -low[1]
    room_min, room_max = np.array([-half_x, -height, 0.0]), np.array([half_x, 0.0, depth])
    room = Layout("room", room_min, room_max, False, layout.shell, room_min, room_max)
    _walls(room, rng, half_x, depth, height)
    _things(room, rng, half_x, depth, height)
    for side in (-1, 1):
        shift = np.array([side * (half_x + 2 * THICK), 0.0, low[2] + CORRIDOR + THICK])
        for name in ("boxes", "cylinders", "spheres"):
            getattr(layout, name).extend((c + shift, r, h, m) for c, r, h, m in getattr(room, name))
    for _ in range(3):  # the corridor is one place only
        x = rng.uniform(0.85 * low[0], 0.85 * high[0])
        half = [rng.uniform(0.2, 0.6), rng.uniform(0.2, 0.5), 0.02]
        layout.box([x, -rng.uniform(1.1, 1.6), low[2]], half, materials.picture(rng))


def twin_rooms_walk(distance: WorldDistance, times: np.ndarray, total: float) -> tuple[np.ndarray, np.ndarray]:
    """Position (S, 3) and yaw (S,) at `times`, up to `total`: around the first room, over the corridor, and around the
    second one on the same way."""
    low, high = distance.room_min, distance.room_max
    offset = (high[0] - low[0]) / 4
    entrance, middle = low[2] + CORRIDOR + THICK, (low[2] + CORRIDOR + high[2]) / 2
    reach = min(0.9, 0.5 * offset - 0.1, 0.5 * (high[2] - middle))
    angle = np.linspace(-np.pi / 2, 1.5 * np.pi, 24)
    around = np.stack([reach * np.cos(angle), middle + reach * np.sin(angle)], 1)
    inwards = np.stack([np.full(4, 0.0), np.linspace(entrance - 0.2, middle - reach - 0.2, 4)], 1)
    first, second = np.array([-offset, 0.0]), np.array([offset, 0.0])
    over = np.stack([np.linspace(-offset + 0.5, offset - 0.5, 8), np.full(8, low[2] + 0.5 * CORRIDOR)], 1)
    way = np.concatenate([around + first, inwards[::-1] + first, over, inwards + second, around + second])
    fine = np.linspace(0, 1, 40 * len(way))
    dense = bspline(way, fine * (len(way) - 3))
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(dense, axis=0), axis=1))])
    share = times / total if total > 0 else np.zeros_like(times)
    at = np.stack([np.interp(share * length[-1], length, column) for column in dense.T], 1)
    ahead = np.stack([np.interp(share * length[-1] + 0.3, length, column) for column in dense.T], 1)
    behind = np.stack([np.interp(share * length[-1] - 0.3, length, column) for column in dense.T], 1)
    yaw = np.unwrap(np.arctan2((ahead - behind)[:, 0], (ahead - behind)[:, 1]))
    return np.stack([at[:, 0], np.full(len(at), -1.4), at[:, 1]], 1), yaw


def _walls(room: Layout, rng: np.random.Generator, half_x: float, depth: float, height: float) -> None:
    wall, floor, ceiling = materials.wall(rng), materials.floor(rng), materials.ceiling(rng)
    for x in (-half_x - THICK, half_x + THICK):
        room.box([x, -height / 2, depth / 2], [THICK, height / 2, depth / 2], wall)
    room.box([0, -height / 2, depth - THICK], [half_x, height / 2, THICK], wall)
    beside = (half_x - DOOR) / 2
    for side in (-1, 1):
        room.box([side * (DOOR + beside), -height / 2, 0], [beside, height / 2, THICK], wall)
        room.box([side * DOOR, -LINTEL / 2, 0], [0.05, LINTEL / 2, THICK + 0.02], materials.plain(rng))
    room.box([0, -(height + LINTEL) / 2, 0], [DOOR, (height - LINTEL) / 2, THICK], wall)
    room.box([0, -SHEET / 2, depth / 2], [half_x, SHEET, depth / 2], floor)
    room.box([0, -height + SHEET / 2, depth / 2], [half_x, SHEET, depth / 2], ceiling)


def _things(room: Layout, rng: np.random.Generator, half_x: float, depth: float, height: float) -> None:
    """Pictures on three walls and furniture before them; the middle and the door stay free."""
    sides = [(-half_x, np.pi / 2), (half_x, -np.pi / 2)]
    for number in range(9):
        if number % 3 == 2:
            x, z, yaw = rng.uniform(-0.8, 0.8) * half_x, depth - 2 * THICK, np.pi
        else:
            (x, yaw), z = sides[number % 3], rng.uniform(0.15, 0.9) * depth
        inward = yaw_matrix(yaw) @ np.array([0.0, 0.0, 1.0])
        if number < 6:
            half = [rng.uniform(0.2, 0.55), rng.uniform(0.2, 0.45), rng.uniform(0.01, 0.03)]
            room.box([x, -rng.uniform(1.2, min(1.9, height - 0.6)), z], half, materials.picture(rng), yaw)
            continue
        before = np.array([x, 0.0, z]) + 0.22 * inward
        piece = (furniture.shelf, furniture.counter)[int(rng.integers(2))]
        piece(room, rng, before[0], before[2], yaw)
