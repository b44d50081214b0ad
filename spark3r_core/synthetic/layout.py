"""What stands where: one procedural room, corridor, court, street or terrace per seed."""

from __future__ import annotations

import numpy as np

from spark3r_core.synthetic import furniture, materials, outdoor
from spark3r_core.synthetic.doors import furnish_doors
from spark3r_core.synthetic.primitives import Layout
from spark3r_core.synthetic.twin_rooms import CORRIDOR, furnish_twin_rooms

KINDS = ("room", "corridor", "court", "plain_room", "twin_rooms", "doors", "street", "terrace")


def build_layout(rng: np.random.Generator, kind: str) -> Layout:
    """A furnished world of `kind`; all randomness from `rng`."""
    if kind in ("room", "plain_room"):
        width, depth, height = rng.uniform(2.6, 8.0), rng.uniform(2.6, 8.0), rng.uniform(2.3, 3.6)
    elif kind == "twin_rooms":
        width, depth, height = 2 * rng.uniform(3.2, 4.2), rng.uniform(3.2, 4.2) + CORRIDOR, rng.uniform(2.4, 3.0)
    elif kind == "doors":
        width, depth, height = rng.uniform(1.9, 2.6), rng.uniform(9, 12), rng.uniform(2.4, 2.8)
    elif kind == "corridor":
        width, depth, height = rng.uniform(1.7, 3.6), rng.uniform(10, 40), rng.uniform(2.2, 3.6)
    elif kind in ("street", "terrace"):
        width, depth, height = rng.uniform(80, 240), rng.uniform(100, 300), rng.uniform(0.5, 6.0)
    else:
        width, depth, height = rng.uniform(10, 40), rng.uniform(10, 40), rng.uniform(2.5, 9.0)
    if kind not in ("court", "twin_rooms", "doors", "street", "terrace") and rng.random() < 0.5:
        width, depth = depth, width
    wall = materials.wall(rng)
    walls = [wall if rng.random() < 0.6 else materials.wall(rng) for _ in range(4)]
    ceiling, floor = materials.ceiling(rng), materials.floor(rng)
    if kind in ("plain_room", "doors"):
        walls, ceiling, floor = [materials.painted(rng)] * 4, materials.painted(rng), materials.painted(rng)
    walk = np.array([width / 2, height, depth / 2])
    if kind == "street":
        walk, floor = np.array([rng.uniform(3, 8), 8.0, rng.uniform(12, 40)]), materials.ground(rng)
    elif kind == "terrace":
        walk, floor = np.array([rng.uniform(2.0, 7.0), 6.0, rng.uniform(2.0, 7.0)]), materials.ground(rng)
    layout = Layout(
        kind=kind,
        room_min=np.array([-width / 2, -height, -depth / 2]),
        room_max=np.array([width / 2, 0.0, depth / 2]),
        open_sky=kind in ("court", "street", "terrace"),
        shell=[walls[0], walls[1], ceiling, floor, walls[2], walls[3]],
        walk_min=-walk,
        walk_max=walk * [1, 0, 1],
    )
    furnish = {
        "room": _furnish_room,
        "corridor": _furnish_corridor,
        "court": _furnish_court,
        "plain_room": _furnish_plain_room,
        "twin_rooms": furnish_twin_rooms,
        "doors": furnish_doors,
        "street": outdoor.furnish_street,
        "terrace": outdoor.furnish_terrace,
    }
    furnish[kind](layout, rng)
    return layout


def _wall_spot(layout: Layout, rng: np.random.Generator, inset: float) -> tuple[float, float, float]:
    """x, z and yaw of a place `inset` in front of a random wall; local z of the yaw points into the room."""
    low, high = layout.room_min, layout.room_max
    side = rng.choice(
        4, p=np.repeat([high[2] - low[2], high[0] - low[0]], 2) / (2 * (high[2] - low[2] + high[0] - low[0]))
    )
    if side < 2:
        z = rng.uniform(low[2] + 0.3, high[2] - 0.3)
        return (low[0] + inset, z, np.pi / 2) if side == 0 else (high[0] - inset, z, -np.pi / 2)
    x = rng.uniform(low[0] + 0.3, high[0] - 0.3)
    return (x, low[2] + inset, 0.0) if side == 2 else (x, high[2] - inset, np.pi)


