"""What a training step sees: how many frames, which ones of a rendered sequence, at which aspect ratio.

Everything is a pure function of (plan, frames seen so far, step, generator), so that a resumed run draws what the
uninterrupted one would have drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tools.training.schedule import Schedule, draw_schedule

ONE_ASPECT_FRAMES = 16_000
PAIRS_FRAMES = 200_000  # windows at 22,000 frames already left matching at 55 % and translations unlearned
GROWTH_FRAMES = 30_000
PHASES = ("bidirectional", "streams", "keyframes")
STREAM_SHARE = 0.65  # of the steps of phase "streams"; the rest keeps pairs and windows alive
STREAM_FRAMES = {6: 0.2, 8: 0.3, 12: 0.5}  # length: share; divisors of the 24 frames of a step
# Of a keyframe's window the mapper sees the anchor, the newest keyframe and itself, and of older ones their pages.
KEYFRAME_WINDOWS = {("single", 1): 0.15, ("pair", 2): 0.2, ("stream", 3): 0.35, ("stream", 6): 0.15, ("any", 6): 0.15}


@dataclass(frozen=True)
class Aspect:
    """An image shape and how often it is drawn. Grids keep about 192 patches of 12 pixels."""

    image_hw: tuple[int, int]
    share: float


ASPECTS = (
    Aspect((144, 192), 0.56),  # 4:3, 16x12 patches
    Aspect((120, 216), 0.20),  # 9:5, 18x10
    Aspect((96, 312), 0.08),  # 3.25:1, 26x8
    Aspect((192, 144), 0.06),  # 3:4
    Aspect((216, 120), 0.05),  # 5:9
    Aspect((168, 168), 0.05),  # square
)
KEYFRAME_ASPECTS = (
    Aspect((144, 192), 0.36),
    Aspect((120, 216), 0.25),
    Aspect((96, 312), 0.09),
    Aspect((192, 144), 0.12),
    Aspect((216, 120), 0.12),
    Aspect((168, 168), 0.06),
)


@dataclass(frozen=True)
class Step:
    """frames per window (B follows from the frame budget), the kind of window, the aspect index, and how the frames of
    a stream are cut into windows of their own (None: they are not).
    """

    frames: int
    kind: str  # "first", "pair", "single", "near", "stream", "any"
    aspect: int
    batch: int
    schedule: Schedule | None = None


def plan_step(
    frames_seen: int,
    frames_per_batch: int,
    rng: np.random.Generator,
    max_frames: int,
    aspects: Sequence[Aspect],
    phase: str = "bidirectional",
) -> Step:
    """Pairs first; then windows grow from 3 to `max_frames` while pairs, stills and singles stay in the mix.

    In phase "streams" most steps are streams instead: runs of neighbours that begin at any frame, cut into windows. In
    phase "keyframes", windows of the sizes that the mapper shows the network.
    """
    if phase == "keyframes":
        aspect = int(rng.choice(len(aspects), p=[a.share / sum(b.share for b in aspects) for a in aspects]))
        which = int(rng.choice(len(KEYFRAME_WINDOWS), p=list(KEYFRAME_WINDOWS.values())))
        kind, frames = list(KEYFRAME_WINDOWS)[which]
        return Step(frames, kind, aspect, max(1, frames_per_batch // frames))
    if frames_seen < ONE_ASPECT_FRAMES:
        aspect = 0  # one grid until matching has emerged
    else:
        aspect = int(rng.choice(len(aspects), p=[a.share / sum(b.share for b in aspects) for a in aspects]))
    if phase == "streams" and rng.random() < STREAM_SHARE:
        frames = int(rng.choice(list(STREAM_FRAMES), p=list(STREAM_FRAMES.values())))
        return Step(frames, "near", aspect, max(1, frames_per_batch // frames), draw_schedule(frames, rng))
    if frames_seen < PAIRS_FRAMES or max_frames < 3:
        kind, frames = ("first", 2)
    else:
        growth = min(1.0, (frames_seen - PAIRS_FRAMES) / GROWTH_FRAMES)
        kinds = ("pair", "single", "near", "stream", "any")
        share = np.array([0.45 - 0.25 * growth, 0.03, 0.27, 0.15 + 0.20 * growth, 0.10 + 0.05 * growth])
        kind = str(rng.choice(kinds, p=share / share.sum()))
        longest = 3 + round((max_frames - 3) * growth)
        frames = {"pair": 2, "single": 1}.get(kind) or int(rng.integers(3, longest + 1))
    return Step(frames, kind, aspect, max(1, frames_per_batch // frames))


def choose_frames(step: Step, available: int, rng: np.random.Generator) -> np.ndarray:
    """Indices (S,) into a rendered sequence of `available` frames, the first one being the anchor.

    first: pairs one to four apart, which move by more than a patch; pair: neighbours mostly, sometimes two or three
    apart, one in twelve a frame with itself (zero motion);
    near: a run of neighbours; stream: an anchor anywhere and a run of recent frames far from it, as a stream's window
    is; any: an arbitrary choice in time order. Time runs backwards in half of all cases.
    """
    if step.kind == "single":
        return rng.integers(0, available, size=1)
    if step.kind in ("first", "pair"):
        share = [0.0, 0.3, 0.3, 0.25, 0.15] if step.kind == "first" else [0.08, 0.42, 0.25, 0.15, 0.1]
        gap = int(rng.choice(5, p=share))
        start = int(rng.integers(0, available - gap))
        chosen = np.array([start, start + gap])
    elif step.kind == "near":
        stride = 2 if 2 * (step.frames - 1) < available and rng.random() < 0.3 else 1
        start = int(rng.integers(0, available - stride * (step.frames - 1)))
        chosen = start + stride * np.arange(step.frames)
    elif step.kind == "stream":
        run = min(int(rng.integers(2, 4)), step.frames - 1)
        start = int(rng.integers(step.frames - run, available - run + 1))
        support = rng.choice(start, size=step.frames - run, replace=False)
        chosen = np.concatenate([np.sort(support), start + np.arange(run)])
    else:
        chosen = np.sort(rng.choice(available, size=step.frames, replace=False))
    return chosen[::-1].copy() if rng.random() < 0.5 and step.kind != "stream" else chosen
