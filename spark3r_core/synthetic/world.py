"""Worlds as padded tensors of analytic primitives, ready to be ray-cast in one batch.

World axes: y points down, the floor is y = 0. A camera stands inside the room shell, outside every primitive.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spark3r_core.errors import GeometryError
from spark3r_core.synthetic import materials
from spark3r_core.synthetic.distance import WorldDistance
from spark3r_core.synthetic.layout import KINDS, build_layout
from spark3r_core.synthetic.primitives import Layout
from spark3r_core.synthetic.seeds import pattern_bank_of

SHELL_FACES = 6  # -x, +x, ceiling (-y), floor (+y), -z, +z
SUN_DISTANCE = 60.0
DRAWN_KINDS = {"room": 0.55, "corridor": 0.2, "court": 0.25}  # what a seed decides about
PADDING_Y = 1e4  # padded primitives lie far below the floor, where no ray gets


@dataclass(frozen=True)
class Worlds:
    """W worlds with P primitives each: 6 shell faces, then boxes, spheres, cylinders, each kind padded to the longest
    world.

    Rotations are world_from_object. `half` is the half extent; spheres repeat their radius, cylinders hold (radius,
    half height, radius) about their local y axis. Lights are linear; `sun_direction` points towards the sun.
    """

    seeds: tuple[int, ...]
    kinds: tuple[str, ...]
    box_count: int
    sphere_count: int
    cylinder_count: int
    room_min: Tensor  # (W, 3)
    room_max: Tensor  # (W, 3)
    walk_min: Tensor  # (W, 3) the part of the room that cameras keep to; outdoors there is more to see
    walk_max: Tensor  # (W, 3)
    open_sky: Tensor  # (W,) bool
    centre: Tensor  # (W, P, 3)
    rotation: Tensor  # (W, P, 3, 3)
    half: Tensor  # (W, P, 3)
    material: Tensor  # (W, P, MATERIAL_ROWS)
    sun_direction: Tensor  # (W, 3) unit
    sun_colour: Tensor  # (W, 3)
    lamp_position: Tensor  # (W, 3)
    lamp_colour: Tensor  # (W, 3)
    ambient: Tensor  # (W, 3)
    shadow_origin: Tensor  # (W, 3) where the light that casts shadows is; the sun is taken to be SUN_DISTANCE away
    shadow_depth: Tensor  # (W, 2) share of sun and of lamp that a shadow takes; 0 where light is diffuse
    bank: Tensor  # (W,) int64, texture bank

    def __len__(self) -> int:
        return len(self.seeds)

    @property
    def device(self) -> torch.device:
        return self.centre.device

    @property
    def bounds(self) -> Tensor:
        """(W, 2, 3): lower and upper corner of each room shell."""
        return torch.stack([self.room_min, self.room_max], dim=1)

    def to(self, device: str | torch.device) -> Worlds:
        """The same worlds with their tensors on `device`."""
        moved = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        tensors: dict[str, Any] = {name: value.to(device) for name, value in moved.items() if isinstance(value, Tensor)}
        return dataclasses.replace(self, **tensors)

    def distance(self, index: int) -> WorldDistance:
        """Signed distance to all solids of world `index` and to the end of where cameras may be; numpy float64."""
        first = np.cumsum([0, SHELL_FACES, self.box_count, self.sphere_count, self.cylinder_count])
        centre, rotation, half = (t[index].double().cpu().numpy() for t in (self.centre, self.rotation, self.half))
        real = centre[:, 1] < PADDING_Y / 2
        parts = [np.flatnonzero(real[a:b]) + a for a, b in pairwise(first[1:])]
        low, high = self.walk_min[index].double().cpu().numpy(), self.walk_max[index].double().cpu().numpy()
        return WorldDistance(
            room_min=low,
            room_max=high,
            open_sky=bool(self.open_sky[index]),
            boxes=(centre[parts[0]], rotation[parts[0]], half[parts[0]]),
            spheres=(centre[parts[1]], half[parts[1], 0]),
            cylinders=(centre[parts[2]], half[parts[2], 0], half[parts[2], 1]),
        )

    def sample_free_point(
        self, index: int, rng: np.random.Generator, clearance: float = 0.4, height: tuple[float, float] = (0.8, 1.8)
    ) -> np.ndarray:
        """A point (3,) of world `index`, `height` above the floor and `clearance` from every surface; less where it
        is too full.
        """
        return self.distance(index).sample_free_point(rng, clearance, height)


def make_worlds(seeds: Sequence[int], device: str | torch.device = "cpu", kinds: Sequence[str] | None = None) -> Worlds:
    """Build one world per seed; the same seed gives the same world in any batch.

    `kinds` fixes the kind of each world (layout.KINDS); by default the seed decides. Raises
    GeometryError for an empty list or an unknown kind.
    """
    if len(seeds) == 0:
        raise GeometryError("make_worlds: no seeds given; expected at least one")
    layouts, rngs = [], []
    for position, seed in enumerate(seeds):
        rng = np.random.default_rng([11, int(seed)])
        drawn = str(rng.choice(list(DRAWN_KINDS), p=list(DRAWN_KINDS.values())))
        kind = drawn if kinds is None else kinds[position]
        if kind not in KINDS:
            raise GeometryError(f"make_worlds: unknown kind of world {kind!r}; expected one of {', '.join(KINDS)}")
        layouts.append(build_layout(rng, kind))
        rngs.append(rng)
    box_count, sphere_count, cylinder_count = (
        max(1, max(len(getattr(layout, name)) for layout in layouts)) for name in ("boxes", "spheres", "cylinders")
    )
    total = SHELL_FACES + box_count + sphere_count + cylinder_count
    count = len(layouts)
    centre = np.zeros((count, total, 3), np.float32)
    centre[:, SHELL_FACES:, 1] = PADDING_Y
    rotation = np.tile(np.eye(3, dtype=np.float32), (count, total, 1, 1))
    half = np.full((count, total, 3), 1e-3, np.float32)
    material = np.zeros((count, total, materials.MATERIAL_ROWS), np.float32)
    lights = np.zeros((count, 7, 3), np.float32)
    for w, (layout, rng) in enumerate(zip(layouts, rngs, strict=True)):
        shell = list(layout.shell)
        if layout.open_sky:
            shell[2] = materials.sky(rng)
        material[w, :SHELL_FACES] = [m.rows() for m in shell]
        first = SHELL_FACES
        for items, room in (
            (layout.boxes, box_count),
            (layout.spheres, sphere_count),
            (layout.cylinders, cylinder_count),
        ):
            for k, (c, r, h, m) in enumerate(items, start=first):
                centre[w, k], rotation[w, k], half[w, k], material[w, k] = c, r, h, m.rows()
            first += room
        lights[w] = _lights(layout, rng)

    def placed(values: np.ndarray | list) -> Tensor:
        array = np.asarray(values)
        return torch.from_numpy(array if array.dtype == bool else array.astype(np.float32)).to(device)

    return Worlds(
        seeds=tuple(int(seed) for seed in seeds),
        kinds=tuple(layout.kind for layout in layouts),
        box_count=box_count,
        sphere_count=sphere_count,
        cylinder_count=cylinder_count,
        room_min=placed([layout.room_min for layout in layouts]),
        room_max=placed([layout.room_max for layout in layouts]),
        walk_min=placed([layout.walk_min for layout in layouts]),
        walk_max=placed([layout.walk_max for layout in layouts]),
        open_sky=placed([layout.open_sky for layout in layouts]),
        centre=placed(centre),
        rotation=placed(rotation),
        half=placed(half),
        material=placed(material),
        sun_direction=placed(lights[:, 0]),
        sun_colour=placed(lights[:, 1]),
        lamp_position=placed(lights[:, 2]),
        lamp_colour=placed(lights[:, 3]),
        ambient=placed(lights[:, 4]),
        shadow_origin=placed(lights[:, 5]),
        shadow_depth=placed(lights[:, 6, :2]),
        bank=torch.tensor([pattern_bank_of(int(seed)) for seed in seeds], device=device),
    )


def _lights(layout: Layout, rng: np.random.Generator) -> np.ndarray:
    """(7, 3): sun direction, sun, lamp position, lamp, ambient, shadow origin, (sun, lamp, unused) depth of shadows."""
    direction = np.array([rng.normal(), -abs(rng.normal()) - 0.6, rng.normal()])
    direction /= np.linalg.norm(direction)
    tint, warm = 1 + rng.uniform(-0.15, 0.15, 3), 1 + rng.uniform(-0.15, 0.15, 3)
    low, high = layout.room_min, layout.room_max
    across = rng.uniform(0.6 * low, 0.6 * high)
    lamp = np.array([across[0], low[1] * rng.uniform(0.75, 0.95), across[2]])
    outdoors, hard = layout.open_sky, rng.random() < 0.4
    sun = rng.uniform(0.5, 1.1) if outdoors else rng.uniform(0.1, 0.5)
    lamp_strength = rng.uniform(0.0, 0.4) if outdoors else rng.uniform(0.5, 1.2)
    ambient = rng.uniform(0.35, 0.65) if hard else rng.uniform(0.55, 0.95)
    depth = rng.uniform(0.5, 1.0) if hard else 0.0
    shadow_origin = SUN_DISTANCE * direction if outdoors else lamp
    shadow_depth = np.array([depth, 0.0, 0.0] if outdoors else [0.0, depth, 0.0])
    return np.stack(
        [direction, sun * tint, lamp, lamp_strength * warm, ambient * (2 - tint), shadow_origin, shadow_depth]
    )
