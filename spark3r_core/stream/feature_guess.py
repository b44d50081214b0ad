"""A guess of a frame's pose by features, for when alignment is in doubt: where large motion or a cut in time has taken
the picture out of the gradient's reach."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spark3r_core.features.rootsift import Features, extract, match
from spark3r_core.features.verify import PNP_PIXELS, camera_from_points, reprojection_errors
from spark3r_core.stream.camera_sizes import sampled

Array = NDArray[np.float64]

GUESS_FEATURES = 800
GUESS_LONG_SIDE = 400  # pixels: a guess need not be exact, and features cost in proportion to the picture


@dataclass(frozen=True)
class FeaturePoints:
    """A keyframe's features with their places in space.

    features: of its picture. rays: (N, 3) through them, z = 1, by `intrinsics` (3, 3) of the picture. depth: (N,); not
    finite where none is known. fractions: (N, 2) places as fractions of width and height.
    """

    features: Features
    rays: Array
    depth: Array
    fractions: Array
    intrinsics: Array
    picture_hw: tuple[int, int]

    @staticmethod
    def of(
        features: Features,
        depth: NDArray[np.float32],
        intrinsics: Array,
        picture_hw: tuple[int, int],
        depth_from_picture: Array,
    ) -> FeaturePoints:
        """depth: (h, w); depth_from_picture: (3, 3) pixel map."""
        places = features.places.astype(np.float64)
        z = sampled(depth, features.places, depth_from_picture)
        rays = np.ones((len(places), 3))
        rays[:, 0] = (places[:, 0] - intrinsics[0, 2]) / intrinsics[0, 0]
        rays[:, 1] = (places[:, 1] - intrinsics[1, 2]) / intrinsics[1, 1]
        fractions = places / np.array([picture_hw[1], picture_hw[0]], np.float64)
        return FeaturePoints(features, rays, z, fractions, intrinsics, picture_hw)


@dataclass(frozen=True)
class FeatureGuess:
    """Where features say that a picture was taken.

    camera_from_key: (4, 4). points: (N, 3) of matched features in the keyframe's camera; places: (N, 2) of them in the
    picture, by `camera` (3, 3). width: of the picture in pixels.
    """

    camera_from_key: Array
    points: Array
    places: NDArray[np.float32]
    camera: Array
    width: int

    def agreeing(self, camera_from_key: Array) -> int:
        """How many matches a pose (4, 4) explains."""
        off = reprojection_errors(camera_from_key, self.points, self.places, self.camera)
        return int((off < PNP_PIXELS * self.width / 640).sum())


def guess_pose(
    key: FeaturePoints, picture: NDArray[np.uint8], depth_factors: Array, log_focal: float
) -> FeatureGuess | None:
    """By the features of a keyframe with depth; None where too few agree.

    picture: (H, W, 3) of the same camera. depth_factors: (N,) of the keyframe's depth as known now; log_focal: of its
    focal length.
    """
    found = extract(picture, GUESS_FEATURES, GUESS_LONG_SIDE)
    pairs = match(key.features, found)
    pairs = pairs[np.isfinite(key.depth[pairs[:, 0]])]
    wider = np.exp(log_focal)
    points = key.rays[pairs[:, 0]] * np.array([1 / wider, 1 / wider, 1])
    points = points * (key.depth * depth_factors)[pairs[:, 0], None]
    camera = key.intrinsics * np.array([[wider, 1, 1], [1, wider, 1], [1, 1, 1]])
    places, width = found.places[pairs[:, 1]], picture.shape[1]
    pose = camera_from_points(points, places, camera, width)
    return None if pose is None else FeatureGuess(pose[0], points, places, camera, width)