def _on_walls(layout: Layout, rng: np.random.Generator, count: int) -> None:
    """Pictures, windows, doors, switches: thin boxes on the walls."""
    height = -layout.room_min[1]
    for _ in range(count):
        x, z, yaw = _wall_spot(layout, rng, 0.0)
        pick = rng.random()
        if pick < 0.5:
            half = [rng.uniform(0.15, 0.7), rng.uniform(0.15, 0.6), rng.uniform(0.01, 0.03)]
            material, y = materials.picture(rng), -rng.uniform(0.9, max(1.0, min(height - 0.4, 2.2)))
        elif pick < 0.7:
            half = [rng.uniform(0.35, 0.5), min(1.02, height / 2 - 0.05), rng.uniform(0.02, 0.06)]
            material, y = materials.furniture(rng), -min(1.02, height / 2 - 0.05)
        elif pick < 0.85:
            half = [rng.uniform(0.4, 1.0), rng.uniform(0.4, 0.7), rng.uniform(0.02, 0.05)]
            material, y = materials.window(rng), -min(1.5, height - 0.8)
        else:
            half = [rng.uniform(0.04, 0.1), rng.uniform(0.04, 0.12), 0.03]
            material, y = materials.furniture(rng), -rng.uniform(0.3, 1.4)
        layout.box([x, y, z], half, material, yaw)
        if pick < 0.85 and rng.random() < 0.4:  # a frame around it, slightly behind
            layout.box([x, y, z], [half[0] + 0.05, half[1] + 0.05, half[2] * 0.6], materials.plain(rng), yaw)


def _furnish_room(layout: Layout, rng: np.random.Generator) -> None:
    low, high = layout.room_min, layout.room_max
    height, area = -low[1], (high[0] - low[0]) * (high[2] - low[2])
    _on_walls(layout, rng, int(rng.integers(3, 9)))
    if rng.random() < 0.3 and area > 16:  # an L-shaped room: one corner is solid
        half = np.array(
            [(high[0] - low[0]) * rng.uniform(0.12, 0.22), height / 2, (high[2] - low[2]) * rng.uniform(0.12, 0.22)]
        )
        sx, sz = rng.choice([-1, 1], 2)
        layout.box([sx * (high[0] - half[0]), -height / 2, sz * (high[2] - half[2])], half, materials.wall(rng))
    for _ in range(int(rng.integers(3, 6) + area / 12)):
        x, z, yaw = _wall_spot(layout, rng, rng.uniform(0.25, 0.5))
        pick = rng.random()
        if pick < 0.18:
            furniture.shelf(layout, rng, x, z, yaw)
        elif pick < 0.32:
            furniture.table(layout, rng, x, z, yaw)
        elif pick < 0.5:
            furniture.counter(layout, rng, x, z, yaw)
        elif pick < 0.6:
            furniture.seat(layout, rng, x, z, yaw)
        elif pick < 0.72:
            half = np.array([rng.uniform(0.3, 0.6), rng.uniform(0.35, 1.0), rng.uniform(0.2, 0.3)])
            layout.box([x, -half[1], z], half, materials.furniture(rng), yaw)
            furniture.clutter(layout, rng, x, -2 * half[1], z, 0.15, int(rng.integers(0, 3)))
        elif pick < 0.82:
            furniture.plant(layout, rng, x, z, rng.uniform(0.6, 1.3))
        elif pick < 0.92:
            furniture.crates(layout, rng, x, z, rng.uniform(0.2, 0.4))
        else:
            furniture.stairs(layout, rng, x, z, yaw)
    if area > 14 and rng.random() < 0.6:
        furniture.table(layout, rng, rng.uniform(-0.5, 0.5), rng.uniform(-0.5, 0.5), rng.uniform(0, np.pi))
    if area > 20:
        for _ in range(int(rng.integers(0, 3))):
            x, z = rng.uniform(0.6 * low[0], 0.6 * high[0]), rng.uniform(0.6 * low[2], 0.6 * high[2])
            furniture.partition(layout, rng, x, z, rng.choice([0, np.pi / 2]) + rng.normal(0, 0.1))
    if rng.random() < 0.4:
        layout.box(
            [0, -0.005, 0],
            [rng.uniform(0.6, 1.2), 0.006, rng.uniform(0.6, 1.2)],
            materials.cloth(rng),
            rng.uniform(0, 1),
        )
    if rng.random() < 0.5:
        x, z = rng.uniform(0.5 * low[0], 0.5 * high[0]), rng.uniform(0.5 * low[2], 0.5 * high[2])
        layout.cylinder([x, low[1] + 0.15, z], 0.01, 0.15, materials.plain(rng))
        layout.sphere([x, low[1] + 0.38, z], rng.uniform(0.08, 0.18), materials.window(rng))
    for _ in range(int(rng.integers(0, 4))):
        x, z = rng.uniform(low[0], high[0]) * 0.9, rng.uniform(low[2], high[2]) * 0.9
        furniture.clutter(layout, rng, x, 0.0, z, 0.2, 1)
        furniture.papers(layout, rng, x, 0.0, z, 0.4, 1)


