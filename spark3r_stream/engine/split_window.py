"""Which frames of a batch may share a window."""

from __future__ import annotations

from collections.abc import Sequence

from spark3r_stream.frame import Frame

MAX_ASPECT_CHANGE = 1.25  # beyond this the padding would outweigh the image, so a submap of its own is cleaner


def split_window(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Cut a batch where the epoch or (too far) the image shape changes: such frames must not share a window."""
    parts: list[list[Frame]] = []
    for frame in frames:
        if parts:
            before = parts[-1][-1]
            same_shape = _aspect_change(before, frame) <= MAX_ASPECT_CHANGE
            if frame.epoch == before.epoch and same_shape:
                parts[-1].append(frame)
                continue
        parts.append([frame])
    return parts


def _aspect_change(a: Frame, b: Frame) -> float:
    ratio = (a.image.shape[1] / a.image.shape[0]) / (b.image.shape[1] / b.image.shape[0])
    return max(ratio, 1 / ratio)
