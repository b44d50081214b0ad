"""Which page goes when a layer is full. Pure functions of frame numbers (and, for views, of distances)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np

ChooseVictim = Callable[[int, Sequence[int]], int]
"""(layer, frames with a page there, ascending) -> the frame to evict."""


def thinned(layer: int, frames: Sequence[int], count: int, choose_victim: ChooseVictim) -> list[int]:
    """At most `count` of `frames` (ascending): victims leave one by one, as if a layer's pages were evicted."""
    kept = list(frames)
    while len(kept) > count:
        kept.remove(choose_victim(layer, kept))
    return kept


def recent_pages(capacity: int, max_new_frames: int) -> int:
    """Newest pages that stay unless told otherwise: one window's worth, a quarter of the capacity at most."""
    return min(max_new_frames, capacity // 4)


def pinned(frames: Sequence[int], anchors: Collection[int], recent: int) -> set[int]:
    """Frames that no policy gives up: the anchors, and the `recent` newest ones."""
    newest = sorted(frames)[max(0, len(frames) - recent) :] if recent else []
    return {*newest, *(frame for frame in frames if frame in anchors)}


def spread_victim(frames: Sequence[int], protected: Collection[int] = ()) -> int:
    """Spark3R's temporal stride, online: the page whose removal leaves the smallest gap.

    The stride ceil(S / 40) needs the length of the stream, which a live camera has not; its effect, pages spread over
    the whole history, is kept by always closing the smallest gap. Both ends stay: the newest because it will soon be
    the past, the oldest because nothing spans it. For a history of N frames and a capacity c < N, with
    r = ceil(N / c), every multiple of r keeps a page within r frames and no gap exceeds 2 r (property test).

    Args:
        frames: frame numbers with a page, ascending.
        protected: frames that must stay (anchors, recent ones).

    Returns:
        The frame to evict. Among equal gaps the older one, so that recent detail stays longer. When everything but
        the ends is protected the newest unprotected end goes; when all are protected the oldest that is not the
        first, because a full layer must give up something.
    """
    if len(frames) < 2:
        raise ValueError(f"nothing to choose from: {list(frames)}")
    inner = [i for i in range(1, len(frames) - 1) if frames[i] not in protected]
    if inner:
        return frames[min(inner, key=lambda i: (frames[i + 1] - frames[i - 1], i))]
    ends = [frame for frame in (frames[-1], frames[0]) if frame not in protected]
    return ends[0] if ends else frames[1]


def view_victim(frames: Sequence[int], distances: np.ndarray, protected: Collection[int] = ()) -> int:
    """Spread over views: the page that is most like another one (the reverse of farthest-first, k-centre, choice).

    Args:
        frames: frame numbers with a page, ascending.
        distances: (len(frames), len(frames)) symmetric, e.g. 1 - cosine of the pages' mean keys.
        protected: frames that must stay.

    Returns:
        The unprotected frame with the nearest neighbour of all; of two that are each other's nearest, the newer, so
        that the view that has carried the map stays.
    """
    if len(frames) < 2:
        raise ValueError(f"nothing to choose from: {list(frames)}")
    nearest = np.array(distances, dtype=np.float64)
    np.fill_diagonal(nearest, np.inf)
    nearest_distance = nearest.min(axis=1)
    choices = [i for i, frame in enumerate(frames) if frame not in protected]
    if not choices:
        return frames[1]
    return frames[min(choices, key=lambda i: (nearest_distance[i], -i))]
