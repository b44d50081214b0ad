"""The keyframe that frames are tracked on, and what tracking learns of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spark3r_core.photometric import depth_grid
from spark3r_core.photometric.frame_residuals import KeyPoints
from spark3r_core.photometric.key_points import key_points
from spark3r_core.photometric.knowledge import HELD, Knowledge
from spark3r_core.photometric.levels import Level
from spark3r_core.stream.feature_guess import FeatureGuess, FeaturePoints, guess_pose
from spark3r_core.stream.motion_hint import MotionHint

Array = NDArray[np.float64]

LEAST_KEY_POINTS = 150
LEAST_FEATURES = 200  # of a keyframe with depth, for them to stand for all of the picture


@dataclass
class Reference:
    """The keyframe that frames are tracked on.

    levels, intrinsics: of its pixels at the tracker's size. depth: (H, W), in the unit of odom.
    known: of its depth correction and focal length; first_known: before any frame was aligned to it.
    odom_from_key: (4, 4). confirmed: features agree on where it lies. mended: it does not lie where it was tracked, and
    so odom and speed are wrong. hint: what another sensor said of it. focal_std: of the log focal length of
    its intrinsics; 0 where it is known, infinite where only a network has said so.
    """

    frame_id: int
    levels: list[KeyPoints]
    depth: NDArray[np.float32]
    intrinsics: Array
    known: Knowledge
    first_known: Knowledge
    odom_from_key: Array
    feature_points: FeaturePoints | None = None
    frames: int = 0
    confirmed: bool = True
    mended: bool = False
    hint: MotionHint | None = None
    focal_std: float = math.inf

    @staticmethod
    def of(
        frame_id: int,
        pyramid: list[Level],
        depth: NDArray[np.float32],
        intrinsics: Array,
        odom_from_key: Array,
        node_information: Array | None = None,
        feature_points: FeaturePoints | None = None,
        hint: MotionHint | None = None,
        depth_sigma: NDArray[np.float32] | None = None,
    ) -> Reference:
        """depth_sigma: see `key_points`; node_information: beyond what is assumed of a network's depth."""
        information = np.zeros((depth_grid.NODES + 1, depth_grid.NODES + 1))
        information[:-1, :-1] = depth_grid.prior_precision()
        if node_information is not None:
            information[:-1, :-1] += node_information
        information[-1, -1] = HELD
        known = Knowledge(np.zeros(len(information)), information)
        points = key_points(pyramid, depth, intrinsics, depth_sigma)
        return Reference(frame_id, points, depth, intrinsics, known, known, odom_from_key, feature_points, hint=hint)

    @property
    def has_texture(self) -> bool:
        """Whether enough pixels say where they are for frames to be aligned to."""
        return len(self.levels[0].depth) >= LEAST_KEY_POINTS

    @property
    def median_depth(self) -> float:
        depth = self.levels[0].depth
        return float(np.median(depth)) if len(depth) else float(np.median(self.depth))

    def camera(self) -> Array:
        """(3, 3) with the focal length as known now."""
        wider = float(np.exp(self.known.log_focal))
        return self.intrinsics * np.array([[wider, 1, 1], [1, wider, 1], [1, 1, 1]])

    def guess(self, picture: NDArray[np.uint8]) -> FeatureGuess | None:
        """Where a picture was taken, by features; None where too few agree."""
        if self.feature_points is None:
            return None
        u, v = self.feature_points.fractions.T
        factors = np.exp(depth_grid.weights_numpy(u, v).astype(np.float64) @ self.known.nodes)
        return guess_pose(self.feature_points, picture, factors, self.known.log_focal)

    def points(self) -> NDArray[np.float32]:
        """(N, 3) of its finest level in the keyframe's camera, depth corrected."""
        return self.levels[0].camera_points(self.known.nodes, self.known.log_focal)

    def mapped_points(self, bend: Array | None) -> NDArray[np.float32]:
        """(N, 3) in the keyframe's camera by depth as it was mapped, bent by (ROWS, COLUMNS) instead of by what
        tracking learnt: its features, where the map's points are; of a picture with few of them as `points`."""
        nodes = np.zeros(depth_grid.NODES) if bend is None else bend.ravel()
        features = self.feature_points
        if features is None or np.isfinite(features.depth).sum() < LEAST_FEATURES:
            return self.levels[0].camera_points(nodes, self.known.log_focal)
        known = np.isfinite(features.depth)
        factors = np.exp(depth_grid.weights_numpy(*features.fractions[known].T).astype(np.float64) @ nodes)
        narrower = math.exp(-self.known.log_focal)
        rays = features.rays[known] * np.array([narrower, narrower, 1])
        return (rays * (features.depth[known] * factors)[:, None]).astype(np.float32)
