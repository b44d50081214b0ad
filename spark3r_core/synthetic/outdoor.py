"""What stands outdoors: streets between facades, and roof terraces with a far view. Coarse shapes under an open sky.

The camera keeps to a small part of such a world, the rest is there to be seen: ground and walls far away, things near.
"""

from __future__ import annotations

import numpy as np

from spark3r_core.synthetic import furniture, materials
from spark3r_core.synthetic.primitives import Layout, yaw_matrix

Rng = np.random.Generator
RAIL = 0.02  # half the thickness of a bar


def tree(layout: Layout, rng: Rng, x: float, z: float, yaw: float) -> None:
    trunk, crown = rng.uniform(1.0, 2.2), rng.uniform(0.6, 1.6)
    layout.cylinder([x, -trunk / 2, z], rng.uniform(0.08, 0.2), trunk / 2, materials.bark(rng))
    leaf = materials.leaf(rng)
    for _ in range(int(rng.integers(1, 4))):
        dx, dz = rng.uniform(-0.5, 0.5, 2) * crown
        layout.sphere(
            [x + dx, -trunk - rng.uniform(0.2, 0.8) * crown, z + dz], crown * rng.uniform(0.6, 1.0), leaf, yaw
        )


def kiosk(layout: Layout, rng: Rng, x: float, z: float, yaw: float) -> None:
    """A shed with a roof."""
    half = np.array([rng.uniform(0.7, 2.5), rng.uniform(0.9, 1.6), rng.uniform(0.7, 2.5)])
    layout.box([x, -half[1], z], half, materials.wall(rng), yaw)
    layout.box([x, -2 * half[1] - 0.06, z], [half[0] + 0.2, 0.06, half[2] + 0.2], materials.plain(rng), yaw)


def car(layout: Layout, rng: Rng, x: float, z: float, yaw: float) -> None:
    paint = materials.furniture(rng)
    layout.box([x, -0.55, z], [0.85, 0.3, 2.0], paint, yaw)
    layout.box([x, -1.1, z], [0.72, 0.27, 1.1], materials.window(rng), yaw)
    layout.box([x, -0.15, z], [0.8, 0.15, 1.7], materials.plain(rng), yaw)


def sign(layout: Layout, rng: Rng, x: float, z: float, yaw: float) -> None:
    """A post with a board."""
    tall = rng.uniform(1.2, 2.4)
    layout.cylinder([x, -tall, z], rng.uniform(0.04, 0.12), tall, materials.plain(rng))
    layout.box([x, -2 * tall + 0.3, z], [0.3, 0.25, 0.02], materials.picture(rng), yaw)


def furnish_street(layout: Layout, rng: Rng) -> None:
    """A road along z with houses, trees and cars beside it; one side may be open."""
    high, length = layout.walk_max, layout.room_max[2]
    layout.box([0, -0.004, 0], [0.7 * high[0], 0.005, length], materials.road(rng))
    for side in (-1, 1):
        kerb = side * high[0]
        layout.box([kerb, -0.06, 0], [0.3 * high[0], 0.07, length], materials.floor(rng))
        if rng.random() < 0.25:  # a park
            for _ in range(int(rng.integers(8, 16))):
                far = kerb + side * rng.exponential(12.0)
                tree(layout, rng, far, rng.uniform(-0.5, 0.5) * length, rng.uniform(0, 6))
            if rng.random() < 0.5:
                _fence(layout, rng, np.array([kerb + side, -0.7 * length]), np.array([kerb + side, 0.7 * length]), 1.1)
        else:
            _row_of_houses(layout, rng, side, kerb + side * rng.uniform(0.8, 3.0))
    for _ in range(int(rng.integers(8, 18))):
        beside = rng.choice([-1, 1]) * rng.uniform(0.7, 1.0) * high[0]
        z, pick = rng.uniform(-1.2, 1.2) * high[2], rng.random()
        yaw = rng.choice([0.0, np.pi]) + rng.normal(0, 0.1)
        if pick < 0.4:
            car(layout, rng, beside, z, yaw)
        elif pick < 0.65:
            tree(layout, rng, beside, z, yaw)
        elif pick < 0.8:
            sign(layout, rng, beside, z, rng.uniform(0, 6))
        elif pick < 0.9:
            furniture.crates(layout, rng, beside, z, rng.uniform(0.2, 0.5))
        else:
            layout.cylinder([beside, -0.85, z], rng.uniform(0.18, 0.3), 0.85, materials.cloth(rng))
    _far_away(layout, rng)


