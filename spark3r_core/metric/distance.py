"""A distance that was measured between two points of the scene, each named by a pixel of a picture."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spark3r_core.errors import GeometryError
from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.metric.bent import Bends, log_factors
from spark3r_core.metric.scale import ScaleEvidence

Array = NDArray[np.float64]

# Standard deviation of a keyframe's depth at one place: of several views, by the points around, and the network's.
SEVERAL_VIEWS_STD, BENT_STD, OWN_STD = 0.02, 0.1, 0.15
PIXEL_STD = 1.0  # of where a person says that a point is
NEAR = 1  # pixels of a depth map around a place whose median counts
_EXAMPLE = "120:310,200 (pixel 310 from the left and 200 from above of picture 120, both from 0)"


@dataclass(frozen=True)
class NamedPoint:
    """What pixel (x, y) of a picture shows: pictures count from 0, pixels of the undistorted one from its corner."""

    picture: int
    x: float
    y: float

    @staticmethod
    def parse(words: str) -> NamedPoint:
        """ "120:310,200". Raises GeometryError that says what was expected."""
        match = re.fullmatch(r"\s*(\d{1,9}):(\d{1,5}(?:\.\d*)?),(\d{1,5}(?:\.\d*)?)\s*", words)
        if match is None:
            raise GeometryError(f"cannot read the point {words!r}; write PICTURE:X,Y, as in {_EXAMPLE}")
        return NamedPoint(int(match[1]), float(match[2]), float(match[3]))

    def __str__(self) -> str:
        return f"{self.picture}:{self.x:g},{self.y:g}"


@dataclass(frozen=True, eq=False)
class _Seen:
    """point: (3,) in the keyframe's camera and unit; fraction: (2,) where, of width and height; pixel: what one pixel
    of the picture is there; of_several_views: its depth is not the network's."""

    keyframe_id: int
    point: Array
    fraction: Array
    pixel: float
    of_several_views: bool


class DistanceEvidence:
    """Of one map: `first` and `second` lie `metres` apart."""

    def __init__(self, first: NamedPoint, second: NamedPoint, metres: float) -> None:
        self.points, self.metres = (first, second), metres
        self._seen: list[_Seen | None] = [None, None]

    def wants_picture(self, picture: int) -> bool:
        """Whether the picture of this number should be a keyframe."""
        return any(
            point.picture == picture and seen is None for point, seen in zip(self.points, self._seen, strict=True)
        )

    def outside(self, picture: int, picture_wh: tuple[int, int]) -> list[NamedPoint]:
        """Points that are named in a picture of this number, and lie outside of one of this size."""
        width, height = picture_wh
        return [one for one in self.points if one.picture == picture and not (one.x < width and one.y < height)]

    def add(
        self,
        picture: int,
        picture_wh: tuple[int, int],
        keyframe_id: int,
        depth: NDArray[np.float32],
        intrinsics: Array,
        *,
        of_several_views: bool,
    ) -> None:
        """Depth of a keyframe, (h, w) in its unit, with its (3, 3) intrinsics; a later one of the same replaces it.
        picture: the keyframe's number; picture_wh: its size."""
        for which, point in enumerate(self.points):
            if point.picture != picture or self.outside(picture, picture_wh):
                continue
            fraction = np.minimum(np.array([point.x + 0.5, point.y + 0.5]) / picture_wh, 1 - 1e-9)
            height, width = depth.shape
            column, row = np.floor(fraction * [width, height]).astype(int)
            around = depth[max(0, row - NEAR) : row + NEAR + 1, max(0, column - NEAR) : column + NEAR + 1]
            known = around[np.isfinite(around) & (around > 0)]
            if not len(known):
                continue
            z = float(np.median(known))
            ray = np.linalg.solve(intrinsics, [*(fraction * [width, height]), 1.0])
            pixel = z / intrinsics[0, 0] * width / picture_wh[0]
            self._seen[which] = _Seen(keyframe_id, z * ray, fraction, pixel, of_several_views)

    def take_in(self, other: DistanceEvidence) -> None:
        """What was seen in a map that this one was joined with."""
        self._seen = [own or theirs for own, theirs in zip(self._seen, other._seen, strict=True)]

    def scale(self, map_from_key: Mapping[int, Sim3], bends: Bends) -> ScaleEvidence | None:
        """None while one of the two was not seen, or they lie in one place."""
        places, stds = [], []
        for seen in self._seen:
            if seen is None or seen.keyframe_id not in map_from_key:
                return None
            lies, point, std = map_from_key[seen.keyframe_id], seen.point, SEVERAL_VIEWS_STD
            if not seen.of_several_views:
                point = point * np.exp(log_factors(bends, seen.keyframe_id, [seen.fraction])[0])
                std = BENT_STD if seen.keyframe_id in bends else OWN_STD
            places.append(lies.apply_to_points(point))
            stds.append((lies.scale * (lies.rotation @ point) * std, lies.scale * seen.pixel * PIXEL_STD))
        way = places[1] - places[0]
        distance = float(np.linalg.norm(way))
        if distance <= 0:
            return None
        along = [math.hypot(float(by_depth @ way) / distance, by_pixel) for by_depth, by_pixel in stds]
        first, second = self.points
        source = f"{self.metres:g} m from {first} to {second}"
        return ScaleEvidence(float(np.log(self.metres / distance)), math.hypot(*along) / distance, source)
