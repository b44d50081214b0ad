"""Turns of a camera from samples of its angular velocity, and how far two clocks are apart.

Samples are angular velocities in the axes of the moving camera (OpenCV's), radians per second; times are integer
nanoseconds. The turn between two times is the product of exp(rate dt) over the pieces between samples, with the rate at
each piece's middle (the midpoint rule on SO(3): Hairer, Lubich, Wanner, Geometric Numerical Integration, IV.7).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry.rotation import Array, exp_so3

LONGEST_GAP_NS = 100_000_000  # between samples, and before or after them: beyond, nothing is known of the turn
SEARCHED_S, SEARCH_STEP_S = 1.0, 0.005
LEAST_TURNS, LEAST_LIKENESS, MOST_SIGMA_S = 20, 0.8, 0.01  # of an offset that is believed

Times = NDArray[np.int64]


def turn_between(times_ns: Times, rates: Array, from_ns: int, to_ns: int) -> Array | None:
    """(3, 3) camera at `from_ns` from camera at `to_ns`; None where samples are missing.

    times_ns: (N,) rising. rates: (N, 3).
    """
    if to_ns < from_ns or not len(times_ns):
        return None
    first = max(int(np.searchsorted(times_ns, from_ns, "right")) - 1, 0)
    last = min(int(np.searchsorted(times_ns, to_ns, "left")) + 1, len(times_ns))
    near = times_ns[first:last]
    if near[0] - from_ns > LONGEST_GAP_NS or to_ns - near[-1] > LONGEST_GAP_NS:
        return None
    if len(near) > 1 and int(np.diff(near).max()) > LONGEST_GAP_NS:
        return None
    inside = near[(near > from_ns) & (near < to_ns)]
    ends_s = (np.concatenate([[from_ns], inside, [to_ns]]) - from_ns) / 1e9
    steps, middles = np.diff(ends_s), (ends_s[1:] + ends_s[:-1]) / 2
    near_s = (near - from_ns) / 1e9
    rate = np.stack([np.interp(middles, near_s, column) for column in rates[first:last].T], -1)
    turn = np.eye(3)
    for piece in exp_so3(rate * steps[:, None]):
        turn = turn @ piece
    return turn


@dataclass(frozen=True)
class ClockOffset:
    """seconds: to be added to the times of the samples. sigma: its standard deviation. likeness: correlation of
    measured and seen turns there. is_clear: whether it can be believed."""

    seconds: float
    sigma: float
    likeness: float
    is_clear: bool


def clock_offset(times_ns: Times, rates: Array, spans_ns: Times, turns: Array) -> ClockOffset | None:
    """The offset of the samples' clock at which they say what was seen; None where samples or turns do not suffice.

    spans_ns: (M, 2) from frame to frame. turns: (M, 3) rotation vectors seen in them, in the camera's axes. Every
    offset up to `SEARCHED_S` is tried: the mean rate over each span against the seen one (cross-correlation).
    """
    if len(turns) < LEAST_TURNS or len(times_ns) < 2:
        return None
    origin = int(times_ns[0])
    seconds = (times_ns - origin) / 1e9
    steps = np.diff(seconds)
    angle = np.concatenate([np.zeros((1, 3)), np.cumsum((rates[1:] + rates[:-1]) / 2 * steps[:, None], axis=0)])
    spans = (spans_ns - origin) / 1e9
    inside = (spans[:, 0] - SEARCHED_S > seconds[0]) & (spans[:, 1] + SEARCHED_S < seconds[-1])
    if inside.sum() < LEAST_TURNS:
        return None
    spans, seen = spans[inside], turns[inside]

    def said(offset: float) -> Array:
        at = spans - offset
        ends = np.stack([np.interp(at, seconds, column) for column in angle.T], -1)
        return np.asarray(ends[:, 1] - ends[:, 0])

    offsets = np.arange(-SEARCHED_S, SEARCHED_S + SEARCH_STEP_S / 2, SEARCH_STEP_S)
    likeness = np.array([_likeness(said(one), seen) for one in offsets])
    best = int(likeness.argmax())
    if best in (0, len(offsets) - 1):
        return ClockOffset(float(offsets[best]), np.inf, float(likeness[best]), False)
    before, at, after = likeness[best - 1 : best + 2]
    curve = before - 2 * at + after
    found = float(offsets[best] + (0.5 * (before - after) / curve if curve < 0 else 0.0) * SEARCH_STEP_S)
    slope = (said(found + SEARCH_STEP_S) - said(found - SEARCH_STEP_S)) / (2 * SEARCH_STEP_S)
    left = seen - said(found)
    left -= left.mean(0)
    told = float(np.square(slope - slope.mean(0)).sum())
    sigma = float(np.sqrt(np.square(left).sum() / max(len(left) - 1, 1) / told)) if told > 0 else np.inf
    is_clear = bool(at > LEAST_LIKENESS and sigma < MOST_SIGMA_S)
    return ClockOffset(found, sigma, float(at), is_clear)


def _likeness(a: Array, b: Array) -> float:
    """Correlation of two sets of vectors (M, 3), 0 where one of them does not vary."""
    a, b = a - a.mean(0), b - b.mean(0)
    size = float(np.square(a).sum() * np.square(b).sum())
    return float((a * b).sum()) / np.sqrt(size) if size > 0 else 0.0
