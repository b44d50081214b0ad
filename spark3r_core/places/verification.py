"""Whether two pictures show one place: features, depth and PnP both ways, and what they say of each other.

Each way alone can be wrong: a flat thing that stands in two places gives a pose that fits. Both ways use the depth of
different pictures, so that they agree by chance only where the pictures do. What both say is then adjusted on the
matches of both pictures together: a network's depth is off by a fifth, which turns into degrees where the lens is long.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spark3r_core.bundle.problem import Cameras, Observations, PoseFactors
from spark3r_core.bundle.solve import solve
from spark3r_core.features.rootsift import Features, match
from spark3r_core.features.verify import camera_from_points, epipolar_inliers
from spark3r_core.geometry import se3
from spark3r_core.geometry.sim3 import Sim3

Array = NDArray[np.float64]
Index = NDArray[np.int64]

LEAST_INLIERS = 30  # that epipolar geometry allows, and that remain in the end; pairs without overlap reach 10 to 20
MOST_DISTANCE = 0.7  # between the cameras, over median depth: look-alikes lie further apart
MOST_TURN_APART, MOST_SHIFT_APART, MOST_GROWTH_APART = 15.0, 0.3, 0.3  # degrees, median depths, log: of the two ways
CELLS, LEAST_CELLS = 6, 4  # the picture in 6 x 6 cells; so many must hold inliers
EXPECTED = 5  # features in a cell that the other picture should see, for it to count
LEAST_COVERED = 0.3  # of such cells in which one must be found: a door is not its surroundings
TURN_SIGMA, SHIFT_SIGMA, GROWTH_SIGMA = 0.01, 0.03, 0.1  # radians, median depths, log: of an edge


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

    def points(self, index: Index) -> Array:
        """(M, 3) in the camera, in the unit of the depth."""
        places = self.features.places[index].astype(np.float64)
        rays = (places - self.camera[:2, 2]) / self.camera[[0, 1], [0, 1]]
        return np.concatenate([rays, np.ones((len(rays), 1))], 1) * self.depth[index, None]


@dataclass(frozen=True)
class SamePlace:
    """Two views of one place.

    first_from_second: from the second's camera and unit to the first's. information: (7, 7) of [translation in the
    frame and unit of the first, rotation vector, log scale]. pairs: (M, 2) features that agree. covered: share of
    what both should see in which matches lie. distance: of the cameras over the median depth.
    """

    first_from_second: Sim3
    information: Array
    pairs: Index
    covered: float
    distance: float


def verify(first: View, second: View) -> SamePlace | str:
    """The relation of two views, or why there is none."""
    pairs = match(first.features, second.features)
    pairs = pairs[first.is_known[pairs[:, 0]] & second.is_known[pairs[:, 1]]]
    width = first.picture_hw[1]
    pairs = pairs[epipolar_inliers(first.features.places[pairs[:, 0]], second.features.places[pairs[:, 1]], width)]
    if len(pairs) < LEAST_INLIERS:
        return f"{len(pairs)} matches agree"
    forth, back = resected(first, second, pairs), resected(second, first, pairs[:, ::-1])
    if forth is None or back is None:
        return "no pose that the depth allows"
    size = float(np.median(first.depth[pairs[:, 0]]))
    by_forth, by_back = (
        _one_unit(first, second, pairs, *forth),
        _one_unit(second, first, pairs[:, ::-1], *back).inverse(),
    )
    turn = float(np.degrees(se3.relative_angle(by_forth.matrix, by_back.matrix)))
    shift = float(np.linalg.norm(by_forth.translation - by_back.translation)) / size
    growth = abs(float(np.log(by_forth.scale / by_back.scale)))
    if turn > MOST_TURN_APART or shift > MOST_SHIFT_APART or growth > MOST_GROWTH_APART:
        return f"the two ways differ by {turn:.1f} degrees, {shift:.2f} depths, {np.exp(growth):.2f} times"
    relation, kept = _adjusted(first, second, pairs, by_forth, by_back)
    pairs = pairs[kept]
    if len(pairs) < LEAST_INLIERS:
        return f"{len(pairs)} matches agree after adjustment"
    distance = float(np.linalg.norm(relation.translation)) / size
    covered = min(
        _covered(first, second, relation.inverse(), pairs[:, 0]), _covered(second, first, relation, pairs[:, 1])
    )
    if why := _why_not_one_place(first, second, pairs, distance, covered):
        return why
    sigmas = np.array([SHIFT_SIGMA * size] * 3 + [TURN_SIGMA] * 3 + [GROWTH_SIGMA])
    return SamePlace(relation, np.diag(1 / np.square(sigmas)), pairs, covered, distance)


def seen_from(known: View, features: Features) -> tuple[Array, int, float] | str:
    """known_from_camera (4, 4) of a picture of the same camera whose depth is not known, how many matches agree, and
    the distance over median depth; or why there is none. One way only: ask more than one view.
    """
    other = View(features, np.full(len(features), np.nan), known.camera, known.picture_hw)
    pairs = match(known.features, features)
    pairs = pairs[known.is_known[pairs[:, 0]]]
    width = known.picture_hw[1]
    pairs = pairs[epipolar_inliers(known.features.places[pairs[:, 0]], features.places[pairs[:, 1]], width)]
    found = resected(known, other, pairs) if len(pairs) >= LEAST_INLIERS else None
    if found is None or found[1].sum() < LEAST_INLIERS:
        return f"{len(pairs)} matches agree" if found is None else f"{int(found[1].sum())} of them fit the depth"
    pose, fits = se3.invert(found[0]), found[1]
    pairs = pairs[fits]
    distance = float(np.linalg.norm(pose[:3, 3])) / float(np.median(known.depth[pairs[:, 0]]))
    covered = _covered(known, other, Sim3(1.0, found[0][:3, :3], found[0][:3, 3]), pairs[:, 0])
    if why := _why_not_one_place(known, other, pairs, distance, covered):
        return why
    return pose, len(pairs), distance


def _why_not_one_place(first: View, second: View, pairs: Index, distance: float, covered: float) -> str:
    """What speaks against two views that matches (M, 2) join; empty for nothing."""
    if distance > MOST_DISTANCE:
        return f"{distance:.2f} depths apart"
    cells = min(len(np.unique(_cell(view, index))) for view, index in zip((first, second), pairs.T, strict=True))
    if cells < LEAST_CELLS:
        return f"matches in {cells} cells of the picture"
    if covered < LEAST_COVERED:
        return f"matches in {covered:.0%} of what both should see"
    return ""


def resected(known: View, other: View, pairs: Index) -> tuple[Array, NDArray[np.bool_]] | None:
    """other_from_known (4, 4), its translation in the unit of the known one, and which pairs (M, 2) agree."""
    places = other.features.places[pairs[:, 1]]
    return camera_from_points(known.points(pairs[:, 0]), places, other.camera, other.picture_hw[1])


def _one_unit(known: View, other: View, pairs: Index, other_from_known: Array, fits: NDArray[np.bool_]) -> Sim3:
    """known_from_other with the scale that their depths say."""
    z = se3.transform_points(other_from_known, known.points(pairs[fits, 0]))[:, 2]
    ahead = z > 0
    scale = float(np.median(z[ahead] / other.depth[pairs[fits, 1]][ahead])) if ahead.any() else 1.0
    back = se3.invert(other_from_known)
    return Sim3(scale, back[:3, :3], back[:3, 3])


def _adjusted(first: View, second: View, pairs: Index, by_forth: Sim3, by_back: Sim3) -> tuple[Sim3, NDArray[np.bool_]]:
    """first_from_second by adjusting both views together, and which pairs (M, 2) agree with it."""
    forth, back = (se3.make_pose(one.rotation, one.translation) for one in (by_forth, by_back))
    middle = se3.interpolate(forth, back, 0.5)
    focal = float(np.sqrt(first.camera[0, 0] * first.camera[1, 1]))
    scale = float(np.sqrt(by_forth.scale * by_back.scale))  # taken out: adjustment expects units that are alike
    cameras = Cameras(
        np.stack([np.eye(4), se3.invert(middle)]),
        np.zeros(2),
        np.array([True, False]),
        focal, focal, 0.0, np.zeros(2),
    )  # fmt: skip
    count = np.arange(len(pairs))
    places = [
        (view.features.places[index].astype(np.float64) - view.camera[:2, 2]) * focal / view.camera[[0, 1], [0, 1]]
        for view, index in ((first, pairs[:, 0]), (second, pairs[:, 1]))
    ]
    seen = Observations(
        np.concatenate([count, count]),
        np.repeat([0, 1], len(pairs)),
        np.concatenate(places),
        np.concatenate([first.depth[pairs[:, 0]], scale * second.depth[pairs[:, 1]]]),
    )
    try:
        found = solve(cameras, seen, PoseFactors.none(), first.picture_hw[1])
    except (ValueError, np.linalg.LinAlgError):  # no point lies before both
        return Sim3(), np.zeros(len(pairs), bool)
    pose = se3.require_se3(se3.invert(found.cameras.camera_from_world[1]))
    kept = found.kept[: len(pairs)] & found.kept[len(pairs) :]
    return Sim3(scale * float(np.exp(found.cameras.log_scale[1])), pose[:3, :3], pose[:3, 3]), kept


def _cell(view: View, index: Index) -> Index:
    """(M,) which cell of the picture each of these features lies in."""
    height, width = view.picture_hw
    at = np.clip(view.features.places[index] / np.array([width, height]) * CELLS, 0, CELLS - 1e-6).astype(np.int64)
    return at[:, 1] * CELLS + at[:, 0]


def _covered(view: View, other: View, other_from_view: Sim3, found: Index) -> float:
    """Of the cells of `view` whose features should lie in the picture of `other`, the share in which one was found."""
    known = np.flatnonzero(view.is_known)
    points = other_from_view.apply_to_points(view.points(known))
    ahead = points[:, 2] > 0
    at = points[:, :2] / np.where(ahead, points[:, 2], 1.0)[:, None] * other.camera[[0, 1], [0, 1]]
    height, width = other.picture_hw
    inside = ahead & ((at + other.camera[:2, 2] >= 0) & (at + other.camera[:2, 2] < np.array([width, height]))).all(1)
    expected = np.bincount(_cell(view, known[inside]), minlength=CELLS * CELLS) >= EXPECTED
    holds = np.bincount(_cell(view, found), minlength=CELLS * CELLS) > 0
    return float((expected & holds).sum()) / max(1, int(expected.sum()))