def _furnish_plain_room(layout: Layout, rng: np.random.Generator) -> None:
    """A few things on the walls and before them, most of one tone each."""
    for _ in range(int(rng.integers(2, 5))):
        x, z, yaw = _wall_spot(layout, rng, 0.0)
        half = [rng.uniform(0.2, 0.5), rng.uniform(0.2, 0.5), rng.uniform(0.01, 0.04)]
        material = materials.picture(rng) if rng.random() < 0.4 else materials.painted(rng)
        layout.box([x, -rng.uniform(1.1, 1.7), z], half, material, yaw)
    for _ in range(int(rng.integers(3, 7))):
        x, z, yaw = _wall_spot(layout, rng, rng.uniform(0.25, 0.45))
        size = np.array([rng.uniform(0.25, 0.6), rng.uniform(0.3, 1.0), rng.uniform(0.2, 0.35)])
        material = materials.furniture(rng) if rng.random() < 0.4 else materials.painted(rng)
        layout.box([x, -size[1], z], size, material, yaw + rng.normal(0, 0.1))
    low, high = layout.room_min, layout.room_max
    x, z = rng.uniform(0.5 * low[0], 0.5 * high[0]), rng.uniform(0.5 * low[2], 0.5 * high[2])
    radius = rng.uniform(0.12, 0.3)
    layout.sphere([x, -radius, z], radius, materials.painted(rng))


def _furnish_corridor(layout: Layout, rng: np.random.Generator) -> None:
    low, high = layout.room_min, layout.room_max
    long = 2 if high[2] - low[2] > high[0] - low[0] else 0
    length, width, height = high[long] - low[long], (high - low)[2 - long], -low[1]
    _on_walls(layout, rng, int(length * rng.uniform(0.5, 1.0)))
    beam = materials.plain(rng)
    gap = rng.uniform(2.0, 5.0)
    portals = rng.random() < 0.5
    for along in np.arange(low[long] + gap, high[long] - 0.5, gap):
        centre, half = np.array([0, low[1] + 0.08, 0.0]), np.array([0.12, 0.1, 0.12])
        centre[long], half[2 - long] = along, width / 2
        layout.box(centre, half, beam)
        if portals:
            for side in (-1, 1):
                place, post = centre.copy(), np.array([0.12, height / 2, 0.12])
                place[1], place[2 - long] = -height / 2, side * (width / 2 - 0.05)
                layout.box(place, post, beam)
    for _ in range(int(length / 5)):
        x, z, yaw = _wall_spot(layout, rng, 0.2)
        pick = rng.random()
        if pick < 0.3:
            furniture.crates(layout, rng, x, z, rng.uniform(0.12, 0.25))
        elif pick < 0.5 and width > 2.0:
            furniture.plant(layout, rng, x, z, rng.uniform(0.5, 0.9))
        elif pick < 0.7:
            layout.cylinder([x, -height / 2, z], rng.uniform(0.04, 0.15), height / 2, materials.plain(rng))
        elif width > 2.2:
            half = np.array([rng.uniform(0.2, 0.6), rng.uniform(0.3, 0.9), 0.18])
            layout.box([x, -half[1], z], half, materials.furniture(rng), yaw)


def _furnish_court(layout: Layout, rng: np.random.Generator) -> None:
    low, high = layout.room_min, layout.room_max
    _on_walls(layout, rng, int(rng.integers(6, 16)))
    for _ in range(int(rng.integers(10, 22))):
        x, z = rng.uniform(low[0] + 1, high[0] - 1), rng.uniform(low[2] + 1, high[2] - 1)
        yaw, pick = rng.uniform(0, 2 * np.pi), rng.random()
        if pick < 0.25:
            outdoor.tree(layout, rng, x, z, yaw)
        elif pick < 0.4:
            outdoor.kiosk(layout, rng, x, z, yaw)
        elif pick < 0.52:
            outdoor.car(layout, rng, x, z, yaw)
        elif pick < 0.62:
            outdoor.sign(layout, rng, x, z, yaw)
        elif pick < 0.72:
            furniture.stairs(layout, rng, x, z, yaw)
        elif pick < 0.85:
            furniture.crates(layout, rng, x, z, rng.uniform(0.3, 0.7))
        elif pick < 0.95:
            layout.cylinder([x, -0.5, z], rng.uniform(0.3, 1.2), rng.uniform(0.3, 0.5), materials.floor(rng))
        else:
            furniture.plant(layout, rng, x, z, rng.uniform(1.0, 2.0))
