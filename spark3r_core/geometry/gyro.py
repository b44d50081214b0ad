"""Turns of a camera from samples of its angular velocity.

Samples are angular velocities in the axes of the moving camera (OpenCV's), radians per second; times are integer
nanoseconds. The turn between two times is the product of exp(rate dt) over the pieces between samples, with the rate at
each piece's middle (the midpoint rule on SO(3): Hairer, Lubich, Wanner, Geometric Numerical Integration, IV.7).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry.rotation import Array, exp_so3

LONGEST_GAP_NS = 100_000_000  # between samples, and before or after them: beyond, nothing is known of the turn

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


def angles_of(times_ns: Times, rates: Array) -> Array:
    """(N, 3) radians turned about each axis since the first sample: rates summed by the trapezoidal rule."""
    steps = np.diff((times_ns - times_ns[:1]) / 1e9)
    return np.concatenate([np.zeros((1, 3)), np.cumsum((rates[1:] + rates[:-1]) / 2 * steps[:, None], axis=0)])
