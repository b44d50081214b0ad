"""Dense depth of the map's keyframes from several of their pictures: which of them, and what comes of it."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from spark3r_core.depth.consistency import Neighbour
from spark3r_core.depth.several_views import Surface, checked, refine
from spark3r_core.depth.views import View, choose, usefulness
from spark3r_core.geometry import se3
from spark3r_core.models.preprocess import resize_map
from spark3r_core.photometric import depth_grid
from spark3r_core.photometric.assumed import DEPTH_SIGMA, UNSEEN_DEPTH_SIGMA
from spark3r_core.stream.camera_sizes import resampled
from spark3r_core.stream.dense_depth import DenseDepth
from spark3r_core.stream.keyframe_map import Keyframe, KeyframeMap

Array = NDArray[np.float64]
Pixels = NDArray[np.uint8]

LONG_SIDE = 320  # pixels of a keyframe's picture as the map keeps it; depth is read off it at that size
VIEWS = 6  # pictures that one depth map is read off, at most
SAMPLES = 12  # points along each side, by which views are chosen
MOST_KEPT = 32  # surfaces that later ones are held against
FOCAL_SETTLED = 0.02  # standard deviation of the log focal length, up to which pictures tell a new keyframe's depth
SURE, LEAST_SURE = 0.5, 0.1  # of a pixel; and share of those that are
SURE_PRECISION = 5000.0  # of a node of `depth_grid` that is sure all around: 1.4 percent
MOST_RESHAPED = 0.15  # log depth, standard deviation: what changes more than networks are wrong by is itself wrong
DELAY = 2  # keyframes that must follow one before its depth is read off them


def small_picture(picture: Pixels) -> Pixels:
    """(h, w, 3) as the map keeps it."""
    height, width = picture.shape[:2]
    factor = LONG_SIDE / max(height, width)
    if factor >= 1:
        return picture
    size_wh = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(cv2.resize(picture, size_wh, interpolation=cv2.INTER_AREA), np.uint8)


def matched_surface(
    world: KeyframeMap,
    frame_id: int,
    picture_hw: tuple[int, int],
    device: torch.device | None = None,
    *,
    coarse: bool = False,
) -> Surface | None:
    """What the pictures around a keyframe say of its depth; None where the map has not kept its picture.

    picture_hw: size of the whole pictures, which the map's camera is of. device, coarse: see `refine`.
    """
    key = world.keyframes[frame_id]
    if key.small_picture is None:
        return None
    camera = _camera(world, key.small_picture, picture_hw)
    base = _base(key, key.small_picture, picture_hw)
    views = [_view(world, key, other, picture_hw) for other in views_of(world, frame_id, picture_hw)]
    return refine(_grey(key.small_picture), camera, base, views, device, coarse=coarse)


class TrackedDepth(NamedTuple):
    """depth: (h, w). sure: (h, w) where several views agree on it; None where nobody was asked or believed."""

    depth: NDArray[np.float32]
    sure: NDArray[np.bool_] | None

    @property
    def sigma(self) -> NDArray[np.float32] | None:
        """(h, w) of log depth, pixel by pixel."""
        if self.sure is None:
            return None
        return np.where(self.sure, np.float32(DEPTH_SIGMA), np.float32(UNSEEN_DEPTH_SIGMA))

    @property
    def node_information(self) -> Array | None:
        """(NODES, NODES) of `depth_grid`."""
        return None if self.sure is None else depth_grid.information_of(self.sure, SURE_PRECISION)


def tracked_depth(
    world: KeyframeMap, frame_id: int, picture_hw: tuple[int, int], device: torch.device | None = None
) -> TrackedDepth:
    """A new keyframe's depth for frames to be tracked on, at the size of its own.

    By what keyframes before it show, in the scale of its own depth, which more of them have agreed on. It is its own
    where the focal length is not settled, since pictures then give no depth, where too little is sure, and where all of
    it would become another shape.
    """
    key = world.keyframes[frame_id]
    own = TrackedDepth(key.depth, None)
    if world.focal_std > FOCAL_SETTLED:
        return own
    surface = matched_surface(world, frame_id, picture_hw, device, coarse=True)
    if surface is None:
        return own
    coarse_from_picture = resize_map(picture_hw[::-1], surface.depth.shape[::-1])
    own_from_coarse = np.asarray(np.linalg.inv(coarse_from_picture @ key.picture_from_depth), np.float64)
    sure = resampled(np.maximum(surface.sure, surface.matched), own_from_coarse, key.depth.shape) > SURE
    if sure.mean() < LEAST_SURE:
        return own
    log_ratio = np.log(resampled(surface.depth, own_from_coarse, key.depth.shape) / key.depth)
    log_ratio -= np.median(log_ratio[sure])
    if not float(np.std(log_ratio)) < MOST_RESHAPED:
        return own
    return TrackedDepth(np.asarray(key.depth * np.exp(log_ratio), np.float32), sure)


def views_of(world: KeyframeMap, frame_id: int, picture_hw: tuple[int, int]) -> list[int]:
    """Keyframes whose pictures say most of this one's depth, best first."""
    key = world.keyframes[frame_id]
    height, width = key.depth.shape
    u, v = np.meshgrid(
        ((np.arange(SAMPLES) + 0.5) * width / SAMPLES).astype(int),
        ((np.arange(SAMPLES) + 0.5) * height / SAMPLES).astype(int),
    )
    depth = key.depth[v, u].astype(np.float64).ravel()
    rays = np.stack([u.ravel() + 0.5, v.ravel() + 0.5, np.ones(u.size)]).T
    points = rays @ np.linalg.inv(_depth_camera(world, key, picture_hw)).T * depth[:, None]
    points = points[np.isfinite(depth) & (depth > 0)]
    others = [other for other in world.order if other != frame_id and world.keyframes[other].small_picture is not None]
    if not len(points):
        return []
    camera = world.camera_of(picture_hw)
    worths = [usefulness(points, camera_from_key(key, world.keyframes[other]), camera, picture_hw) for other in others]
    return [others[index] for index in choose(worths, VIEWS)]


