"""Whether the map confirms the way that tracking took from one keyframe to the next.

Pixels agree with many a pose where a keyframe's depth is wrong. Adjustment sees more: the keyframes before, and points
from several of them. Where it moves a keyframe by half of the way to it, neither that way nor the depths that it was
tracked on meant much.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry import se3
from spark3r_core.stream.keyframe_map import Keyframe

Array = NDArray[np.float64]

MOST_SHARE, MOST_TURN = 0.5, float(np.deg2rad(5.0))  # of the longer of the two ways; on clips that go well at most 0.4
LEAST_DEPTHS = 0.05  # of the first keyframe's median depth: on shorter ways only the turn says anything


def way_between(first: Keyframe, second: Keyframe) -> Array:
    """(4, 4) first_from_second, its translation in the unit of the first one's depth, as tracking gives it."""
    way = se3.compose(se3.invert(first.world_from_camera), second.world_from_camera)
    way[:3, 3] /= first.scale
    return way


def ways_agree(tracked: Array, mapped: Array, median_depth: float, *, turn_is_measured: bool = False) -> bool:
    """Two ways (4, 4) from a keyframe to the next, as tracked and as mapped. median_depth: of the first one.

    turn_is_measured: by another sensor. Then adjustment knows a turn on the spot from a step aside, and one that it
    finds is believed, whatever tracking took it for while the focal length was a guess.
    """
    before, after = (float(np.linalg.norm(way[:3, 3])) for way in (tracked, mapped))
    longer = max(before, after)
    off = float(np.linalg.norm(tracked[:3, 3] - mapped[:3, 3]))
    is_short = (after if turn_is_measured else longer) < LEAST_DEPTHS * median_depth
    return (is_short or off <= MOST_SHARE * longer) and float(se3.relative_angle(tracked, mapped)) <= MOST_TURN
