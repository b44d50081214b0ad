"""A rolling pool of rendered sequences on disk, filled by one process and read by the trainer.

Rendering a frame costs as much as a few percent of training on it; each sequence is therefore drawn several times,
with other frames, directions, mirrorings and colours, before it is replaced. The pool survives restarts, so that a
resumed run trains from its first second on.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from tools.training.curriculum import Aspect, Step, choose_frames
from tools.training.window import Window

if TYPE_CHECKING:
    from spark3r_core.synthetic.sequence import TrainingBatch

SEQUENCE_FRAMES = 12
WORLDS_PER_RENDER = 2
FIRST_FRAMES = 1500


@dataclass
class AspectPool:
    """Memory-mapped slots of one image shape. `stamp[slot]` is odd while the slot is being written, 0 while empty."""

    images: np.memmap  # (N, F, 3, H, W) uint8
    depth: np.memmap  # (N, F, H, W) float16, inf for sky
    poses: np.memmap  # (N, F, 4, 4) float32 world_from_camera
    intrinsics: np.memmap  # (N, F, 3, 3) float32
    stamp: np.memmap  # (N,) int64

    @staticmethod
    def open(folder: Path, aspect: Aspect, slots: int, frames: int = SEQUENCE_FRAMES) -> AspectPool:
        """Open or create the files of one shape; the folder name carries everything their layout depends on."""
        height, width = aspect.image_hw
        folder = folder / f"{width}x{height}_{slots}x{frames}"
        folder.mkdir(parents=True, exist_ok=True)

        def array(name: str, dtype: str, *shape: int) -> np.memmap:
            path = folder / f"{name}.bin"
            mode = "r+" if path.exists() else "w+"
            return np.memmap(path, dtype=dtype, mode=mode, shape=shape)

        return AspectPool(
            array("images", "uint8", slots, frames, 3, height, width),
            array("depth", "float16", slots, frames, height, width),
            array("poses", "float32", slots, frames, 4, 4),
            array("intrinsics", "float32", slots, frames, 3, 3),
            array("stamp", "int64", slots),
        )

    def write(
        self, slot: int, images: np.ndarray, depth: np.ndarray, poses: np.ndarray, intrinsics: np.ndarray
    ) -> None:
        stamp = int(self.stamp[slot])
        stamp += 1 - stamp % 2  # a writer that died half-way left it odd
        self.stamp[slot] = stamp
        self.images[slot], self.depth[slot] = images, depth
        self.poses[slot], self.intrinsics[slot] = poses, intrinsics
        self.stamp[slot] = stamp + 1

    def ready(self) -> np.ndarray:
        stamp = np.asarray(self.stamp)
        return np.flatnonzero((stamp > 0) & (stamp % 2 == 0))


class Pool:
    """The trainer's side: draws windows.

    Args:
        folder: where the files live (an ignored folder).
        slots: sequences kept in all, shared out by the aspects' shares.
    """

    def __init__(self, folder: Path, aspects: Sequence[Aspect], slots: int, frames: int = SEQUENCE_FRAMES) -> None:
        self.aspects = tuple(aspects)
        self.parts = [AspectPool.open(folder, a, max(8, round(slots * a.share)), frames) for a in aspects]
        self.counters = open_counters(folder)

    def wait_until_ready(self, aspect: int, sequences: int, poll_s: float = 1.0, timeout_s: float = 600.0) -> None:
        deadline = time.monotonic() + timeout_s
        while len(self.parts[aspect].ready()) < sequences:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the renderer has not filled {sequences} sequences in {timeout_s:.0f} s")
            time.sleep(poll_s)

    def draw(self, step: Step, rng: np.random.Generator) -> Window:
        """A window per sample, each from a sequence of its own, on the CPU; shapes as in `Window`."""
        part = self.parts[step.aspect]
        if len(part.ready()) < step.batch:
            part = self.parts[0]
        samples = [self._sample(part, step, rng) for _ in range(step.batch)]
        self.counters[DRAWN] += step.batch * step.frames
        images, depth, poses, intrinsics = (torch.from_numpy(np.stack(column)) for column in zip(*samples, strict=True))
        return Window(images.float() / 255.0, depth.float(), poses, intrinsics)

    def _sample(self, part: AspectPool, step: Step, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        while True:
            slot = int(rng.choice(part.ready()))
            before = int(part.stamp[slot])
            chosen = choose_frames(step, part.images.shape[1], rng)
            sample = (part.images[slot][chosen], part.depth[slot][chosen], part.poses[slot][chosen])
            sample = (*sample, part.intrinsics[slot][chosen])
            if before % 2 == 0 and int(part.stamp[slot]) == before:
                return sample


DRAWN, RENDERED, NEXT_SEED = 0, 1, 2


def open_counters(folder: Path) -> np.memmap:
    """Frames drawn, frames rendered and the next training seed, shared between both processes and restarts."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "counters.bin"
    return np.memmap(path, dtype="int64", mode="r+" if path.exists() else "w+", shape=(4,))


