"""A camera that circles in a rendered room, with exact depth and poses: what tracker and mapper are tested on.

Pictures are as large as the tracker's. Each is rendered once per process.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spark3r_core.features.rootsift import Features, extract
from spark3r_core.geometry import se3
from spark3r_core.photometric.depth_grid import NODES
from spark3r_core.photometric.levels import grey_levels
from spark3r_core.stream.feature_guess import FeaturePoints
from spark3r_core.stream.reference import Reference
from spark3r_core.stream.tracked_frame import TrackedFrame
from spark3r_core.synthetic.sequence import SyntheticSequence

Array = NDArray[np.float64]

HW = (144, 192)
INTERVAL_S = 0.1
_ROOM = SyntheticSequence(3, 48, kind="orbit", image_hw=HW, augment=False, world_kind="room", step=2.0)
_ELSEWHERE = SyntheticSequence(5, 2, kind="orbit", image_hw=HW, augment=False, world_kind="room")
INTRINSICS = _ROOM.intrinsics


@cache
def picture(index: int) -> NDArray[np.uint8]:
    return _ROOM.frame(index)[0]


@cache
def depth(index: int) -> NDArray[np.float32]:
    return _ROOM.frame(index)[1]


@cache
def elsewhere() -> NDArray[np.uint8]:
    """A picture of another room."""
    return _ELSEWHERE.frame(0)[0]


def pose(index: int) -> Array:
    """(4, 4) first_from_camera."""
    return np.asarray(se3.compose(se3.invert(_ROOM.world_from_camera[0]), _ROOM.world_from_camera[index]))


@cache
def features(index: int) -> Features:
    return extract(picture(index))


def reference(index: int, odom_from_key: Array | None = None, node_precision: float = 1e4) -> Reference:
    """node_precision: how well each node of its depth is known beforehand; by default as well as pixels may say."""
    points = FeaturePoints.of(features(index), depth(index), INTRINSICS, HW, np.eye(3))
    odom = pose(index) if odom_from_key is None else odom_from_key
    pyramid = grey_levels(picture(index))
    return Reference.of(index, pyramid, depth(index), INTRINSICS, odom, node_precision * np.eye(NODES), points)


def error(found: Array, truth: Array) -> tuple[float, float]:
    """Degrees, and the distance in median depths of the first picture."""
    off = se3.compose(se3.invert(truth), found)
    distance = float(np.linalg.norm(off[:3, 3])) / float(np.median(depth(0)))
    return float(np.rad2deg(se3.relative_angle(found, truth))), distance


def tracked(keyframe: int, frame: int, **changes: Any) -> TrackedFrame:
    """What a tracker without errors says of a frame."""
    key_from_camera = np.asarray(se3.compose(se3.invert(pose(keyframe)), pose(frame)))
    exact = TrackedFrame(
        frame, keyframe, key_from_camera, pose(frame), True, 0.95, 0.9, 0.99, 0.0, 0.0,
        np.diag([1e-5] * 3 + [1e-6] * 3), INTRINSICS,
    )  # fmt: skip
    return replace(exact, **changes)
