"""Sightings of tags by keyframes, so that they follow where keyframes go.

A frame that is no keyframe says nothing here: tracking knows its pose to a centimetre, which is a tenth of the way that
a camera moves while it passes a tag. So frames that show a tag are wanted as keyframes until its place is known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.metric.bent import Bends, log_factors
from spark3r_core.metric.scale import ScaleEvidence
from spark3r_core.metric.tag_fit import TagFit, TagView, fit_tag
from spark3r_core.metric.tags import TagSighting, TagSpec

Array = NDArray[np.float64]

MOST_TAGS = 32  # ids; more are false ones, or a wall of tags of which 32 say enough
MOST_KEYFRAMES = 24  # with sightings of a tag
DEPTH_STD = 0.15  # of the logarithm of a keyframe's depth at one place, as the network has it,
BENT_DEPTH_STD = 0.1  # and where it goes through the points around,
READ_DEPTH_STD = 0.02  # and where it was read off several views
LEAST_READ = 12  # pixels of a tag whose depth several views agree on, and
LEAST_READ_SHARE = 0.3  # of all that it covers
PLANE_ROUNDS, PLANE_REACH = 3, 3.0  # of its fit, and medians of what pixels are off by, beyond which one is no part
WELL_KNOWN = 0.005  # standard deviation of the scale by a tag, from which on no more keyframes are wanted for it
APART = 0.03  # of the median depth, from a keyframe that sees a tag to the next that is wanted for it


@dataclass(frozen=True)
class TagDepth:
    """z of a tag's centre in the unit of a keyframe, by the keyframe's own depth, and where it is seen there, as
    fractions of width and height."""

    z: float
    fraction: tuple[float, float]


@dataclass(frozen=True, eq=False)
class _Seen:
    """corners: (4, 2) pixels. picture_wh: size of the picture they are of. read_z: of the tag's centre as several views
    have it, in the keyframe's unit."""

    corners: Array
    depth: TagDepth | None
    picture_wh: tuple[int, int]
    read_z: float | None = None