def fill_forever(
    folder: str, aspects: Sequence[Aspect], slots: int, fresh_share: float, parent: int, views: str, stock: int
) -> None:
    """Body of the rendering process: a first stock at once, then as many frames as training pays for.

    When all slots are full the oldest give way.

    Args:
        fresh_share: frames rendered per frame drawn.
        parent: process id to follow; rendering ends when it is gone.
        views: what the sequences are, one of VIEWS.
        stock: frames rendered before any is drawn.
    """
    from spark3r_core.synthetic.seeds import TRAIN

    torch.set_num_threads(1)
    os.nice(5)
    pools = [AspectPool.open(Path(folder), a, max(8, round(slots * a.share))) for a in aspects]
    counters = open_counters(Path(folder))
    position = [len(pool.ready()) % len(pool.stamp) for pool in pools]
    written = np.array([float(len(pool.ready())) for pool in pools])
    share = np.array([a.share for a in aspects])
    while os.getppid() == parent:
        if counters[RENDERED] > stock + fresh_share * counters[DRAWN]:
            time.sleep(0.2)
            continue
        which = 0 if len(pools[0].ready()) < 24 else int(np.argmin(written / share))
        seeds = [TRAIN.start + int(counters[NEXT_SEED] + i) % len(TRAIN) for i in range(WORLDS_PER_RENDER)]
        counters[NEXT_SEED] += len(seeds)
        for sequence in VIEWS[views](seeds, aspects[which]):
            pools[which].write(position[which], *sequence)
            position[which] = (position[which] + 1) % len(pools[which].stamp)
            counters[RENDERED] += SEQUENCE_FRAMES
        written[which] += WORLDS_PER_RENDER


def render_sequences(
    seeds: Sequence[int], aspect: Aspect, frames: int = SEQUENCE_FRAMES
) -> list[tuple[np.ndarray, ...]]:
    """(images uint8, depth float16, poses, intrinsics) of each seed; spacing and revisits vary with the seed."""
    from spark3r_core.synthetic.sequence import sample_batch

    rng = np.random.default_rng(seeds[0])
    low = int(rng.choice([3, 6, 10, 15], p=[0.15, 0.3, 0.35, 0.2]))
    return _as_stored(
        sample_batch(seeds, frames, aspect.image_hw, "cpu", spacing=(low, 2 * low), revisit_probability=0.3)
    )


def render_keyframes(
    seeds: Sequence[int], aspect: Aspect, frames: int = SEQUENCE_FRAMES, *, as_before: bool = False
) -> list[tuple[np.ndarray, ...]]:
    """As `render_sequences`, of views as the mapper sees them; see `keyframe_batch`."""
    from tools.training.keyframes import keyframe_batch

    batches = (keyframe_batch(seed, frames, aspect.image_hw, as_before=as_before) for seed in seeds)
    return [sequence for batch in batches for sequence in _as_stored(batch)]


VIEWS = {"neighbours": render_sequences, "keyframes": render_keyframes}


def _as_stored(batch: TrainingBatch) -> list[tuple[np.ndarray, ...]]:
    images = (batch.images.clamp(0, 1) * 255 + 0.5).to(torch.uint8).numpy()
    depth = batch.depth.to(torch.float16).numpy()
    poses = batch.world_from_camera.float().numpy()
    intrinsics = batch.intrinsics.float().numpy()
    return list(zip(images, depth, poses, intrinsics, strict=True))
