"""Where frames between two keyframes lie, once the keyframes were moved.

A frame's pose is known on the keyframe that it was tracked on. When adjustment moves the next keyframe against this
one, the frames on the way there were off by their share of it: the correction is spread over the time between the two,
as a chain of relative poses between two fixed ends is relaxed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry import se3

Array = NDArray[np.float64]

MOST_TURN, MOST_SHIFT = 5.0, 3.0  # degrees, and of the way to the next keyframe: beyond, a mistake was mended
LONGEST_REACH = 1.5  # of the time to the next keyframe: frames are tracked on the old one until the new one is mapped


def relaxed(
    key_from_camera: Array, times_s: Array, key_time_s: float, next_time_s: float, tracked: Array, adjusted: Array
) -> Array:
    """(n, 4, 4) poses of frames on a keyframe, corrected.

    A keyframe that was itself aligned wrongly says nothing of the frames before it: they stay.

    key_from_camera: (n, 4, 4) as tracked. tracked, adjusted: (4, 4) key_from_next of the next keyframe, as tracked and
    as it lies in the map now, both in the unit of the keyframe's depth.
    """
    span = next_time_s - key_time_s
    if span <= 0 or not len(key_from_camera):
        return key_from_camera
    share = np.clip((np.asarray(times_s) - key_time_s) / span, 0, LONGEST_REACH)
    twist = se3.log(se3.require_se3(se3.compose(adjusted, se3.invert(tracked))))
    if _is_mistake(twist, adjusted, tracked, float(np.linalg.norm(adjusted[:3, 3]))):
        share = np.where(share < 1, 0.0, 1.0)
    return np.asarray(se3.compose(se3.exp(share[:, None] * twist), key_from_camera))


def handed_over(
    key_from_camera: Array, times_s: Array, next_time_s: float, adjusted: Array, first_time_s: float, first: Array
) -> Array:
    """(n, 4, 4) relaxed poses of which those after the next keyframe run evenly into the first frame tracked on it.

    They were tracked on the old keyframe while the new one was being mapped, from further and further away. Going on as
    the last two did tells where they would have had that first frame; the difference is spread over the time from the
    next keyframe on.

    key_from_camera: (n, 4, 4), in order of time. adjusted, first: (4, 4) of the next keyframe and of the first frame
    tracked on it.
    """
    after = np.asarray(times_s) > next_time_s
    if len(key_from_camera) < 2 or not after.any() or first_time_s <= times_s[-1] or times_s[-1] <= times_s[-2]:
        return key_from_camera
    before_last, last = key_from_camera[-2:]
    rate = (first_time_s - times_s[-1]) / (times_s[-1] - times_s[-2])
    step = se3.log(se3.require_se3(se3.compose(last, se3.invert(before_last))))
    expected = se3.compose(se3.exp(rate * step), last)
    twist = se3.log(se3.require_se3(se3.compose(first, se3.invert(expected))))
    if _is_mistake(twist, first, expected, float(np.linalg.norm(adjusted[:3, 3]))):
        return key_from_camera
    share = np.where(after, (np.asarray(times_s) - next_time_s) / (first_time_s - next_time_s), 0.0)
    return np.asarray(se3.compose(se3.exp(share[:, None] * twist), key_from_camera))


def following(world_from_camera: Array, times_s: Array, known: NDArray[np.int64], lies: Array) -> Array:
    """(n, 4, 4) poses of which some are better known now, and those between two of them moved along.

    A frame goes on from the known one before it as it did, and runs evenly into the one after it. Poses stay before the
    first known one and after the last, and where what lies between two of them is a mistake.

    world_from_camera: (n, 4, 4) in the order of times_s (n,). known: (k,) rows, in order; lies: (k, 4, 4).
    """
    found = world_from_camera.copy()
    found[known] = lies
    for here, there, begin, end in zip(known, known[1:], lies, lies[1:], strict=False):
        between = slice(here + 1, there)
        if there - here < 2 or times_s[there] <= times_s[here]:
            continue
        steps = se3.compose(se3.invert(world_from_camera[here]), world_from_camera[here + 1 : there + 1])
        going_on = se3.compose(begin, steps)
        twist = se3.log(se3.require_se3(se3.compose(end, se3.invert(going_on[-1]))))
        if _is_mistake(twist, end, going_on[-1], float(np.linalg.norm(going_on[-1, :3, 3] - begin[:3, 3]))):
            continue
        share = (np.asarray(times_s)[between] - times_s[here]) / (times_s[there] - times_s[here])
        found[between] = se3.compose(se3.exp(share[:, None] * twist), going_on[:-1])
    return found


def _is_mistake(twist: Array, now: Array, before: Array, way: float) -> bool:
    """Whether a correction (6,) is larger than what drifts on a way of this length."""
    shift = float(np.linalg.norm(now[:3, 3] - before[:3, 3]))
    return bool(np.degrees(np.linalg.norm(twist[3:])) > MOST_TURN or shift > MOST_SHIFT * way)