class TagEvidence:
    """Of one kind of tags, for one map."""

    def __init__(self, spec: TagSpec) -> None:
        self.spec = spec
        self._seen: dict[int, dict[int, _Seen]] = {}  # by tag and keyframe
        self._stds: dict[int, float] = {}  # of the scale by each tag, when it was last asked for

    def add(self, sighting: TagSighting, keyframe_id: int, depth: TagDepth | None, picture_wh: tuple[int, int]) -> None:
        """By a keyframe, whose picture has this size."""
        self._add(sighting.tag_id, keyframe_id, _Seen(sighting.corners, depth, picture_wh))

    def _add(self, tag_id: int, keyframe_id: int, seen: _Seen) -> None:
        if tag_id not in self._seen and len(self._seen) >= MOST_TAGS:
            return
        by_keyframe = self._seen.setdefault(tag_id, {})
        by_keyframe[keyframe_id] = seen
        while len(by_keyframe) > MOST_KEYFRAMES:
            ids = sorted(by_keyframe)
            closest = min(range(1, len(ids) - 1), key=lambda i: ids[i + 1] - ids[i - 1])
            del by_keyframe[ids[closest]]

    def read(self, keyframe_id: int, depth: NDArray[np.float32]) -> None:
        """Depth of a keyframe as several views have it, (h, w) in its unit, not finite where they do not agree."""
        for by_keyframe in self._seen.values():
            if keyframe_id in by_keyframe:
                seen = by_keyframe[keyframe_id]
                z = centre_depth(seen.corners / seen.picture_wh, depth)
                by_keyframe[keyframe_id] = seen if z is None else replace(seen, read_z=z)

    def wants_view(self, tags: Sequence[TagSighting], keyframe_id: int, distance: float) -> bool:
        """Whether a frame that shows these tags would say more of one, as a keyframe. keyframe_id: on which it was
        tracked; distance: from there, in median depths of it."""
        for tag in tags:
            is_new_view = distance > APART or keyframe_id not in self._seen.get(tag.tag_id, {})
            if is_new_view and self._stds.get(tag.tag_id, np.inf) > WELL_KNOWN:
                return True
        return False

    def take_in(self, other: TagEvidence) -> None:
        """What was seen in a map that this one was joined with; within the same limits."""
        for tag_id, by_keyframe in other._seen.items():
            for keyframe_id, one in by_keyframe.items():
                self._add(tag_id, keyframe_id, one)

    def fits(self, map_from_key: Mapping[int, Sim3], camera: Array, bends: Bends) -> dict[int, TagFit]:
        """By tag id, those that the sightings agree on. map_from_key: of keyframes by id; camera: (3, 3) of the picture
        as known now; bends: of the keyframes' depth."""
        found = {}
        for tag_id, by_keyframe in sorted(self._seen.items()):
            fit = fit_tag(self.spec, self._views(by_keyframe, map_from_key, camera, bends))
            if fit is not None:
                found[tag_id] = fit
        self._stds = {tag_id: fit.log_std for tag_id, fit in found.items()}
        return found

    def scales(self, fits: Mapping[int, TagFit]) -> list[ScaleEvidence]:
        return [
            ScaleEvidence(-float(np.log(fit.map_from_tag.scale)), fit.log_std, f"tag {self.spec.family}:{tag_id}")
            for tag_id, fit in fits.items()
        ]

    @staticmethod
    def _views(
        by_keyframe: Mapping[int, _Seen], map_from_key: Mapping[int, Sim3], camera: Array, bends: Bends
    ) -> list[TagView]:
        views = []
        for keyframe_id, one in by_keyframe.items():
            lies = map_from_key.get(keyframe_id)
            if lies is None:
                continue
            depth, std = None, DEPTH_STD
            if one.read_z is not None:
                depth, std = one.read_z * lies.scale, READ_DEPTH_STD
            elif one.depth is not None:
                bend = float(log_factors(bends, keyframe_id, [one.depth.fraction])[0])
                depth = one.depth.z * float(np.exp(bend)) * lies.scale
                std = BENT_DEPTH_STD if keyframe_id in bends else DEPTH_STD
            views.append(TagView(one.corners, camera, lies.apply_to_poses(np.eye(4)), depth, std))
        return views


def centre_depth(corners: Array, depth: NDArray[np.float32]) -> float | None:
    """z of a tag's centre by what of it is known in a depth map (h, w); None where that is too little.

    corners: (4, 2), as fractions of width and height. The tag is a plane, whose inverse depth changes evenly over the
    picture; its centre is where its diagonals cross.
    """
    height, width = depth.shape
    covered = np.zeros(depth.shape, np.uint8)
    cv2.fillConvexPoly(covered, np.rint(corners * [width, height] - 0.5).astype(np.int32), 1)
    rows, columns = np.nonzero(covered)
    z = depth[rows, columns]
    known = np.isfinite(z) & (z > 0)
    if known.sum() < max(LEAST_READ, LEAST_READ_SHARE * len(z)):
        return None
    places = np.stack([(columns + 0.5) / width, (rows + 0.5) / height, np.ones(len(z))], 1)[known]
    inverse = 1 / z[known].astype(np.float64)
    plane = np.array([0.0, 0.0, np.median(inverse)])
    for _ in range(PLANE_ROUNDS):
        off = np.abs(places @ plane - inverse)
        near = off <= max(PLANE_REACH * float(np.median(off)), 1e-9)
        plane = np.linalg.lstsq(places[near], inverse[near], rcond=None)[0]
    at_centre = float(plane @ crossing(corners))
    return 1 / at_centre if at_centre > 0 else None


def crossing(corners: Array) -> Array:
    """(3,) where the diagonals of four corners (4, 2) in order cross: x, y and 1."""
    homogeneous = np.column_stack([corners, np.ones(4)])
    first, second = (np.cross(homogeneous[i], homogeneous[i + 2]) for i in (0, 1))
    place = np.cross(first, second)
    return np.asarray(place / place[2], np.float64)
