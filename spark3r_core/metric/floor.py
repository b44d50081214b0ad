"""The floor under a camera that is carried at a known height: a plane in the map, found by RANSAC.

The floor is the lowest of the planes that lie across "down", have every camera above them and many points on them. Down
is the mean of the pictures' down axes, which a camera on a robot or in a hand keeps within some tens of degrees. The
height over it, in units of the map, and the height in metres give the scale. How much it varies from keyframe to
keyframe is drift, and says how well the scale is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.metric.bent import Bends, log_factors
from spark3r_core.metric.scale import ScaleEvidence

Array = NDArray[np.float64]

STEP = 3  # pixels between those of a depth map that are looked at
POINTS = 200  # kept of a keyframe
KEYFRAMES = 40  # that are asked: the newest
LEAST_KEYFRAMES = 3
MOST_LEAN = np.cos(np.radians(35.0))  # of the floor's normal to the mean of what the pictures say is up
TRIES = 400
THICK = 0.03  # of a camera's height, within which a point lies on a plane
LEAST_SHARE = 0.05  # of the points that have to lie on the floor
NEAR_BELOW = 0.03  # of a point's distance, that it may lie below the floor,
MOST_BELOW = 0.1  # and how many may lie deeper, against those on it: what leans has much of the room below it
SHARED = 0.3  # of its points, with fuller planes, beyond which a plane is no surface of its own
AS_MANY = 0.4  # of the points of the fullest plane that a lower one needs to be the floor
DEPTH_STD = 0.015  # of depth along the floor that all keyframes share, as measured on synthetic worlds


@dataclass(frozen=True, eq=False)
class Floor:
    """normal: (3,) up, unit. offset: normal @ point of every point on it. heights: (K,) of the keyframes' cameras, in
    units of the map."""

    normal: Array
    offset: float
    heights: Array


@dataclass(frozen=True, eq=False)
class LowPoints:
    """points: (N, 3) of a keyframe that may be of a floor, in its camera and unit. fractions: (N, 2) where they are
    seen, of width and height. of_several_views: their depth is not the network's."""

    points: NDArray[np.float32]
    fractions: Array
    of_several_views: bool = False


class FloorEvidence:
    """Of one map whose camera is carried at `height_m` over the floor."""

    def __init__(self, height_m: float) -> None:
        self.height_m = height_m
        self._points: dict[int, LowPoints] = {}

    def add(self, keyframe_id: int, low: LowPoints) -> None:
        """Of a keyframe in its own camera and unit; those of an earlier call are forgotten."""
        chosen = np.linspace(0, len(low.points) - 1, min(POINTS, len(low.points))).astype(int)
        self._points[keyframe_id] = replace(low, points=low.points[chosen], fractions=low.fractions[chosen])
        while len(self._points) > KEYFRAMES:
            del self._points[min(self._points)]

    def take_in(self, other: FloorEvidence) -> None:
        """What was seen in a map that this one was joined with; within the same limit."""
        self._points |= other._points
        while len(self._points) > KEYFRAMES:
            del self._points[min(self._points)]

    def floor(self, map_from_key: Mapping[int, Sim3], bends: Bends) -> Floor | None:
        """None where no plane is one. bends: of the keyframes' own depth."""
        ids = [one for one in sorted(self._points) if one in map_from_key]
        if len(ids) < LEAST_KEYFRAMES:
            return None
        points = np.concatenate([map_from_key[one].apply_to_points(self._bent(one, bends)) for one in ids])
        centres = np.stack([map_from_key[one].translation for one in ids])
        up = -np.mean([map_from_key[one].rotation[:, 1] for one in ids], axis=0)
        if np.linalg.norm(up) < 0.3:
            return None  # a camera that rolls all around
        return find_floor(points, centres, up / np.linalg.norm(up))

    def _bent(self, keyframe_id: int, bends: Bends) -> Array:
        low = self._points[keyframe_id]
        if low.of_several_views:
            return low.points.astype(np.float64)
        factors = np.exp(log_factors(bends, keyframe_id, low.fractions))
        return np.asarray(low.points * factors[:, None], np.float64)

    def scale(self, floor: Floor) -> ScaleEvidence:
        height = float(np.median(floor.heights))
        spread = 1.4826 * float(np.median(np.abs(floor.heights - height))) / height
        std = float(np.hypot(DEPTH_STD, spread / np.sqrt(len(floor.heights))))
        return ScaleEvidence(float(np.log(self.height_m / height)), std, f"camera height {self.height_m:g} m")


