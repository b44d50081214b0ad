"""How many new frames the next window takes. A pure function of facts: what waits, not what the camera claims."""

from __future__ import annotations

from dataclasses import dataclass

FILE_WINDOW = 4  # re-running anchor and newest frame costs 1.5x at four new frames, 3x at one (docs/streaming.md)
MAX_WINDOW = 8


@dataclass(frozen=True)
class WindowPlan:
    """min_frames: wait for this many (a file's last window may be shorter); max_frames: take at most this many."""

    min_frames: int
    max_frames: int


def most_new_frames(window: int | None, is_file: bool) -> int:
    """New frames a window may get under `plan_window`, for which a memory reserves slots.

    is_file: certain before the source is open; in doubt a live source is assumed, which takes more.
    """
    if window is not None:
        return window
    return FILE_WINDOW if is_file else MAX_WINDOW


def plan_window(is_live: bool, window: int | None, max_frames: int = MAX_WINDOW) -> WindowPlan:
    """The window rule of a session.

    Args:
        is_live: a live source runs a window as soon as one frame waits and takes all that wait, so windows grow
            exactly when the network lags; a file fills every window, so that a run does not depend on thread timing.
        window: a fixed number of new frames, or None for the automatic rule.
        max_frames: slots the memory was laid out for.
    """
    if window is not None:
        if not 1 <= window <= max_frames:
            raise ValueError(f"a window of {window} new frames; this session takes 1 to {max_frames}")
        return WindowPlan(window, window)
    if is_live:
        return WindowPlan(1, max_frames)
    return WindowPlan(min(FILE_WINDOW, max_frames), min(FILE_WINDOW, max_frames))