def furnish_terrace(layout: Layout, rng: Rng) -> None:
    """A tiled roof with a parapet or a railing, some things on it, and roofs, towers and hills beyond."""
    half_x, half_z = layout.walk_max[0] + 0.3, layout.walk_max[2] + 0.3
    layout.box([0, -0.02, 0], [half_x + 0.2, 0.03, half_z + 0.2], materials.floor(rng))
    tall, stone = rng.uniform(0.4, 1.2), materials.wall(rng)
    corners = [np.array(c) for c in ((-half_x, -half_z), (half_x, -half_z), (half_x, half_z), (-half_x, half_z))]
    for start, end in zip(corners, [*corners[1:], corners[0]], strict=True):
        if rng.random() < 0.4:
            _fence(layout, rng, start, end, tall + 0.2)
            continue
        middle, along = (start + end) / 2, np.abs(end - start) / 2
        layout.box([middle[0], -tall / 2, middle[1]], [along[0] + 0.1, tall / 2, along[1] + 0.1], stone)
        layout.box([middle[0], -tall, middle[1]], [along[0] + 0.14, 0.03, along[1] + 0.14], materials.plain(rng))
    if rng.random() < 0.6:  # where the stairs come up
        side = rng.choice([-1, 1], 2)
        wide = np.array([rng.uniform(0.6, 1.2), rng.uniform(1.0, 1.4), rng.uniform(0.6, 1.2)])
        layout.box([side[0] * (half_x - wide[0]), -wide[1], side[1] * (half_z - wide[2])], wide, materials.wall(rng))
    for _ in range(int(rng.integers(3, 9))):
        x, z = rng.uniform(-0.95, 0.95) * half_x, rng.uniform(-0.95, 0.95) * half_z
        yaw, pick = rng.uniform(0, 2 * np.pi), rng.random()
        if pick < 0.25:
            furniture.crates(layout, rng, x, z, rng.uniform(0.2, 0.4))
        elif pick < 0.45:
            furniture.plant(layout, rng, x, z, rng.uniform(0.6, 1.3))
        elif pick < 0.6:
            layout.cylinder([x, -0.6, z], rng.uniform(0.3, 0.6), rng.uniform(0.4, 0.6), materials.plain(rng))
        elif pick < 0.75:
            furniture.seat(layout, rng, x, z, yaw)
        elif pick < 0.88:
            furniture.table(layout, rng, x, z, yaw)
        else:
            sign(layout, rng, x, z, yaw)
    for _ in range(int(rng.integers(10, 35))):  # other roofs
        away, yaw = half_x + half_z + 12 + rng.exponential(18.0), rng.uniform(0, 2 * np.pi)
        half = np.array([rng.uniform(1.5, 8), rng.uniform(0.3, 3.0), rng.uniform(1.5, 8)])
        layout.box([away * np.sin(yaw), -half[1], away * np.cos(yaw)], half, materials.facade(rng), rng.uniform(0, 3))
    _far_away(layout, rng)


def _row_of_houses(layout: Layout, rng: Rng, side: int, front: float) -> None:
    """Facades along z whose fronts lie near x = `front`, with doors, balconies and awnings on the near ones."""
    end = rng.uniform(0.5, 1.0) * layout.room_max[2]
    z = -end
    while z < end:
        half = np.array([rng.uniform(3, 6), rng.uniform(1.8, 8.0), rng.uniform(2.5, 8.0)])
        if rng.random() < 0.15:
            tree(layout, rng, front + side * 2, z + half[2], 0.0)
            z += 2 * half[2]
            continue
        face = front + side * rng.uniform(0, 0.5)
        layout.box([face + side * half[0], -half[1], z + half[2]], half, materials.facade(rng))
        if rng.random() < 0.4:
            eaves = half * [1, 0, 1] + [0.4, 0.12, 0.1]
            layout.box([face + side * half[0], -2 * half[1], z + half[2]], eaves, materials.plain(rng))
        for _ in range(int(rng.integers(1, 5)) if abs(z) < 40 else 0):
            wide, sticks_out = rng.uniform(0.4, 1.5), rng.uniform(0.02, 0.5)
            height = rng.uniform(0.6, min(2 * half[1] - 0.6, 7.0))
            material = materials.window(rng) if rng.random() < 0.5 else materials.furniture(rng)
            place = z + half[2] + rng.uniform(-0.8, 0.8) * (half[2] - wide)
            layout.box([face, -height, place], [sticks_out, rng.uniform(0.1, 0.6), wide], material)
        z += 2 * half[2] + (rng.uniform(1, 6) if rng.random() < 0.2 else 0.0)


def _fence(layout: Layout, rng: Rng, start: np.ndarray, end: np.ndarray, tall: float) -> None:
    """Posts and two bars between two points (x, z), in some cases with boards between the bars."""
    metal, way = materials.plain(rng), end - start
    length, yaw = float(np.hypot(*way)), float(np.arctan2(way[0], way[1]))
    middle = (start + end) / 2
    for height in (0.55 * tall, tall):
        layout.box([middle[0], -height, middle[1]], [RAIL, RAIL, length / 2], metal, yaw)
    if rng.random() < 0.4:
        layout.box([middle[0], -0.5 * tall, middle[1]], [RAIL / 2, 0.42 * tall, length / 2], materials.cloth(rng), yaw)
    for share in np.linspace(0, 1, max(2, min(24, round(length / rng.uniform(0.8, 2.0))))):
        at = start + share * way
        layout.cylinder([at[0], -tall / 2, at[1]], RAIL, tall / 2, metal)


def _far_away(layout: Layout, rng: Rng) -> None:
    """Hills, pyramids and towers towards the end of the world."""
    reach = float(layout.room_max[[0, 2]].min())
    for _ in range(int(rng.integers(2, 7))):
        yaw, away, pick = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 0.9) * reach, rng.random()
        x, _, z = yaw_matrix(yaw) @ np.array([0, 0, away])
        if pick < 0.4:
            radius = rng.uniform(0.15, 0.5) * away
            layout.sphere([x, radius * rng.uniform(0.6, 0.9), z], radius, materials.hill(rng), yaw)
        elif pick < 0.6:
            edge = rng.uniform(0.08, 0.25) * away
            layout.box([x, 0, z], [edge, edge, edge], materials.hill(rng), yaw, np.pi / 4)
        else:
            half = np.array([rng.uniform(3, 9), rng.uniform(4, 20), rng.uniform(3, 9)])
            layout.box([x, -half[1], z], half, materials.facade(rng), yaw)
