"""Pieces of furniture and clutter, each a few primitives. x and z place a piece on the floor; local +z of `yaw` is
its front.
"""

from __future__ import annotations

import numpy as np

from spark3r_core.synthetic import materials
from spark3r_core.synthetic.primitives import Layout, yaw_matrix


def clutter(layout: Layout, rng: np.random.Generator, x: float, y: float, z: float, spread: float, count: int) -> None:
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


def table(layout: Layout, rng: np.random.Generator, x: float, z: float, yaw: float) -> None:
    """A top on four legs, with things on it and chairs around."""
    half_x, half_z, top = rng.uniform(0.35, 0.9), rng.uniform(0.3, 0.5), rng.uniform(0.42, 0.8)
    wood = materials.furniture(rng)
    layout.box([x, -top, z], [half_x, 0.025, half_z], wood, yaw)
    turn = yaw_matrix(yaw)
    for sx, sz in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
        foot = turn @ np.array([sx * (half_x - 0.06), 0, sz * (half_z - 0.06)])
        layout.cylinder([x + foot[0], -top / 2, z + foot[2]], 0.03, top / 2, wood)
    reach = min(half_x, half_z) * 0.75
    clutter(layout, rng, x, -top - 0.025, z, reach, int(rng.integers(1, 4)))
    papers(layout, rng, x, -top - 0.025, z, reach, int(rng.integers(0, 4)))
    for _ in range(int(rng.integers(0, 3)) if top > 0.6 else 0):
        side = rng.choice([-1, 1])
        spot = turn @ np.array([rng.uniform(-0.6, 0.6) * half_x, 0, side * (half_z + rng.uniform(0.0, 0.3))])
        chair(layout, rng, x + spot[0], z + spot[2], yaw + (np.pi if side > 0 else 0.0) + rng.normal(0, 0.3))


def shelf(layout: Layout, rng: np.random.Generator, x: float, z: float, yaw: float) -> None:
    """Two posts, some boards, rows of books."""
    half_x, depth, top = rng.uniform(0.3, 0.7), rng.uniform(0.12, 0.2), rng.uniform(1.0, 2.0)
    wood, turn = materials.furniture(rng), yaw_matrix(yaw)
    for side in (-1, 1):
        post = turn @ np.array([side * half_x, 0, 0])
        layout.box([x + post[0], -top / 2, z + post[2]], [0.02, top / 2, depth], wood, yaw)
    for level in np.linspace(0.1, top - 0.02, int(rng.integers(3, 6))):
        layout.box([x, -level, z], [half_x, 0.015, depth], wood, yaw)
        if level < top - 0.3:
            row = turn @ np.array([rng.uniform(-0.3, 0.3) * half_x, 0, 0])
            books = [half_x * rng.uniform(0.2, 0.6), rng.uniform(0.08, 0.14), depth * 0.8]
            layout.box([x + row[0], -level - 0.015 - books[1], z + row[2]], books, materials.books(rng), yaw)


def seat(layout: Layout, rng: np.random.Generator, x: float, z: float, yaw: float) -> None:
    """A sofa or an armchair."""
    half, cloth, turn = rng.uniform(0.22, 0.9), materials.cloth(rng), yaw_matrix(yaw)
    layout.box([x, -0.22, z], [half, 0.2, 0.3], cloth, yaw)
    back = turn @ np.array([0, 0, -0.28])
    layout.box([x + back[0], -0.45, z + back[2]], [half, 0.42, 0.07], cloth, yaw)


def stairs(layout: Layout, rng: np.random.Generator, x: float, z: float, yaw: float) -> None:
    """A flight of steps that leads nowhere."""
    steps, run, rise = int(rng.integers(3, 9)), rng.uniform(0.22, 0.35), rng.uniform(0.13, 0.2)
    half_x, stone, turn = rng.uniform(0.4, 1.2), materials.floor(rng), yaw_matrix(yaw)
    for k in range(steps):
        place = turn @ np.array([0, 0, (steps / 2 - k) * run])
        layout.box([x + place[0], -(k + 1) * rise / 2, z + place[2]], [half_x, (k + 1) * rise / 2, run / 2], stone, yaw)


def crates(layout: Layout, rng: np.random.Generator, x: float, z: float, size: float) -> None:
    """A small stack of boxes."""
    y = 0.0
    for _ in range(int(rng.integers(1, 4))):
        half = size * rng.uniform(0.5, 1.0, 3)
        layout.box([x, y - half[1], z], half, materials.furniture(rng), rng.uniform(0, np.pi))
        y -= 2 * half[1]
        size *= 0.75
    if rng.random() < 0.5:
        clutter(layout, rng, x, y, z, size * 0.3, 1)


