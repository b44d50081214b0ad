"""What stands where: one procedural room, corridor or court per seed, as a list of analytic primitives.

World axes: y points down (gravity is +y), the floor is the plane y = 0, so everything above it has negative y.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from spark3r_core.synthetic import materials
from spark3r_core.synthetic.materials import Material

KINDS = ("room", "corridor", "court")


@dataclass
class Layout:
    """A world under construction. Sizes are half extents; rotations are world_from_object."""

    kind: str
    room_min: np.ndarray
    room_max: np.ndarray
    open_sky: bool
    shell: list[Material]  # -x, +x, ceiling, floor, -z, +z
    boxes: list[tuple[np.ndarray, np.ndarray, np.ndarray, Material]] = field(default_factory=list)
    cylinders: list[tuple[np.ndarray, np.ndarray, np.ndarray, Material]] = field(default_factory=list)
    spheres: list[tuple[np.ndarray, np.ndarray, np.ndarray, Material]] = field(default_factory=list)

    def box(self, centre, half, material: Material, yaw: float = 0.0, tilt: float = 0.0) -> None:
        rotation = _yaw(yaw) @ _tilt(tilt)
        self.boxes.append((np.asarray(centre, float), rotation, np.asarray(half, float), material))

    def cylinder(self, centre, radius: float, half_height: float, material: Material) -> None:
        half = np.array([radius, half_height, radius])
        self.cylinders.append((np.asarray(centre, float), np.eye(3), half, material))

    def sphere(self, centre, radius: float, material: Material, yaw: float = 0.0) -> None:
        self.spheres.append((np.asarray(centre, float), _yaw(yaw), np.full(3, radius), material))


def _yaw(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def _tilt(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def build_layout(rng: np.random.Generator, kind: str) -> Layout:
    """A furnished world of `kind`; all randomness from `rng`."""
    if kind == "room":
        width, depth, height = rng.uniform(2.6, 8.0), rng.uniform(2.6, 8.0), rng.uniform(2.3, 3.6)
    elif kind == "corridor":
        width, depth, height = rng.uniform(1.7, 3.6), rng.uniform(10, 40), rng.uniform(2.2, 3.6)
    else:
        width, depth, height = rng.uniform(10, 40), rng.uniform(10, 40), rng.uniform(2.5, 9.0)
    if kind != "court" and rng.random() < 0.5:
        width, depth = depth, width
    wall = materials.wall(rng)
    walls = [wall if rng.random() < 0.6 else materials.wall(rng) for _ in range(4)]
    ceiling, floor = materials.ceiling(rng), materials.floor(rng)
    layout = Layout(
        kind=kind,
        room_min=np.array([-width / 2, -height, -depth / 2]),
        room_max=np.array([width / 2, 0.0, depth / 2]),
        open_sky=kind == "court",
        shell=[walls[0], walls[1], ceiling, floor, walls[2], walls[3]],
    )
    {"room": _furnish_room, "corridor": _furnish_corridor, "court": _furnish_court}[kind](layout, rng)
    return layout


def _wall_spot(layout: Layout, rng: np.random.Generator, inset: float) -> tuple[float, float, float]:
    """x, z and yaw of a place `inset` in front of a random wall; local z of the yaw points into the room."""
    low, high = layout.room_min, layout.room_max
    side = rng.choice(4, p=np.repeat([high[2] - low[2], high[0] - low[0]], 2) / (2 * (high[2] - low[2] + high[0] - low[0])))
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


def _clutter(layout: Layout, rng: np.random.Generator, x: float, y: float, z: float, spread: float, count: int) -> None:
    """Small things resting on the horizontal plane `y` around (x, z)."""
    for _ in range(count):
        px, pz = x + rng.uniform(-spread, spread), z + rng.uniform(-spread, spread)
        size, pick = rng.uniform(0.03, 0.14), rng.random()
        if pick < 0.5:
            half = size * rng.uniform(0.4, 1.6, 3)
            layout.box([px, y - half[1], pz], half, materials.small(rng), rng.uniform(0, np.pi))
        elif pick < 0.75:
            tall = size * rng.uniform(0.6, 2.0)
            layout.cylinder([px, y - tall, pz], size * 0.6, tall, materials.small(rng))
        else:
            layout.sphere([px, y - size, pz], size, materials.small(rng), rng.uniform(0, np.pi))


def _table(layout: Layout, rng: np.random.Generator, x: float, z: float, yaw: float) -> None:
    half_x, half_z, top = rng.uniform(0.35, 0.9), rng.uniform(0.3, 0.5), rng.uniform(0.42, 0.8)
    wood = materials.furniture(rng)
    layout.box([x, -top, z], [half_x, 0.025, half_z], wood, yaw)
    turn = _yaw(yaw)
    for sx, sz in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
        foot = turn @ np.array([sx * (half_x - 0.06), 0, sz * (half_z - 0.06)])
        layout.cylinder([x + foot[0], -top / 2, z + foot[2]], 0.03, top / 2, wood)
    _clutter(layout, rng, x, -top - 0.025, z, min(half_x, half_z) * 0.8, int(rng.integers(1, 5)))


def _shelf(layout: Layout, rng: np.random.Generator, x: float, z: float, yaw: float) -> None:
    half_x, depth, top = rng.uniform(0.3, 0.7), rng.uniform(0.12, 0.2), rng.uniform(1.0, 2.0)
    wood, turn = materials.furniture(rng), _yaw(yaw)
    for side in (-1, 1):
        post = turn @ np.array([side * half_x, 0, 0])
        layout.box([x + post[0], -top / 2, z + post[2]], [0.02, top / 2, depth], wood, yaw)
    for level in np.linspace(0.1, top - 0.02, int(rng.integers(3, 6))):
        layout.box([x, -level, z], [half_x, 0.015, depth], wood, yaw)
        if level < top - 0.3:
            row = turn @ np.array([rng.uniform(-0.3, 0.3) * half_x, 0, 0])
            books = [half_x * rng.uniform(0.2, 0.6), rng.uniform(0.08, 0.14), depth * 0.8]
            layout.box([x + row[0], -level - 0.015 - books[1], z + row[2]], books, materials.books(rng), yaw)


def _seat(layout: Layout, rng: np.random.Generator, x: float, z: float, yaw: float) -> None:
    half, cloth, turn = rng.uniform(0.22, 0.9), materials.cloth(rng), _yaw(yaw)
    layout.box([x, -0.22, z], [half, 0.2, 0.3], cloth, yaw)
    back = turn @ np.array([0, 0, -0.28])
    layout.box([x + back[0], -0.45, z + back[2]], [half, 0.42, 0.07], cloth, yaw)


def _stairs(layout: Layout, rng: np.random.Generator, x: float, z: float, yaw: float) -> None:
    steps, run, rise = int(rng.integers(3, 9)), rng.uniform(0.22, 0.35), rng.uniform(0.13, 0.2)
    half_x, stone, turn = rng.uniform(0.4, 1.2), materials.floor(rng), _yaw(yaw)
    for k in range(steps):
        place = turn @ np.array([0, 0, (steps / 2 - k) * run])
        layout.box([x + place[0], -(k + 1) * rise / 2, z + place[2]], [half_x, (k + 1) * rise / 2, run / 2], stone, yaw)


def _crates(layout: Layout, rng: np.random.Generator, x: float, z: float, size: float) -> None:
    y = 0.0
    for _ in range(int(rng.integers(1, 4))):
        half = size * rng.uniform(0.5, 1.0, 3)
        layout.box([x, y - half[1], z], half, materials.furniture(rng), rng.uniform(0, np.pi))
        y -= 2 * half[1]
        size *= 0.75
    if rng.random() < 0.5:
        _clutter(layout, rng, x, y, z, size * 0.3, 1)


def _plant(layout: Layout, rng: np.random.Generator, x: float, z: float, scale: float) -> None:
    pot, leaf = materials.furniture(rng), materials.leaf(rng)
    layout.cylinder([x, -0.2 * scale, z], 0.16 * scale, 0.2 * scale, pot)
    for _ in range(int(rng.integers(2, 5))):
        dx, dz, up = rng.uniform(-0.2, 0.2) * scale, rng.uniform(-0.2, 0.2) * scale, rng.uniform(0.55, 1.2) * scale
        layout.sphere([x + dx, -up, z + dz], rng.uniform(0.15, 0.3) * scale, leaf, rng.uniform(0, np.pi))


def _furnish_room(layout: Layout, rng: np.random.Generator) -> None:
    low, high = layout.room_min, layout.room_max
    height, area = -low[1], (high[0] - low[0]) * (high[2] - low[2])
    _on_walls(layout, rng, int(rng.integers(3, 9)))
    if rng.random() < 0.3 and area > 16:  # an L-shaped room: one corner is solid
        half = np.array([(high[0] - low[0]) * rng.uniform(0.12, 0.22), height / 2, (high[2] - low[2]) * rng.uniform(0.12, 0.22)])
        sx, sz = rng.choice([-1, 1], 2)
        layout.box([sx * (high[0] - half[0]), -height / 2, sz * (high[2] - half[2])], half, materials.wall(rng))
    for _ in range(int(rng.integers(3, 6) + area / 12)):
        x, z, yaw = _wall_spot(layout, rng, rng.uniform(0.25, 0.5))
        pick = rng.random()
        if pick < 0.25:
            _shelf(layout, rng, x, z, yaw)
        elif pick < 0.45:
            _table(layout, rng, x, z, yaw)
        elif pick < 0.6:
            _seat(layout, rng, x, z, yaw)
        elif pick < 0.72:
            half = [rng.uniform(0.3, 0.6), rng.uniform(0.35, 1.0), rng.uniform(0.2, 0.3)]
            layout.box([x, -half[1], z], half, materials.furniture(rng), yaw)
            _clutter(layout, rng, x, -2 * half[1], z, 0.15, int(rng.integers(0, 3)))
        elif pick < 0.82:
            _plant(layout, rng, x, z, rng.uniform(0.6, 1.3))
        elif pick < 0.92:
            _crates(layout, rng, x, z, rng.uniform(0.2, 0.4))
        else:
            _stairs(layout, rng, x, z, yaw)
    if area > 14 and rng.random() < 0.6:
        _table(layout, rng, rng.uniform(-0.5, 0.5), rng.uniform(-0.5, 0.5), rng.uniform(0, np.pi))
    if rng.random() < 0.4:
        layout.box([0, -0.005, 0], [rng.uniform(0.6, 1.2), 0.006, rng.uniform(0.6, 1.2)], materials.cloth(rng), rng.uniform(0, 1))
    if rng.random() < 0.5:
        x, z = rng.uniform(0.5 * low[0], 0.5 * high[0]), rng.uniform(0.5 * low[2], 0.5 * high[2])
        layout.cylinder([x, low[1] + 0.15, z], 0.01, 0.15, materials.plain(rng))
        layout.sphere([x, low[1] + 0.38, z], rng.uniform(0.08, 0.18), materials.window(rng))
    for _ in range(int(rng.integers(0, 5))):
        _clutter(layout, rng, rng.uniform(low[0], high[0]) * 0.9, 0.0, rng.uniform(low[2], high[2]) * 0.9, 0.2, 1)


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
            _crates(layout, rng, x, z, rng.uniform(0.12, 0.25))
        elif pick < 0.5 and width > 2.0:
            _plant(layout, rng, x, z, rng.uniform(0.5, 0.9))
        elif pick < 0.7:
            layout.cylinder([x, -height / 2, z], rng.uniform(0.04, 0.15), height / 2, materials.plain(rng))
        elif width > 2.2:
            half = [rng.uniform(0.2, 0.6), rng.uniform(0.3, 0.9), 0.18]
            layout.box([x, -half[1], z], half, materials.furniture(rng), yaw)


def _furnish_court(layout: Layout, rng: np.random.Generator) -> None:
    low, high = layout.room_min, layout.room_max
    _on_walls(layout, rng, int(rng.integers(6, 16)))
    for _ in range(int(rng.integers(10, 22))):
        x, z = rng.uniform(low[0] + 1, high[0] - 1), rng.uniform(low[2] + 1, high[2] - 1)
        yaw, pick = rng.uniform(0, 2 * np.pi), rng.random()
        if pick < 0.25:  # a tree
            trunk, crown = rng.uniform(1.0, 2.2), rng.uniform(0.6, 1.6)
            layout.cylinder([x, -trunk / 2, z], rng.uniform(0.08, 0.2), trunk / 2, materials.bark(rng))
            leaf = materials.leaf(rng)
            for _ in range(int(rng.integers(1, 4))):
                dx, dz = rng.uniform(-0.5, 0.5, 2) * crown
                layout.sphere([x + dx, -trunk - rng.uniform(0.2, 0.8) * crown, z + dz], crown * rng.uniform(0.6, 1.0), leaf, yaw)
        elif pick < 0.4:  # a kiosk or a shed with a roof
            half = np.array([rng.uniform(0.7, 2.5), rng.uniform(0.9, 1.6), rng.uniform(0.7, 2.5)])
            layout.box([x, -half[1], z], half, materials.wall(rng), yaw)
            layout.box([x, -2 * half[1] - 0.06, z], [half[0] + 0.2, 0.06, half[2] + 0.2], materials.plain(rng), yaw)
        elif pick < 0.52:  # a car
            paint = materials.furniture(rng)
            layout.box([x, -0.55, z], [0.85, 0.3, 2.0], paint, yaw)
            layout.box([x, -1.1, z], [0.72, 0.27, 1.1], materials.window(rng), yaw)
            layout.box([x, -0.15, z], [0.8, 0.15, 1.7], materials.plain(rng), yaw)
        elif pick < 0.62:
            tall = rng.uniform(1.2, 2.4)
            layout.cylinder([x, -tall, z], rng.uniform(0.04, 0.12), tall, materials.plain(rng))
            layout.box([x, -2 * tall + 0.3, z], [0.3, 0.25, 0.02], materials.picture(rng), yaw)
        elif pick < 0.72:
            _stairs(layout, rng, x, z, yaw)
        elif pick < 0.85:
            _crates(layout, rng, x, z, rng.uniform(0.3, 0.7))
        elif pick < 0.95:
            layout.cylinder([x, -0.5, z], rng.uniform(0.3, 1.2), rng.uniform(0.3, 0.5), materials.floor(rng))
        else:
            _plant(layout, rng, x, z, rng.uniform(1.0, 2.0))
