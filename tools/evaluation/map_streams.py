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
        z = self.depth[first, v, u].astype(np.float64)
        camera = self.intrinsics / np.array([[DEPTH_STEP], [DEPTH_STEP], [1.0]])
        pixels = np.stack([u + 0.5, v + 0.5], 1)
        known = np.isfinite(z)
        rays = (pixels - camera[:2, 2]) / camera[[0, 1], [0, 1]]
        points = np.concatenate([rays, np.ones((len(rays), 1))], 1)[known] * z[known, None]
        at = se3.transform_points(se3.compose(se3.invert(self.truth[second]), self.truth[first]), points)
        ahead = at[:, 2] > 1e-3
        uv = at[:, :2] / np.where(ahead, at[:, 2], 1.0)[:, None] * camera[[0, 1], [0, 1]] + camera[:2, 2]
        inside = ahead & ((uv >= 0) & (uv < np.array([width, height]))).all(1)
        there = self.depth[second, uv[inside, 1].astype(int), uv[inside, 0].astype(int)]
        seen = np.abs(there - at[inside, 2]) < OCCLUDED * at[inside, 2]
        return float(seen.sum()) / max(1, int(known.sum()))


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
