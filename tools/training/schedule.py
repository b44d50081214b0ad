"""How a training stream is cut into windows: what is new, what is run again, what may be remembered. Integers only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spark3r_core.memory.config import SUPPORT_RECENT

WINDOW_SHARES = (0.1, 0.2, 0.3, 0.4)  # of windows with 1, 2, 3, 4 new frames: three on average
MAX_NEW_FRAMES = len(WINDOW_SHARES)
ANCHOR_ONLY_SHARE = 0.15  # of streams whose windows run no frame again but the anchor
REANCHORED_SHARE = 0.3  # of streams that begin anew on the way, as a chain of gauges does


@dataclass(frozen=True)
class StreamWindow:
    """Frames of one window, by their index in the stream.

    support: run again, the anchor first; empty in a stream's first window. new: the frames that follow.
    begins: nothing is remembered from before: the stream begins, or its newest frame becomes the anchor.
    """

    support: tuple[int, ...]
    new: tuple[int, ...]
    begins: bool

    @property
    def frames(self) -> tuple[int, ...]:
        """In the order in which they are decoded; the first one is the anchor, whose camera is the world."""
        return self.support + self.new


@dataclass(frozen=True)
class Schedule:
    """Windows of a stream, and how many pages each layer keeps from one to the next."""

    windows: tuple[StreamWindow, ...]
    pages: int


def cut(sizes: Sequence[int], pages: int, recent: int = SUPPORT_RECENT, reanchored: int | None = None) -> Schedule:
    """Windows of `sizes` new frames, each run together with the anchor and the `recent` newest frames.

    reanchored: index of a window, not the first, before which the newest frame becomes the anchor of an empty memory
    (as `StreamSession` does after `MemoryConfig.reanchor_every` frames).
    """
    windows: list[StreamWindow] = []
    anchor = count = 0
    for index, size in enumerate(sizes):
        begins = index in (0, reanchored)
        if index and begins:
            anchor = count - 1
        newest = range(max(anchor + 1, count - recent), count)
        support = (anchor, *newest) if index else ()
        windows.append(StreamWindow(support, tuple(range(count, count + size)), begins))
        count += size
    return Schedule(tuple(windows), pages)


def whole(frames: int) -> Schedule:
    """All frames in one window: the bidirectional network."""
    return cut([frames], frames)


def draw_schedule(frames: int, rng: np.random.Generator) -> Schedule:
    """Random windows, support, re-anchoring and number of pages, from the anchor alone to all frames."""
    sizes: list[int] = []
    while sum(sizes) < frames:
        size = 1 + int(rng.choice(len(WINDOW_SHARES), p=WINDOW_SHARES))
        sizes.append(min(size, frames - sum(sizes)))
    recent = 0 if rng.random() < ANCHOR_ONLY_SHARE else SUPPORT_RECENT
    pages = int(rng.integers(1, frames + 1))
    chained = rng.random() < REANCHORED_SHARE and len(sizes) > 1
    return cut(sizes, pages, recent, int(rng.integers(1, len(sizes))) if chained else None)
