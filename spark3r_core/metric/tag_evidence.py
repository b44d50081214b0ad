"""Sightings of tags, kept with the keyframe that each was tracked on, so that they follow where keyframes go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.metric.scale import ScaleEvidence
from spark3r_core.metric.tag_fit import TagFit, TagView, fit_tag
from spark3r_core.metric.tags import TagSighting, TagSpec

Array = NDArray[np.float64]

MOST_TAGS = 32  # ids; more are false ones, or a wall of tags of which 32 say enough
MOST_PER_KEYFRAME = 4  # sightings of a tag by the frames of one keyframe
MOST_KEYFRAMES = 24  # with sightings of a tag
LEAST_DEPTH_POINTS = 4


@dataclass(frozen=True, eq=False)
class _Seen:
    """A sighting by a frame. key_from_camera: (4, 4); depth: see `TagView`; both in the unit of the keyframe."""

    corners: Array
    key_from_camera: Array
    depth: float | None


class TagEvidence:
    """Of one kind of tags, for one map."""

    def __init__(self, spec: TagSpec) -> None:
        self.spec = spec
        self._seen: dict[int, dict[int, list[_Seen]]] = {}  # by tag and keyframe

    def add(self, sighting: TagSighting, keyframe_id: int, key_from_camera: Array, depth: float | None) -> None:
        """By a frame, see `_Seen`; a keyframe sees it from (4, 4) the identity."""
        if sighting.tag_id not in self._seen and len(self._seen) >= MOST_TAGS:
            return
        by_keyframe = self._seen.setdefault(sighting.tag_id, {})
        held = by_keyframe.setdefault(keyframe_id, [])
        if len(held) >= MOST_PER_KEYFRAME:
            held.pop()  # the first ones and the newest lie farthest apart
        held.append(_Seen(sighting.corners, key_from_camera, depth))
        while len(by_keyframe) > MOST_KEYFRAMES:
            ids = sorted(by_keyframe)
            closest = min(range(1, len(ids) - 1), key=lambda i: ids[i + 1] - ids[i - 1])
            del by_keyframe[ids[closest]]

    def take_in(self, other: TagEvidence) -> None:
        """What was seen in a map that this one was joined with; within the same limits."""
        for tag_id, by_keyframe in other._seen.items():
            for keyframe_id, seen in by_keyframe.items():
                for one in seen:
                    self.add(TagSighting(tag_id, one.corners), keyframe_id, one.key_from_camera, one.depth)

    def fits(self, map_from_key: Mapping[int, Sim3], camera: Array) -> dict[int, TagFit]:
        """By tag id, those that the sightings agree on. map_from_key: of keyframes by id; camera: (3, 3) of the picture
        as known now."""
        found = {}
        for tag_id, by_keyframe in sorted(self._seen.items()):
            fit = fit_tag(self.spec, self._views(by_keyframe, map_from_key, camera))
            if fit is not None:
                found[tag_id] = fit
        return found

    def scales(self, fits: Mapping[int, TagFit]) -> list[ScaleEvidence]:
        return [
            ScaleEvidence(-float(np.log(fit.map_from_tag.scale)), fit.log_std, f"tag {self.spec.family}:{tag_id}")
            for tag_id, fit in fits.items()
        ]

    @staticmethod
    def _views(
        by_keyframe: Mapping[int, list[_Seen]], map_from_key: Mapping[int, Sim3], camera: Array
    ) -> list[TagView]:
        views = []
        for keyframe_id, seen in by_keyframe.items():
            lies = map_from_key.get(keyframe_id)
            if lies is None:
                continue
            for one in seen:
                depth = None if one.depth is None else one.depth * lies.scale
                pose = lies.apply_to_poses(one.key_from_camera)
                views.append(TagView(one.corners, camera, pose, depth, keyframe_id))
        return views


def depth_at(corners: Array, points: NDArray[np.floating], camera: Array) -> float | None:
    """Median z of those of `points` (N, 3), in the camera's axes, that are seen inside a tag; None where too few are.

    corners: (4, 2) pixels of `camera` (3, 3), in either sense of rotation.
    """
    ahead = np.asarray(points, np.float64)[np.asarray(points)[:, 2] > 1e-9]
    pixels = ahead[:, :2] / ahead[:, 2:] * np.diag(camera)[:2] + camera[:2, 2]
    edges = np.roll(corners, -1, axis=0) - corners
    offsets = pixels[:, None] - corners
    side = edges[:, 0] * offsets[..., 1] - edges[:, 1] * offsets[..., 0]
    inside = (side > 0).all(1) | (side < 0).all(1)
    return float(np.median(ahead[inside, 2])) if inside.sum() >= LEAST_DEPTH_POINTS else None
