"""A map as bundle adjustment is given it: sightings of its tracks, and ways that were measured between keyframes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from spark3r_core.bundle.problem import Observations, PoseFactors
from spark3r_core.stream.camera_sizes import focal_of
from spark3r_core.stream.keyframe_map import KeyframeMap

Array = NDArray[np.float64]
Index = NDArray[np.int64]

SIGHTINGS = 150  # of tracks per keyframe that an adjustment needs; more cost time and say the same


def sightings_of(
    world: KeyframeMap,
    track: Index,
    keyframe: Index,
    feature: Index,
    slots: Mapping[int, int],
    picture_hw: tuple[int, int],
) -> tuple[Index, Observations]:
    """Sightings of tracks as adjustment takes them.

    Args:
        track, keyframe, feature: (M,) of each sighting, from `Tracks`.
        slots: place in the problem of each keyframe.

    Returns:
        (M,) the track of each sighting, and the sightings. Places are pixels from the camera's centre, and square: what
        the user's camera is not is taken out here.
    """
    _, point = np.unique(track, return_inverse=True)
    pairs = list(zip(keyframe.tolist(), feature.tolist(), strict=True))
    places = np.stack([world.keyframes[k].features.places[f] for k, f in pairs]).astype(np.float64)
    depth = np.array([world.keyframes[k].feature_depth[f] for k, f in pairs])
    slot = np.array([slots[k] for k, _ in pairs], np.int64)
    camera = world.camera_of(picture_hw)
    square = (places - camera[:2, 2]) * (focal_of(camera) / camera[[0, 1], [0, 1]])
    return track, Observations(point.astype(np.int64), slot, square, depth)


def enough(track: Index, keyframe: Index, per_keyframe: int) -> NDArray[np.bool_]:
    """(M,) which sightings are worth their time: the longest tracks, until every keyframe has its share of them."""
    numbers, point, views = np.unique(track, return_inverse=True, return_counts=True)
    order = np.argsort(-views, kind="stable")
    by_point = np.argsort(point, kind="stable")
    starts = np.searchsorted(point[by_point], np.arange(len(numbers) + 1))
    taken = dict.fromkeys(keyframe.tolist(), 0)
    chosen = np.zeros(len(numbers), bool)
    for number in order.tolist():
        seers = keyframe[by_point[starts[number] : starts[number + 1]]].tolist()
        if min(taken[seer] for seer in seers) < per_keyframe:
            chosen[number] = True
            for seer in seers:
                taken[seer] += 1
    return chosen[point]


def factors_of(world: KeyframeMap, slots: Mapping[int, int], units: Array, tracked_share: float) -> PoseFactors:
    """Edges of the map between these keyframes.

    Args:
        slots: place in the problem of each keyframe.
        units: (K,) by slot, in which a keyframe's translations are to be given.
        tracked_share: of the information of edges that tracking made; what another sensor measured needs no focal
            length, and counts whole.
    """
    shared = [(edge, tracked_share) for edge in world.edges] + [(edge, 1.0) for edge in world.measured]
    shared = [(edge, share) for edge, share in shared if edge.first in slots and edge.second in slots]
    if not shared:
        return PoseFactors.none()
    edges = [edge for edge, _ in shared]
    first = np.array([slots[edge.first] for edge in edges], np.int64)
    steps = np.stack([edge.second_from_first for edge in edges])
    steps[:, :3, 3] *= units[first, None]
    information = np.stack([edge.information * share for edge, share in shared])
    information[:, :3] /= units[first, None, None]
    information[:, :, :3] /= units[first, None, None]
    return PoseFactors(first, np.array([slots[edge.second] for edge in edges], np.int64), steps, information)
