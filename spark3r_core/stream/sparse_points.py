"""The sparse points of a map: its tracks triangulated, those that do not fit left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spark3r_core.bundle.problem import Cameras, Observations
from spark3r_core.bundle.residuals import PIXEL_SIGMA
from spark3r_core.bundle.solve import OUTLIER
from spark3r_core.bundle.triangulate import reprojection, triangulate
from spark3r_core.geometry import se3
from spark3r_core.stream.camera_sizes import focal_of
from spark3r_core.stream.keyframe_map import Array, KeyframeMap
from spark3r_core.stream.map_problem import sightings_of

Index = NDArray[np.int64]

LEAST_ANGLE = 1.0  # degrees between two rays of a point; below, its distance is mostly noise
ROUNDS = 3


@dataclass(frozen=True)
class SparsePoints:
    """P points and the M sightings of them, sorted by point.

    places: (P, 3) in the map. error: (P,) mean distance in pixels from where they are seen. point, slot, feature: (M,)
    which point, which keyframe in the order of those that were asked for, which of its features.
    """

    places: Array
    error: Array
    point: Index
    slot: Index
    feature: Index

    def __len__(self) -> int:
        return len(self.places)

    def colours(
        self, pictures: list[NDArray[np.uint8]], feature_places: list[NDArray[np.float32]]
    ) -> NDArray[np.uint8]:
        """(P, 3) RGB: the mean over the pixels they are seen at. Both lists by slot."""
        total = np.zeros((len(self), 3))
        for slot, picture in enumerate(pictures):
            mine = self.slot == slot
            at = np.floor(feature_places[slot][self.feature[mine]]).astype(int)
            x, y = np.clip(at, 0, np.array(picture.shape[1::-1]) - 1).T
            np.add.at(total, self.point[mine], picture[y, x].astype(np.float64))
        views = np.bincount(self.point, minlength=len(self))
        return np.rint(total / np.maximum(views, 1)[:, None]).astype(np.uint8)


def sparse_points(world: KeyframeMap, order: Sequence[int] | None = None) -> SparsePoints:
    """Points that at least two keyframes see within OUTLIER pixels of a picture 640 wide, at LEAST_ANGLE or more.
    order: which keyframes are asked; None: all, in their order."""
    order = world.order if order is None else list(order)
    slots = {frame_id: slot for slot, frame_id in enumerate(order)}
    track, keyframe, feature = world.tracks.seen_by(order, 2)
    if not len(track):
        return _no_points()
    _, seen = sightings_of(world, track, keyframe, feature, slots, world.picture_hw)
    keyframes = [world.keyframes[frame_id] for frame_id in order]
    cameras = Cameras(
        np.stack([se3.invert(one.world_from_camera) for one in keyframes]),
        np.log([one.scale for one in keyframes]),
        np.ones(len(order), bool),
        focal_of(world.camera_of(world.picture_hw)),
        1.0,
        0.0,
        np.zeros(2),
    )
    most = OUTLIER * PIXEL_SIGMA * world.picture_hw[1] / 640
    rows = np.arange(len(seen))
    for _ in range(ROUNDS):
        current = seen.where(_mask(rows, len(seen)))
        points, ahead = triangulate(cameras, current)
        error = reprojection(cameras, current, points)
        fits = (error <= most) & ahead[current.point]
        views = np.bincount(current.point[fits], minlength=current.count)
        rows = rows[fits & (views[current.point] >= 2)]
        if not len(rows):
            return _no_points()
    current = seen.where(_mask(rows, len(seen)))
    points, ahead = triangulate(cameras, current)
    error = reprojection(cameras, current, points)
    good = ahead & (_angles(cameras, current, points) >= LEAST_ANGLE)
    worst = np.zeros(len(points))
    np.maximum.at(worst, current.point, error)
    good &= worst <= most
    kept = good[current.point]
    numbers, point = np.unique(current.point[kept], return_inverse=True)
    sort = np.lexsort((current.slot[kept], point))
    views = np.bincount(point, minlength=len(numbers))
    mean_error = np.bincount(point, error[kept], minlength=len(numbers)) / np.maximum(views, 1)
    return SparsePoints(points[numbers], mean_error, point[sort], current.slot[kept][sort], feature[rows][kept][sort])


def _no_points() -> SparsePoints:
    nothing = np.zeros(0, np.int64)
    return SparsePoints(np.zeros((0, 3)), np.zeros(0), nothing, nothing, nothing)


def _angles(cameras: Cameras, seen: Observations, points: Array) -> Array:
    """(P,) degrees between each point's first ray and the one farthest from it."""
    centres = se3.invert(cameras.camera_from_world)[seen.slot, :3, 3]
    rays = points[seen.point] - centres
    rays /= np.maximum(np.linalg.norm(rays, axis=1, keepdims=True), 1e-12)
    first = np.full(len(points), len(rays))
    np.minimum.at(first, seen.point, np.arange(len(rays)))
    cosine = np.clip((rays * rays[first[seen.point]]).sum(1), -1, 1)
    widest = np.zeros(len(points))
    np.maximum.at(widest, seen.point, np.rad2deg(np.arccos(cosine)))
    return widest


def _mask(rows: Index, count: int) -> NDArray[np.bool_]:
    mask = np.zeros(count, bool)
    mask[rows] = True
    return mask
