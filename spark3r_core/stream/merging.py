"""Two saved maps of one room made one: numbered one after the other, joined where they meet, and adjusted together."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from spark3r_core.errors import Spark3rError
from spark3r_core.features.tracks import Tracks
from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.stream.adjustment import FOCAL_KNOWN
from spark3r_core.stream.joining import Other, meet
from spark3r_core.stream.keyframe_map import KeyframeMap
from spark3r_core.stream.loops import opened
from spark3r_core.stream.whole_map import adjust_whole

VERIFICATIONS = 400  # pairs of pictures that are looked at, at 25 ms each
LEAST_GAP_S = 1.0  # from the last keyframe of the first map to the first of the second
MOST_FOCAL_APART = 0.25  # of the logarithm: two lenses, where both maps know their own
CAMERA_TOLERANCE = 1e-6  # of each number of a camera that was given


class NotMerged(Spark3rError):
    """Two maps that cannot be made one. The message says why."""


@dataclass(frozen=True)
class Merged:
    """map: both, in the frame and unit of the first; keyframes of the second have ids `ids_shift` higher. pairs: of
    keyframes that show one place. adjusted: whether bundle adjustment of all was believed. first_from_second: where
    the second map's frame and unit came to lie, about."""

    map: KeyframeMap
    pairs: tuple[tuple[int, int], ...]
    ids_shift: int
    adjusted: bool
    first_from_second: Sim3


def merged(first: KeyframeMap, second: KeyframeMap) -> Merged:
    """Both maps as one. Raises NotMerged where they are of different cameras or meet nowhere."""
    _check_cameras(first, second)
    ids_shift = max(first.keyframes) + 1
    later_s = max(0.0, _times(first)[1] + LEAST_GAP_S - _times(second)[0])
    moved = renumbered(second, ids_shift, later_s)
    own = opened(moved, is_fixed=False)
    knows_focal = first.given_camera is not None
    found = meet(
        own, [Other(opened(first, is_fixed=False))], own.order, first.picture_hw,
        focal_is_known=knows_focal, adjusts=False, budget=VERIFICATIONS,
    )  # fmt: skip
    if found.others:
        (other,) = found.others
        raise NotMerged(
            f"no place is common to both maps: {len(other.known.looked)} pairs of pictures were compared,"
            f" {len(other.known.pairs)} look like one place, and too few of them agree"
        )
    whole = adjust_whole(found.map.draft(), closes_loops=True, focal_is_known=knows_focal)
    far = own.order[len(own.order) // 2]
    lies = whole.map.keyframes[far].map_from_keyframe @ own.keyframes[far].map_from_keyframe.inverse()
    return Merged(whole.map, found.pairs + whole.loops, ids_shift, whole.verdict.accepted, lies)


def renumbered(world: KeyframeMap, ids_shift: int, later_s: float) -> KeyframeMap:
    """The same map with ids higher by so much and times later; what is recognised in it is left out."""
    track, keyframe, feature = world.tracks.observations()
    return KeyframeMap(
        {
            one + ids_shift: replace(key, frame_id=one + ids_shift, time_s=key.time_s + later_s)
            for one, key in world.keyframes.items()
        },
        Tracks.of(track, keyframe + ids_shift, feature),
        [replace(edge, first=edge.first + ids_shift, second=edge.second + ids_shift) for edge in world.edges],
        world.focal,
        world.focal_std,
        world.settled_focal,
        world.given_camera,
        list(world.network_focals),
        {(a + ids_shift, b + ids_shift) for a, b in world.matched},
        world.picture_hw,
    )


def _times(world: KeyframeMap) -> tuple[float, float]:
    times = [keyframe.time_s for keyframe in world.keyframes.values()]
    return min(times), max(times)


def _check_cameras(first: KeyframeMap, second: KeyframeMap) -> None:
    if first.picture_hw != second.picture_hw:
        sizes = " and ".join(f"{width}x{height}" for height, width in (first.picture_hw, second.picture_hw))
        raise NotMerged(f"the maps are of pictures of {sizes}; one map is of pictures of one size")
    a, b = first.given_camera, second.given_camera
    if (a is None) != (b is None):
        raise NotMerged("one map was made with --camera and the other without; make both the same way")
    if a is not None and b is not None and not np.allclose(a, b, rtol=CAMERA_TOLERANCE):
        raise NotMerged("the maps were made with different --camera; one map is of one camera")
    both_known = a is None and max(first.focal_std, second.focal_std) <= FOCAL_KNOWN
    if both_known and abs(math.log(first.focal / second.focal)) > MOST_FOCAL_APART:
        raise NotMerged(
            f"the maps have focal lengths of {first.focal:.0f} and {second.focal:.0f} pixels; one map is of one lens"
        )