def find_floor(points: Array, centres: Array, up: Array) -> Floor | None:
    """points: (N, 3), centres: (K, 3) of cameras, up: (3,) about; in the map. The same input gives the same floor."""
    rng = np.random.default_rng(0)
    below = points[(points - centres.mean(0)) @ up < 0]
    if len(below) < 50:
        return None
    found: list[tuple[int, float, Array, float]] = []  # points on it, height, normal, offset
    for triple in rng.integers(len(below), size=(TRIES, 3)):
        a, b, c = below[triple]
        normal = np.cross(b - a, c - a)
        length = np.linalg.norm(normal)
        if length < 1e-12:
            continue
        normal = normal / length * np.sign(normal @ up)
        offset = float(normal @ a)
        height = float(np.median(centres @ normal - offset))
        if normal @ up < MOST_LEAN or (centres @ normal - offset).min() <= 0.2 * height or height <= 0:
            continue
        count = int((np.abs(below @ normal - offset) < THICK * height).sum())
        found.append((count, height, normal, offset))
    if not found:
        return None
    most = max(count for count, *_ in found)
    if most < LEAST_SHARE * len(points):
        return None
    depth_below = NEAR_BELOW * np.linalg.norm(below - centres.mean(0), axis=1)  # what is far is known worse
    full = [
        (count, height, normal, offset)
        for count, height, normal, offset in sorted(found, key=lambda one: -one[0])
        if count >= AS_MANY * most
        and (below @ normal - offset < -2 * THICK * height - depth_below).sum() <= MOST_BELOW * count
    ]
    if not full:
        return None
    _, height, normal, offset = max(_surfaces(below, full), key=lambda one: one[1])
    for _ in range(10):
        off = below @ normal - offset
        weights = 1 / (1 + np.square(off / (0.5 * THICK * height)))
        weights[np.abs(off) > 3 * THICK * height] = 0
        middle = weights @ below / weights.sum()
        spread = (below - middle) * np.sqrt(weights)[:, None]
        normal = np.linalg.svd(spread, full_matrices=False)[2][2]
        normal = normal * np.sign(normal @ up)
        offset = float(normal @ middle)
    heights = centres @ normal - offset
    if normal @ up < MOST_LEAN or heights.min() <= 0:
        return None
    return Floor(np.asarray(normal), offset, heights)


def _surfaces(points: Array, planes: list[tuple[int, float, Array, float]]) -> list[tuple[int, float, Array, float]]:
    """Of planes, the fullest first, one for each surface: what has most of its points in common with a fuller one is
    that one, leaning. Else the lowest of them would always be one that leans, with half of the floor's points."""
    chosen: list[tuple[int, float, Array, float]] = []
    taken = np.zeros(len(points), bool)
    for plane in planes:
        count, height, normal, offset = plane
        on_it = np.abs(points @ normal - offset) < THICK * height
        if (on_it & taken).sum() <= SHARED * count:
            chosen.append(plane)
            taken |= np.abs(points @ normal - offset) < 2 * THICK * height
    return chosen


def low_points(
    depth: NDArray[np.float32], trust: NDArray[np.float32], intrinsics: Array, *, of_several_views: bool = False
) -> LowPoints:
    """Of a depth map (h, w): below the camera's middle, and of those the half that is trusted more. intrinsics:
    (3, 3)."""
    rows = slice(int(intrinsics[1, 2]) + 1, None, STEP)
    z, trusted = depth[rows, ::STEP], trust[rows, ::STEP]
    v, u = np.mgrid[rows.start : depth.shape[0] : STEP, 0 : depth.shape[1] : STEP] + 0.5
    x = (u - intrinsics[0, 2]) / intrinsics[0, 0] * z
    y = (v - intrinsics[1, 2]) / intrinsics[1, 1] * z
    keep = np.isfinite(z) & (z > 0)
    if keep.any():
        keep &= trusted >= np.median(trusted[keep])
    fractions = np.stack([u[keep], v[keep]], -1) / np.array(depth.shape[::-1])
    return LowPoints(np.stack([x, y, z], -1)[keep].astype(np.float32), fractions, of_several_views)
