"""How far two clocks are apart: of a camera whose motion was seen, and of a sensor that measured it.

What a sensor says was turned, or gone, in the time of each step from frame to frame is held against what was seen
there, for every offset of the clocks (cross-correlation). How far the best one is known follows from what is left over
and from how fast that grows beside it (the deviation of one unknown in least squares).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry.rotation import Array

SEARCHED_S, SEARCH_STEP_S = 1.0, 0.005
LEAST_STEPS, LEAST_LIKENESS, MOST_SIGMA_S = (
    20,
    0.8,
    0.008,
)  # of one that is believed: a quarter of a frame
MOST_ALIKE = 0.9  # correlation of one step's error with the next one's that is believed
RIVAL_APART_S, RIVAL_LIKENESS = 0.1, 0.05  # another offset that is as good, as for a camera that sways evenly

Times = NDArray[np.int64]


@dataclass(frozen=True)
class ClockOffset:
    """seconds: to be added to the times of the sensor. sigma: its standard deviation. likeness: correlation of what was
    measured and what was seen there. is_clear: whether it can be believed."""

    seconds: float
    sigma: float
    likeness: float
    is_clear: bool


def clock_offset(times_ns: Times, moved: Array, spans_ns: Times, seen: Array) -> ClockOffset | None:
    """The offset of the sensor's clock at which it says what was seen; None where samples or steps do not suffice.

    times_ns: (N,) rising. moved: (N, k) how much the sensor has moved since the first sample, radians about the
    camera's axes or a distance; its unit may be another than what was seen has. spans_ns: (M, 2) from frame to frame.
    seen: (M, k) what was seen in them. Every offset up to `SEARCHED_S` is tried.
    """
    if len(seen) < LEAST_STEPS or len(times_ns) < 2:
        return None
    origin = int(times_ns[0])
    seconds, spans = (times_ns - origin) / 1e9, (spans_ns - origin) / 1e9
    inside = (spans[:, 0] - SEARCHED_S > seconds[0]) & (spans[:, 1] + SEARCHED_S < seconds[-1])
    if inside.sum() < LEAST_STEPS:
        return None
    spans, seen = spans[inside], seen[inside] - seen[inside].mean(0)

    def said(offset: float) -> Array:
        """What varies of it."""
        at = spans - offset
        ends = np.stack([np.interp(at, seconds, column) for column in moved.T], -1)
        steps = ends[:, 1] - ends[:, 0]
        return np.asarray(steps - steps.mean(0))

    offsets = np.arange(-SEARCHED_S, SEARCHED_S + SEARCH_STEP_S / 2, SEARCH_STEP_S)
    likeness = np.array([_likeness(said(one), seen) for one in offsets])
    best = int(likeness.argmax())
    if best in (0, len(offsets) - 1):
        return ClockOffset(float(offsets[best]), np.inf, float(likeness[best]), False)
    before, at, after = likeness[best - 1 : best + 2]
    curve = before - 2 * at + after
    found = float(offsets[best] + (0.5 * (before - after) / curve if curve < 0 else 0.0) * SEARCH_STEP_S)
    there = said(found)
    unit = float((there * seen).sum()) / max(float(np.square(there).sum()), 1e-300)
    slope = unit * (said(found + SEARCH_STEP_S) - said(found - SEARCH_STEP_S)) / (2 * SEARCH_STEP_S)
    left, told = seen - unit * there, float(np.square(slope).sum())
    variance = float(np.square(left).sum()) / max(len(seen) - 1, 1) / told if told > 0 else np.inf
    sigma = float(np.sqrt(variance * _dependence(left)))
    is_clear = bool(at > LEAST_LIKENESS and sigma < MOST_SIGMA_S and not _has_rival(offsets, likeness, best))
    return ClockOffset(found, sigma, float(at), is_clear)


def _has_rival(offsets: Array, likeness: Array, best: int) -> bool:
    """Whether another offset, with worse ones between it and the best, is about as good."""
    peaks = np.flatnonzero((likeness[1:-1] >= likeness[:-2]) & (likeness[1:-1] >= likeness[2:])) + 1
    ends = [0, len(offsets) - 1]
    far = [one for one in [*peaks.tolist(), *ends] if abs(offsets[one] - offsets[best]) > RIVAL_APART_S]
    return any(likeness[one] > likeness[best] - RIVAL_LIKENESS for one in far)


def _dependence(left: Array) -> float:
    """By how much a variance grows since the errors (M, k) of steps in a row are alike (autoregression of first
    order)."""
    size = float(np.square(left).sum())
    alike = float(np.clip((left[1:] * left[:-1]).sum() / size, 0.0, MOST_ALIKE)) if size > 0 else 0.0
    return (1 + alike) / (1 - alike)


def _likeness(a: Array, b: Array) -> float:
    """Correlation of two sets of vectors (M, k) about their means, 0 where one of them does not vary."""
    size = float(np.square(a).sum() * np.square(b).sum())
    return float((a * b).sum()) / np.sqrt(size) if size > 0 else 0.0
