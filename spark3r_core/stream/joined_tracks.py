"""Features of keyframes matched with each other and joined to tracks: which keyframes, and which matches are believed.

Where a pattern repeats, descriptors match the wrong tile as well as the right one, and where it lies on one plane,
hardly a match contradicts epipolar geometry. What tells them apart is that the camera was followed from one keyframe to
the other, picture by picture: a match belongs about where the map, right or bent, says that its point is seen.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spark3r_core.features.rootsift import match
from spark3r_core.features.verify import epipolar_inliers
from spark3r_core.geometry import se3
from spark3r_core.stream.keyframe_map import KeyframeMap

Array = NDArray[np.float64]

LEAST_MATCHES = 24  # verified matches of a pair that may join tracks
LATEST = 6  # keyframes before the new one that it is matched with,
COVISIBLE = 4  # and those that share most tracks with them
EXPECTED_WITHIN = 0.1  # of the picture's width: a match further from where its point is expected is of another place
LEAST_EXPECTED = 0.5  # share of a pair's matches that are where they are expected, if keyframes lie about right


def join_tracks(
    world: KeyframeMap,
    frame_id: int,
    others: Sequence[int],
    picture_hw: tuple[int, int],
    followed_on: int | None = None,
) -> int:
    """Match a keyframe with others and join what epipolar geometry confirms. Returns how many matches were.

    followed_on: the keyframe from which the camera was followed to this one, without a break: if most matches with that
    one are where they are expected, only such matches are believed, and other keyframes only if most of theirs are.
    """
    joined = 0
    key = world.keyframes[frame_id]
    is_followed = followed_on is not None
    for other_id in sorted(others, key=lambda one: one != followed_on):
        pair = (min(frame_id, other_id), max(frame_id, other_id))
        if pair in world.matched:
            continue
        world.matched.add(pair)
        other = world.keyframes[other_id]
        pairs = match(other.features, key.features)
        if is_followed and len(pairs):
            expected = _as_expected(world, other_id, frame_id, pairs, picture_hw)
            if np.mean(expected) >= LEAST_EXPECTED:
                pairs = pairs[expected]
            elif other_id == followed_on:
                is_followed = False
            else:
                continue
        good = epipolar_inliers(other.features.places[pairs[:, 0]], key.features.places[pairs[:, 1]], picture_hw[1])
        if good.sum() < LEAST_MATCHES:
            continue
        world.tracks.add(other_id, frame_id, pairs[good].tolist())
        joined += int(good.sum())
    return joined


def _as_expected(
    world: KeyframeMap, first: int, second: int, pairs: NDArray[np.int64], picture_hw: tuple[int, int]
) -> NDArray[np.bool_]:
    """(M,) which matches (M, 2) lie about where the map says that the first keyframe's features are seen from the
    second; those of unknown depth do."""
    one, two = world.keyframes[first], world.keyframes[second]
    camera = world.camera_of(picture_hw)
    places = one.features.places[pairs[:, 0]].astype(np.float64)
    depth = one.feature_depth[pairs[:, 0]].astype(np.float64) * one.scale
    rays = (places - camera[:2, 2]) / camera[[0, 1], [0, 1]]
    points = np.concatenate([rays, np.ones((len(rays), 1))], 1) * depth[:, None]
    step = se3.compose(se3.invert(two.world_from_camera), one.world_from_camera)
    seen = points @ step[:3, :3].T + step[:3, 3]
    ahead = seen[:, 2] > 0
    expected = seen[:, :2] / np.where(ahead, seen[:, 2], 1.0)[:, None] * camera[[0, 1], [0, 1]] + camera[:2, 2]
    off = np.linalg.norm(expected - two.features.places[pairs[:, 1]], axis=1)
    return np.isnan(depth) | (ahead & (off <= EXPECTED_WITHIN * picture_hw[1]))


def neighbours(world: KeyframeMap, frame_id: int, on: int | None = None) -> list[int]:
    """Keyframes that a new one is matched with: the latest, and those these share most tracks with. on: the keyframe
    that it was tracked on; where that is not among the latest (a camera found again), it takes their place."""
    latest = [other for other in world.order if other < frame_id][-LATEST:]
    if on is not None and on not in latest:
        latest = [on]
    covisible = [third for third in world.tracks.shared_by_all(latest) if third not in latest and third != frame_id]
    return [*covisible[:COVISIBLE], *latest]
