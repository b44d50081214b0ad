"""The pictures of a world for maps, kept on the disk since rendering costs more than running, and what two share."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry import se3
from tools.evaluation.map_worlds import MapWorld

Array = NDArray[np.float64]
DEPTH_STEP, ASKED_STEP, OCCLUDED = 3, 2, 0.05  # pixels; of those, every so many; of depth, by which one is hidden


@dataclass(frozen=True)
class MapStream:
    """One rendered stream. images: (n, H, W, 3) uint8. depth: (n, h, w) float32, every DEPTH_STEP pixels, infinite for
    sky. truth: (n, 4, 4) world_from_camera. intrinsics: (3, 3) of the images. dark, began: see `MapWorld`."""

    name: str
    seed: int
    images: NDArray[np.uint8]
    depth: NDArray[np.float32]
    truth: Array
    intrinsics: Array
    dark: NDArray[np.bool_]
    began: int | None

    def overlap(self, first: int, second: int) -> float:
        """Share of what frame `first` shows that `second` shows too, hidden surfaces taken out."""
        if self.dark[first] or self.dark[second]:
            return 0.0
        height, width = self.depth.shape[1:]
        v, u = np.mgrid[0:height:ASKED_STEP, 0:width:ASKED_STEP].reshape(2, -1)
        places = DEPTH_STEP * np.stack([u + 0.5, v + 0.5], 1)
        known = np.isfinite(self.depth[first, v, u])
        uv, z = self.seen_at(first, second, places[known])
        inside = (z > 1e-3) & ((uv >= 0) & (uv < DEPTH_STEP * np.array([width, height]))).all(1)
        columns, rows = (uv[inside] / DEPTH_STEP).astype(int).T
        seen = np.abs(self.depth[second, rows, columns] - z[inside]) < OCCLUDED * z[inside]
        return float(seen.sum()) / max(1, int(known.sum()))

    def seen_at(self, first: int, second: int, places: Array) -> tuple[Array, Array]:
        """Where frame `second` has what `first` has at these pixels (n, 2): pixels (n, 2), nan for sky, and depth (n,)
        there, whether it is hidden or not."""
        u, v = np.minimum((places / DEPTH_STEP).astype(int), np.array(self.depth.shape[:0:-1]) - 1).T
        z = self.depth[first, v, u].astype(np.float64)
        camera = self.intrinsics
        rays = np.concatenate([(places - camera[:2, 2]) / camera[[0, 1], [0, 1]], np.ones((len(places), 1))], 1)
        points = rays * np.where(np.isfinite(z), z, np.nan)[:, None]
        at = se3.transform_points(se3.compose(se3.invert(self.truth[second]), self.truth[first]), points)
        ahead = np.where(at[:, 2] > 1e-3, at[:, 2], np.nan)
        return at[:, :2] / ahead[:, None] * camera[[0, 1], [0, 1]] + camera[:2, 2], at[:, 2]


def rendered(world: MapWorld, cache: Path | None) -> MapStream:
    """Render a world, or read what was rendered of the same world and way before. cache: a folder."""
    kept = None if cache is None else cache / f"{world.name}_{world.seed}_{_digest(world)}.npz"
    if kept is None or not kept.exists():
        images, depth = _render(world)
        if kept is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            partial = kept.with_suffix(".part.npz")
            np.savez(partial, images=images, depth=depth)
            partial.rename(kept)
    else:
        with np.load(kept) as found:
            images, depth = found["images"], found["depth"]
    return MapStream(
        world.name,
        world.seed,
        images,
        depth,
        world.sequence.world_from_camera,
        world.sequence.intrinsics,
        world.dark,
        world.began,
    )


def _render(world: MapWorld) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    height, width = world.sequence.image_hw
    rows, columns = (np.arange(DEPTH_STEP // 2, size, DEPTH_STEP) for size in (height, width))
    images = np.zeros((len(world.dark), height, width, 3), np.uint8)
    depth = np.full((len(world.dark), len(rows), len(columns)), np.inf, np.float32)
    for frame in np.flatnonzero(~world.dark).tolist():
        images[frame], full, _, _ = world.sequence.frame(frame)
        depth[frame] = full[np.ix_(rows, columns)]
    return images, depth


def _digest(world: MapWorld) -> str:
    """Of everything that a picture is made of, the renderer itself excepted."""
    sequence = world.sequence
    parts = [sequence.world_from_camera, world.dark, sequence.intrinsics, np.array(sequence.image_hw)]
    solid = sequence.worlds
    parts += [one.numpy() for one in (solid.centre, solid.half, solid.material, solid.lamp_position, solid.ambient)]
    if sequence.movers is not None:
        parts += [sequence.movers.centre.numpy(), sequence.movers.material.numpy()]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()[:16]