def dense_depth(
    world: KeyframeMap,
    frame_id: int,
    picture_hw: tuple[int, int],
    surfaces: Mapping[int, Surface],
) -> DenseDepth | None:
    """A keyframe's depth, held against that of the keyframes around it.

    surfaces: as `matched_surface` gave them, in each keyframe's own unit; None is returned where this one's is missing.
    """
    key = world.keyframes[frame_id]
    if frame_id not in surfaces or key.small_picture is None:
        return None
    camera = _camera(world, key.small_picture, picture_hw)
    neighbours = []
    for other_id in views_of(world, frame_id, picture_hw):
        other, surface = world.keyframes[other_id], surfaces.get(other_id)
        if surface is None or other.small_picture is None:
            continue
        depth = surface.depth * np.float32(other.scale / key.scale)
        other_camera = _camera(world, other.small_picture, picture_hw)
        neighbours.append(Neighbour(depth, surface.matched, other_camera, camera_from_key(key, other)))
    surface = checked(surfaces[frame_id], _grey(key.small_picture), camera, neighbours)
    return DenseDepth(surface.depth, surface.confidence, key.small_picture, camera)


def dense_depths(
    world: KeyframeMap, frame_ids: Collection[int], picture_hw: tuple[int, int], device: torch.device | None = None
) -> dict[int, DenseDepth]:
    """Depth of several keyframes, each held against all others that see the same.

    One thread per core: numpy and OpenCV let each other run, and no keyframe depends on another. device: see `refine`.
    """
    order = sorted(frame_ids)
    with ThreadPoolExecutor(os.cpu_count() if device is None else 1) as pool:
        found = list(pool.map(lambda frame_id: matched_surface(world, frame_id, picture_hw, device), order))
    surfaces = {frame_id: surface for frame_id, surface in zip(order, found, strict=True) if surface is not None}
    depths = {frame_id: dense_depth(world, frame_id, picture_hw, surfaces) for frame_id in surfaces}
    return {frame_id: depth for frame_id, depth in depths.items() if depth is not None}


def camera_from_key(key: Keyframe, other: Keyframe) -> Array:
    """(4, 4) from one keyframe's camera to another's, in the unit of the first one's depth."""
    step = se3.compose(se3.invert(other.world_from_camera), key.world_from_camera)
    step[:3, 3] /= key.scale
    return np.asarray(step, np.float64)


def _view(world: KeyframeMap, key: Keyframe, other_id: int, picture_hw: tuple[int, int]) -> View:
    other = world.keyframes[other_id]
    assert other.small_picture is not None
    return View(
        _grey(other.small_picture), _camera(world, other.small_picture, picture_hw), camera_from_key(key, other)
    )


def _camera(world: KeyframeMap, small: Pixels, picture_hw: tuple[int, int]) -> Array:
    """(3, 3) of a kept picture."""
    return np.asarray(_small_from_picture(small, picture_hw) @ world.camera_of(picture_hw), np.float64)


def _depth_camera(world: KeyframeMap, key: Keyframe, picture_hw: tuple[int, int]) -> Array:
    return np.asarray(np.linalg.inv(key.picture_from_depth) @ world.camera_of(picture_hw), np.float64)


def _base(key: Keyframe, small: Pixels, picture_hw: tuple[int, int]) -> NDArray[np.float32]:
    """The network's depth at the size of the kept picture; what it does not know becomes the usual depth."""
    depth = resampled(key.depth, _small_from_picture(small, picture_hw) @ key.picture_from_depth, small.shape[:2])
    known = np.isfinite(depth) & (depth > 0)
    usual = float(np.median(depth[known])) if known.any() else 1.0
    return np.where(known, depth, np.float32(usual)).astype(np.float32)


def _small_from_picture(small: Pixels, picture_hw: tuple[int, int]) -> Array:
    return resize_map((picture_hw[1], picture_hw[0]), (small.shape[1], small.shape[0]))


def _grey(picture: Pixels) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8)


class DenseMapping:
    """Depth of keyframes as the map grows: of each one, once `DELAY` others have followed.

    Keeps the surfaces of the newest `MOST_KEPT` for those that come after. device: see `refine`.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        self._device = device
        self._surfaces: dict[int, Surface] = {}
        self._done: set[int] = set()

    def due(self, world: KeyframeMap, picture_hw: tuple[int, int]) -> dict[int, DenseDepth]:
        """Depth of the newest keyframe that has followers enough and was not asked for before; empty without one."""
        left = [frame_id for frame_id in world.order[:-DELAY] if frame_id not in self._done]
        if not left:
            return {}
        frame_id = left[-1]
        surface = matched_surface(world, frame_id, picture_hw, self._device)
        self._done = {done for done in self._done if done in world.keyframes} | {frame_id}
        if surface is None:
            return {}
        newest = sorted({*self._surfaces, frame_id})[-MOST_KEPT:]
        known = {**self._surfaces, frame_id: surface}
        self._surfaces = {kept: known[kept] for kept in newest if kept in world.keyframes}
        depth = dense_depth(world, frame_id, picture_hw, known)
        return {} if depth is None else {frame_id: depth}
