"""Where a new keyframe lies by the points of the map that its features see: what tracking said of it is checked.

Alignment can settle in a wrong place that looks right. Adjustment, which goes downhill from where it begins, does not
find the way out of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spark3r_core.bundle.problem import Cameras, Observations
from spark3r_core.bundle.triangulate import triangulate
from spark3r_core.features.verify import PNP_PIXELS, camera_from_points, reprojection_errors
from spark3r_core.geometry import se3
from spark3r_core.stream.adjustment import LEAST_SHARED
from spark3r_core.stream.keyframe_map import KeyframeMap
from spark3r_core.stream.map_problem import sightings_of

Array = NDArray[np.float64]

CONFIRMING = 0.3  # share of the shared points that must agree with one pose
NEAREST = 6  # keyframes by whose points one is looked at
BETTER = 0.6  # of the error that the tracked pose has, below which the other one is believed


@dataclass(frozen=True)
class Resection:
    """confirmed: features agree on where the keyframe lies. world_from_camera: (4, 4) where that is, if tracking said
    something else."""

    confirmed: bool
    world_from_camera: Array | None = None


def resected(world: KeyframeMap, frame_id: int, others: Sequence[int], picture_hw: tuple[int, int]) -> Resection:
    """Look at a new keyframe, which lies where tracking says, by the points that the others see."""
    track, keyframe, feature = world.tracks.seen_by([*others, frame_id], 2)
    shared = np.isin(track, track[keyframe == frame_id])
    if not shared.any():
        return Resection(False)
    slots = {one: slot for slot, one in enumerate([*others, frame_id])}
    _, seen = sightings_of(world, track[shared], keyframe[shared], feature[shared], slots, picture_hw)
    own = seen.slot == len(others)
    by_others = Observations(seen.point[~own], seen.slot[~own], seen.places[~own], seen.depth[~own])
    frames = [world.keyframes[one] for one in others]
    cameras = Cameras(
        np.stack([se3.invert(frame.world_from_camera) for frame in frames]),
        np.log([frame.scale for frame in frames]),
        np.ones(len(frames), bool),
        world.focal,
        world.focal,
        0.0,
        np.zeros(2),
    )
    points, ahead = triangulate(cameras, by_others)
    places = np.empty((len(points), 2))
    places[seen.point[own]] = seen.places[own]
    points, places = points[ahead], places[ahead]
    width = picture_hw[1]
    camera = np.diag([world.focal, world.focal, 1.0])
    found = camera_from_points(points, places.astype(np.float32), camera, width)
    if found is None or found[1].mean() < CONFIRMING:
        return Resection(False)
    tracked = se3.invert(world.keyframes[frame_id].world_from_camera)
    most = 3 * PNP_PIXELS * width / 640
    off = (reprojection_errors(pose, points, places, camera) for pose in (found[0], tracked))
    errors = [float(np.minimum(one, most).mean()) for one in off]
    is_wrong = len(others) > 1 and errors[0] < BETTER * errors[1]
    return Resection(True, se3.require_se3(se3.invert(found[0])) if is_wrong else None)


def mend(world: KeyframeMap, picture_hw: tuple[int, int]) -> list[int]:
    """Look at every keyframe of this draft by the points of those that share most tracks with it, and move those that
    lie wrong: adjustment does not bring them back. The first keyframes of a map lie so, most of all. Returns which.
    """
    moved = []
    for frame_id in [one for one in world.order if one not in world.fixed]:
        shared = world.tracks.shared(frame_id)
        near = sorted((other for other in shared if shared[other] >= LEAST_SHARED), key=lambda o: (-shared[o], o))
        pose = resected(world, frame_id, near[:NEAREST], picture_hw).world_from_camera if near else None
        if pose is not None:
            world.keyframes[frame_id] = world.keyframes[frame_id].moved(pose, world.keyframes[frame_id].scale)
            moved.append(frame_id)
    return moved
