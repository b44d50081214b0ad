"""Where a lost frame lies, by the keyframes of the map: retrieval, features on known depth, agreement of several.

Nothing of tracking's is used, so a cut, a covered lens and a camera that was carried away are the same case. What is
found is a guess until the network's depth confirms it both ways (`confirm_place`), and frames after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spark3r_core.features.rootsift import Features, extract
from spark3r_core.geometry import se3
from spark3r_core.places.verification import SamePlace, seen_from, verify
from spark3r_core.stream.keyframe_map import Keyframe, KeyframeMap
from spark3r_core.stream.place_search import most_alike, view_of
from spark3r_core.stream.tracked_frame import TrackedFrame

Array = NDArray[np.float64]

LEAST_FEATURES = 100  # of a picture that could be recognised: a covered lens has none
TOO_LITTLE = "the picture has too few features to be recognised"
TRIES = 4  # keyframes, by appearance, that a lost frame is compared with
SURE = 60  # matches of one keyframe that need no second one to agree
SMALL = 2  # keyframes of a map that is too small for two to agree
MOST_TURN, MOST_SHIFT = 6.0, 0.2  # degrees and median depths between two keyframes' opinions that agree
GUESSED = np.array([0.05] * 3 + [0.02] * 3)  # sigmas of the pose: median depths, radians
POINTS_STEP = 3  # pixels of the depth map between points that tie the next one


class NotRecognised(Exception):
    """A lost frame is not where its features seemed to say. The message says why."""


@dataclass(frozen=True)
class Relocalised:
    """keyframe: the one it was found by. key_from_camera: (4, 4) in its unit. inliers: matches that agree."""

    keyframe: Keyframe
    key_from_camera: Array
    inliers: int

    @property
    def confidence(self) -> float:
        """In (0, 1)."""
        return self.inliers / (self.inliers + SURE)

    @property
    def points(self) -> NDArray[np.float32]:
        """(N, 3) of the keyframe's depth, in the lost camera."""
        depth = self.keyframe.depth[::POINTS_STEP, ::POINTS_STEP]
        camera = self.keyframe.depth_intrinsics
        v, u = np.mgrid[: depth.shape[0], : depth.shape[1]] * POINTS_STEP + 0.5
        rays = np.stack(
            [(u - camera[0, 2]) / camera[0, 0], (v - camera[1, 2]) / camera[1, 1], np.ones(depth.shape)], -1
        )
        points = (rays * depth[..., None]).reshape(-1, 3)
        return se3.transform_points(se3.invert(self.key_from_camera), points).astype(np.float32)

    def as_tracked(self, frame_id: int, odom_from_camera: Array, camera: Array) -> TrackedFrame:
        """As if it had been tracked on the keyframe. camera: (3, 3)."""
        size = float(np.median(self.keyframe.depth))
        turn = float(np.degrees(se3.relative_angle(np.eye(4), self.key_from_camera)))
        distance = float(np.linalg.norm(self.key_from_camera[:3, 3])) / max(size, 1e-9)
        sigmas = GUESSED * np.array([size] * 3 + [1.0] * 3)
        return TrackedFrame(
            frame_id, self.keyframe.frame_id, self.key_from_camera, odom_from_camera, True, self.confidence, 1.0, 1.0,
            distance, turn, np.diag(np.square(sigmas)), camera, guessed_by_features=True,
        )  # fmt: skip


def placed_in_map(world: KeyframeMap, picture: NDArray[np.uint8]) -> Relocalised | str:
    """Find a picture (H, W, 3) of the map's camera in the map, or why it is not found."""
    features = extract(picture)
    if len(features) < LEAST_FEATURES:
        return TOO_LITTLE
    return relocalised(world, features, (picture.shape[0], picture.shape[1]))


def relocalised(world: KeyframeMap, features: Features, picture_hw: tuple[int, int]) -> Relocalised | str:
    """Find a picture by its features. Two keyframes must say the same, or one that is very sure; a map that is small
    has but one."""
    found: list[Relocalised] = []
    why = "no keyframe is like it"
    for frame_id in most_alike(world, features.descriptors, TRIES):
        keyframe = world.keyframes[frame_id]
        seen = seen_from(view_of(world, frame_id, picture_hw), features)
        if isinstance(seen, str):
            why = f"keyframe {frame_id}: {seen}"
            continue
        found.append(Relocalised(keyframe, se3.require_se3(seen[0]), seen[1]))
    found.sort(key=lambda one: -one.inliers)
    for one in found:
        agreed = any(_agree(one, other) for other in found if other is not one)
        if agreed or one.inliers >= SURE or len(world.keyframes) <= SMALL:
            return one
    return why if not found else "only one keyframe is like it"


def confirm_place(world: KeyframeMap, frame_id: int, others: Sequence[int], picture_hw: tuple[int, int]) -> None:
    """Whether a keyframe that was found so, now that its depth is known, shows the same place as one of the others.
    Raises NotRecognised if not."""
    own = view_of(world, frame_id, picture_hw)
    why = "no keyframe is near"
    for other in others:
        same = verify(view_of(world, other, picture_hw), own)
        if isinstance(same, SamePlace):
            return
        why = same
    raise NotRecognised(f"its depth does not confirm where its features are: {why}")


def _agree(a: Relocalised, b: Relocalised) -> bool:
    """Whether two keyframes say the same of where the camera is."""
    poses = [one.keyframe.map_from_keyframe.apply_to_poses(one.key_from_camera) for one in (a, b)]
    size = float(np.median(a.keyframe.depth)) * a.keyframe.scale
    turn = float(np.degrees(se3.relative_angle(*poses)))
    return turn <= MOST_TURN and float(np.linalg.norm(poses[0][:3, 3] - poses[1][:3, 3])) <= MOST_SHIFT * size
