"""A corridor with the same door, again and again: at each of them a camera sees what it saw at the last one.

Doors, their frames and the sheet beside each are equal to the pixel; walls and floor are of one tone, so that hardly
anything else tells one place from the next.
"""

from __future__ import annotations

import numpy as np

from spark3r_core.synthetic import materials
from spark3r_core.synthetic.primitives import Layout

GAP = 1.7  # from door to door
HALF_WIDTH, HEIGHT = 0.42, 2.03  # of a door
ENDS = 0.5  # without a door, at either end


def furnish_doors(layout: Layout, rng: np.random.Generator) -> None:
    """Equal doors along both long walls, opposite each other, and one picture at the far end."""
    low, high = layout.room_min, layout.room_max
    wood, frame, sheet, handle = materials.furniture(rng), materials.plain(rng), materials.picture(rng), rng.random()
    paper = np.array([0.02, rng.uniform(0.12, 0.2), rng.uniform(0.1, 0.16)])
    plate, handle_at = materials.plain(rng), 0.3 * np.sign(handle - 0.5)
    for side in (low[0], high[0]):
        for z in np.arange(low[2] + ENDS + HALF_WIDTH, high[2] - ENDS - HALF_WIDTH, GAP):
            layout.box([side, -HEIGHT / 2, z], [0.03, HEIGHT / 2, HALF_WIDTH], wood)
            layout.box([side, -HEIGHT / 2 - 0.02, z], [0.02, HEIGHT / 2 + 0.05, HALF_WIDTH + 0.07], frame)
            layout.box([side, -1.05, z + handle_at], [0.07, 0.012, 0.06], plate)
            layout.box([side, -1.45, z + HALF_WIDTH + 0.32], paper, sheet)
    layout.box([0, -1.4, high[2]], [0.5, 0.35, 0.03], materials.picture(rng))


def doors_walk(room_min: np.ndarray, room_max: np.ndarray, share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Position (S, 3) and yaw (S,) at shares 0…1 of the way along the corridor, looking at its right wall and ahead."""
    z = room_min[2] + 0.7 + share * (room_max[2] - room_min[2] - 2.4)
    sway = 0.06 * np.sin(z[:, None] * np.array([2.3, 3.1]) + np.array([0.0, 1.0]))
    position = np.stack([sway[:, 0] - 0.1, -1.4 + 0.3 * sway[:, 1], z], 1)
    return position, np.deg2rad(38) + 0.8 * sway[:, 1]
