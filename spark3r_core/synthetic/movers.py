"""Things that walk through a room while a camera looks at it: what must be taken neither for the camera's motion nor
for a place."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from spark3r_core.synthetic import materials
from spark3r_core.synthetic.steering import Gait, steer
from spark3r_core.synthetic.world import SHELL_FACES, Worlds

HALF = np.array([0.24, 0.8, 0.17])  # of a body; its head stands on it
HEAD = np.array([0.1, 0.13, 0.1])
CLEARANCE, TRIES = 0.35, 12
LEAST_AWAY, MOST_AWAY, SEEN_COSINE = 0.8, 4.0, 0.86  # of a camera that is to see it; half of a field of view


@dataclass(frozen=True)
class Movers:
    """K boxes that move. centre (S, K, 3), rotation (S, K, 3, 3) at each of S frames; half (K, 3); material (K, rows)
    as in `Worlds`."""

    centre: torch.Tensor
    rotation: torch.Tensor
    half: torch.Tensor
    material: torch.Tensor


def walking(worlds: Worlds, seed: int, world_from_camera: np.ndarray, count: int) -> Movers:
    """`count` that walk through the first of the worlds, each where the camera (S, 4, 4) sees it most but does not run
    into it."""
    distance, frames = worlds.distance(0), len(world_from_camera)
    times = np.arange(frames, dtype=np.float64)
    centres, rotations, halves, rows = [], [], [], []
    for number in range(count):
        best, best_seen = (np.zeros((frames, 3)), np.zeros(frames)), -1.0
        for attempt in range(TRIES):
            rng = np.random.default_rng([41, seed, number, attempt])
            gait = Gait(rng.uniform(0.015, 0.035), np.deg2rad(3.0), (HALF[1], HALF[1]), level=True, looks_ahead=True)
            position, yaw, _ = steer(rng, distance, times, float(frames), gait, CLEARANCE, revisit=False)
            seen = _seen(position, world_from_camera)
            if seen > best_seen:
                best, best_seen = (position, yaw), seen
        position, yaw = best
        c, s, zero, one = np.cos(yaw), np.sin(yaw), np.zeros(frames), np.ones(frames)
        turn = np.stack([c, zero, s, zero, one, zero, -s, zero, c], -1).reshape(-1, 3, 3)
        rng = np.random.default_rng([43, seed, number])
        for half, up, material in ((HALF, 0.0, materials.cloth(rng)), (HEAD, HALF[1] + HEAD[1], materials.small(rng))):
            centres.append(position - np.array([0.0, up, 0.0]))
            rotations.append(turn)
            halves.append(half)
            rows.append(material.rows())
    return Movers(
        torch.from_numpy(np.stack(centres, 1)).float(),
        torch.from_numpy(np.stack(rotations, 1)).float(),
        torch.from_numpy(np.stack(halves)).float(),
        torch.tensor(rows, dtype=torch.float32),
    )


def _seen(position: np.ndarray, world_from_camera: np.ndarray) -> float:
    """Share of frames in which the camera looks at what stands there; less than 0 where it comes too close."""
    offset = position - world_from_camera[:, :3, 3]
    away = np.linalg.norm(offset[:, [0, 2]], axis=1)
    ahead = (offset * world_from_camera[:, :3, 2]).sum(1) / np.maximum(np.linalg.norm(offset, axis=1), 1e-9)
    return float(((ahead > SEEN_COSINE) & (away < MOST_AWAY)).mean()) - float(away.min() < LEAST_AWAY)


def with_movers(worlds: Worlds, movers: Movers, frame: int) -> Worlds:
    """The one world with its movers where they are at a frame: so many boxes more."""
    at = SHELL_FACES + worlds.box_count

    def joined(own: torch.Tensor, more: torch.Tensor) -> torch.Tensor:
        return torch.cat([own[:, :at], more[None].to(own), own[:, at:]], 1)

    return replace(
        worlds,
        box_count=worlds.box_count + len(movers.half),
        centre=joined(worlds.centre, movers.centre[frame]),
        rotation=joined(worlds.rotation, movers.rotation[frame]),
        half=joined(worlds.half, movers.half),
        material=joined(worlds.material, movers.material),
    )