def plant(layout: Layout, rng: np.random.Generator, x: float, z: float, scale: float) -> None:
    """A pot with a few round tufts."""
    pot, leaf = materials.furniture(rng), materials.leaf(rng)
    layout.cylinder([x, -0.2 * scale, z], 0.16 * scale, 0.2 * scale, pot)
    for _ in range(int(rng.integers(2, 5))):
        dx, dz, up = rng.uniform(-0.2, 0.2) * scale, rng.uniform(-0.2, 0.2) * scale, rng.uniform(0.55, 1.2) * scale
        layout.sphere([x + dx, -up, z + dz], rng.uniform(0.15, 0.3) * scale, leaf, rng.uniform(0, np.pi))


def chair(layout: Layout, rng: np.random.Generator, x: float, z: float, yaw: float) -> None:
    """Seat, back and four legs."""
    wood, turn, seat_height = materials.furniture(rng), yaw_matrix(yaw), rng.uniform(0.42, 0.48)
    layout.box([x, -seat_height, z], [0.21, 0.025, 0.21], materials.cloth(rng) if rng.random() < 0.5 else wood, yaw)
    back = turn @ np.array([0, 0, -0.2])
    layout.box([x + back[0], -seat_height - 0.3, z + back[2]], [0.21, rng.uniform(0.08, 0.2), 0.02], wood, yaw)
    for sx, sz in ((-1, -1), (1, -1), (-1, 1), (1, 1)):
        foot = turn @ np.array([sx * 0.18, 0, sz * 0.18])
        top = seat_height + 0.45 if sz < 0 else seat_height
        layout.box([x + foot[0], -top / 2, z + foot[2]], [0.02, top / 2, 0.02], wood, yaw)


def papers(layout: Layout, rng: np.random.Generator, x: float, y: float, z: float, spread: float, count: int) -> None:
    """Flat printed things lying on the plane `y`."""
    for _ in range(count):
        px, pz = x + rng.uniform(-spread, spread), z + rng.uniform(-spread, spread)
        thick = rng.uniform(0.002, 0.012)
        layout.box(
            [px, y - thick, pz],
            [rng.uniform(0.08, 0.13), thick, rng.uniform(0.1, 0.17)],
            materials.picture(rng),
            rng.uniform(0, 6),
        )


def counter(layout: Layout, rng: np.random.Generator, x: float, z: float, yaw: float) -> None:
    """A row of low cupboards with a top, things on it and perhaps cupboards above."""
    half, turn = rng.uniform(0.6, 1.6), yaw_matrix(yaw)
    front = materials.furniture(rng)
    layout.box([x, -0.43, z], [half, 0.43, 0.3], front, yaw)
    layout.box([x, -0.88, z], [half + 0.02, 0.02, 0.32], materials.floor(rng), yaw)
    for share in np.linspace(-0.8, 0.8, int(rng.integers(2, 5))):
        spot = turn @ np.array([share * half, 0, rng.uniform(-0.12, 0.12)])
        if rng.random() < 0.5:
            clutter(layout, rng, x + spot[0], -0.9, z + spot[2], 0.1, 2)
        else:
            board = turn @ np.array([share * half, 0, -0.2])
            tall = rng.uniform(0.1, 0.2)
            layout.box(
                [x + board[0], -0.9 - tall, z + board[2]],
                [rng.uniform(0.07, 0.16), tall, 0.01],
                materials.picture(rng),
                yaw,
                -0.15,
            )
        handle = turn @ np.array([share * half, 0, 0.31])
        layout.box([x + handle[0], -0.7, z + handle[2]], [0.08, 0.01, 0.015], materials.plain(rng), yaw)
    if rng.random() < 0.6:
        above = turn @ np.array([0, 0, -0.12])
        layout.box([x + above[0], -1.8, z + above[2]], [half, 0.3, 0.17], front, yaw)


def partition(layout: Layout, rng: np.random.Generator, x: float, z: float, yaw: float) -> None:
    """A free-standing panel with posters on both sides."""
    half, tall, turn = rng.uniform(0.5, 1.2), rng.uniform(0.5, 0.9), yaw_matrix(yaw)
    layout.box([x, -tall, z], [half, tall, 0.03], materials.plain(rng), yaw)
    for side in (-1, 1):
        for _ in range(int(rng.integers(0, 3))):
            spot = turn @ np.array([rng.uniform(-0.6, 0.6) * half, 0, side * 0.03])
            sheet = [rng.uniform(0.1, 0.3), rng.uniform(0.12, 0.3), 0.008]
            layout.box([x + spot[0], -rng.uniform(0.8, 1.3) * tall, z + spot[2]], sheet, materials.picture(rng), yaw)
