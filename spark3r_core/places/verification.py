"""Whether two pictures show one place: features, depth and PnP both ways, and what they say of each other.

Each way alone can be wrong: a flat thing that stands in two places gives a pose that fits. Both ways use the depth of
different pictures, so that they agree by chance only where the pictures do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spark3r_core.features.rootsift import Features, match
from spark3r_core.features.verify import camera_from_points
from spark3r_core.geometry import se3
from spark3r_core.geometry.sim3 import Sim3

Array = NDArray[np.float64]

LEAST_INLIERS = 30  # of both ways; pairs without overlap reach 10 to 20
MOST_DISTANCE = 0.7  # between the cameras, over median depth: look-alikes lie further apart
MOST_TURN_APART, MOST_SHIFT_APART, MOST_GROWTH_APART = 6.0, 0.2, 0.25  # degrees, median depths, log: of the two ways
CELLS, LEAST_CELLS = 6, 6  # the picture in 6 x 6 cells; so many must hold inliers
LEAST_SHARE = 0.06  # of the features that should be in view which must be found: a door is not its surroundings
TURN_SIGMA, SHIFT_SIGMA, GROWTH_SIGMA = 0.01, 0.03, 0.05  # radians, median depths, log: of an edge at best


@dataclass(frozen=True)
class View:
    """A picture with its features. depth: (N,) at them, nan where unknown. camera: (3, 3) of the picture."""

    features: Features
    depth: Array
    camera: Array
    picture_hw: tuple[int, int]

    @property
    def median_depth(self) -> float:
        known = self.depth[self.is_known]
        return float(np.median(known)) if len(known) else float("nan")

    @property
    def is_known(self) -> NDArray[np.bool_]:
        return np.asarray(np.isfinite(self.depth) & (self.depth > 0))

    def points(self, index: NDArray[np.int64]) -> Array:
        """(M, 3) in the camera, in the unit of the depth."""
        places = self.features.places[index].astype(np.float64)
        rays = (places - self.camera[:2, 2]) / self.camera[[0, 1], [0, 1]]
        return np.concatenate([rays, np.ones((len(rays), 1))], 1) * self.depth[index, None]


@dataclass(frozen=True)
class SamePlace:
    """Two views of one place.

    first_from_second: from the second's camera and unit to the first's. information: (7, 7) of [translation in the
    frame and unit of the first, rotation vector, log scale]. pairs: (M, 2) features that both ways agree on. share:
    of the features that should be in view which were found. distance: of the cameras over the median depth.
    """

    first_from_second: Sim3
    information: Array
    pairs: NDArray[np.int64]
    share: float
    distance: float


def verify(first: View, second: View) -> SamePlace | str:
    """The relation of two views, or why there is none."""
    pairs = match(first.features, second.features)
    pairs = pairs[first.is_known[pairs[:, 0]] & second.is_known[pairs[:, 1]]]
    if len(pairs) < LEAST_INLIERS:
        return f"{len(pairs)} matches"
    forth, back = _resected(first, second, pairs), _resected(second, first, pairs[:, ::-1])
    if forth is None or back is None:
        return "no pose"
    (second_from_first, fits_forth), (first_from_second, fits_back) = forth, back
    both = fits_forth & fits_back
    if both.sum() < LEAST_INLIERS:
        return f"{int(both.sum())} inliers"
    pairs = pairs[both]
    points = first.points(pairs[:, 0]), second.points(pairs[:, 1])
    seen = se3.transform_points(second_from_first, points[0])[:, 2], se3.transform_points(first_from_second, points[1])[:, 2]
    if min(seen[0].min(), seen[1].min()) <= 0:
        return "points behind a camera"
    growths = float(np.median(np.log(seen[0] / points[1][:, 2]))), float(np.median(np.log(points[0][:, 2] / seen[1])))
    growth = (growths[0] + growths[1]) / 2
    size = float(np.median(points[0][:, 2]))
    by_forth, by_back = se3.invert(second_from_first), first_from_second.copy()
    by_back[:3, 3] *= np.exp(growth)
    turn = float(np.degrees(se3.relative_angle(by_forth, by_back)))
    shift = float(np.linalg.norm(by_forth[:3, 3] - by_back[:3, 3])) / size
    apart = abs(growths[0] - growths[1])
    if turn > MOST_TURN_APART or shift > MOST_SHIFT_APART or apart > MOST_GROWTH_APART:
        return f"the two ways differ by {turn:.1f} degrees, {shift:.2f} depths, {np.exp(apart):.2f} times"
    middle = se3.interpolate(by_forth, by_back, 0.5)
    relation = Sim3(float(np.exp(growth)), middle[:3, :3], middle[:3, 3])
    distance = float(np.linalg.norm(middle[:3, 3])) / size
    if distance > MOST_DISTANCE:
        return f"{distance:.2f} depths apart"
    cells = min(_cells(first, pairs[:, 0]), _cells(second, pairs[:, 1]))
    if cells < LEAST_CELLS:
        return f"inliers in {cells} cells of the picture"
    share = min(_share(first, second, relation.inverse(), len(pairs)), _share(second, first, relation, len(pairs)))
    if share < LEAST_SHARE:
        return f"{share:.0%} of what should be in view"
    sigmas = np.array(
        [np.hypot(SHIFT_SIGMA, shift / 2) * size] * 3
        + [np.hypot(TURN_SIGMA, np.radians(turn) / 2)] * 3
        + [np.hypot(GROWTH_SIGMA, apart / 2)]
    )
    return SamePlace(relation, np.diag(1 / np.square(sigmas)), pairs, share, distance)


def _resected(known: View, other: View, pairs: NDArray[np.int64]) -> tuple[Array, NDArray[np.bool_]] | None:
    """other_from_known (4, 4), its translation in the unit of the known one, and which pairs (M, 2) agree."""
    places = other.features.places[pairs[:, 1]]
    return camera_from_points(known.points(pairs[:, 0]), places, other.camera, other.picture_hw[1])


def _cells(view: View, index: NDArray[np.int64]) -> int:
    """How many cells of the picture hold one of these features."""
    height, width = view.picture_hw
    at = np.clip(view.features.places[index] / np.array([width, height]) * CELLS, 0, CELLS - 1e-6).astype(int)
    return len(np.unique(at[:, 1] * CELLS + at[:, 0]))


def _share(view: View, other: View, other_from_view: Sim3, found: int) -> float:
    """Found over expected: features of `view` that should lie in the picture of `other`."""
    points = other_from_view.apply_to_points(view.points(np.flatnonzero(view.is_known)))
    ahead = points[:, 2] > 0
    at = points[ahead, :2] / points[ahead, 2:] * other.camera[[0, 1], [0, 1]] + other.camera[:2, 2]
    height, width = other.picture_hw
    inside = ((at >= 0) & (at < np.array([width, height]))).all(1)
    return found / max(1, int(inside.sum()))
