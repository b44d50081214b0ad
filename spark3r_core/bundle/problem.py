"""What bundle adjustment is given and what it gives: plain arrays, no pictures, no map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Index = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Cameras:
    """K keyframes of one camera with square pixels and a fixed centre.

    camera_from_world: (K, 4, 4). log_scale: (K,) log of map units per unit of each keyframe's own depth. fixed: (K,)
    whose pose and scale stay. focal: pixels. focal_sigma: of the log focal length around `focal_prior`; 0: it is known.
    centre_xy: (2,).
    """

    camera_from_world: Array
    log_scale: Array
    fixed: Mask
    focal: float
    focal_prior: float
    focal_sigma: float
    centre_xy: Array

    def rays(self, slots: Index, places: Array) -> Array:
        """(M, 3) directions, z = 1, in the camera."""
        xy = (places - self.centre_xy) / self.focal
        return np.concatenate([xy, np.ones((len(xy), 1))], 1)


@dataclass(frozen=True)
class Observations:
    """M sightings of points. point: (M,) number of the point, from 0 on without gaps. slot: (M,) keyframe. places:
    (M, 2) pixels, centres at integer + 0.5. depth: (M,) of the keyframe's own dense depth there, nan where unknown."""

    point: Index
    slot: Index
    places: Array
    depth: Array

    def __len__(self) -> int:
        return len(self.point)

    @property
    def count(self) -> int:
        """Points."""
        return int(self.point.max()) + 1 if len(self.point) else 0

    def where(self, mask: Mask) -> Observations:
        """Those of a mask, points numbered anew."""
        _, point = np.unique(self.point[mask], return_inverse=True)
        return Observations(point.astype(np.int64), self.slot[mask], self.places[mask], self.depth[mask])


@dataclass(frozen=True)
class PoseFactors:
    """F relative poses that something else measured, photometric tracking for one.

    first, second: (F,) keyframes. second_from_first: (F, 4, 4), translation in the unit of the first one's depth.
    information: (F, 6, 6) of the twist [rho, phi] from the left.
    """

    first: Index
    second: Index
    second_from_first: Array
    information: Array

    @staticmethod
    def none() -> PoseFactors:
        nothing = np.zeros(0, np.int64)
        return PoseFactors(nothing, nothing, np.zeros((0, 4, 4)), np.zeros((0, 6, 6)))


@dataclass(frozen=True)
class Uncertainty:
    """What the equations leave open, sightings taken as independent of each other, which they are not quite.

    focal_std: of the log focal length; 0 where it is known. pose_covariance: (K, 6, 6) of each keyframe's twist
    [rho, phi] from the left; zero where it is fixed. Infinite where the equations do not say.
    """

    focal_std: float
    pose_covariance: Array


@dataclass(frozen=True)
class Adjusted:
    """What adjustment found.

    points: (P, 3) in the world; of `observations`, whose points are numbered so. kept: (M,) which of the observations
    given these are. rms_before, rms_after: reprojection in pixels over the observations that were kept, before with
    the points triangulated from the first cameras. cost: robust, at the end.
    """

    cameras: Cameras
    points: Array
    observations: Observations
    kept: Mask
    uncertainty: Uncertainty
    rms_before: float
    rms_after: float
    iterations: int
    cost: float

    @property
    def focal_std(self) -> float:
        return self.uncertainty.focal_std
