"""The maps of several cameras among each other: who has met whom, where each lies, and all of them adjusted at the end.

Maps are known by the number of their camera. A map is rooted in the lowest of those that it was joined with, in whose
frame and unit it lies.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from spark3r_core.geometry.alignment import umeyama
from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.stream.keyframe_map import KeyframeMap
from spark3r_core.stream.likely_maps import LikelyMaps
from spark3r_core.stream.meeting import PROPOSALS, VERIFICATIONS, Relation, related
from spark3r_core.stream.merging import NotMerged, merged
from spark3r_core.stream.place_search import Recognised, looked_for

log = logging.getLogger(__name__)

MOST_MAPS = 4  # that a keyframe is looked for in: where there are more, those with the pictures most like it
LEAST_KEYFRAMES = 3  # of a map that is adjusted together with another one


@dataclass(frozen=True, eq=False)
class Rooted:
    """Where a camera's map lies: in that of camera `root`. pairs: of keyframes by which it was joined last; 0 for the
    root itself, and where a rig says it. scale_std: of the logarithm of the scale."""

    root: int
    root_from_own: Sim3
    pairs: int = 0
    scale_std: float = 0.0


class CamerasTogether:
    """Looks for places that two of `count` cameras have seen. Every method computes first and changes last."""

    def __init__(self, count: int) -> None:
        self.rooted: dict[int, Rooted] = {number: Rooted(number, Sim3()) for number in range(count)}
        self._recognised: dict[tuple[int, int], Recognised] = {}
        self._relations: dict[tuple[int, int], Relation] = {}
        self._likely = LikelyMaps()

    @property
    def relations(self) -> Mapping[tuple[int, int], Relation]:
        """Which maps were joined and how, by the numbers of their cameras, the lower first."""
        return self._relations

    def go_on_with(self, relations: Mapping[tuple[int, int], Relation]) -> None:
        """Take over what was known before, of maps that lie as they did then."""
        self._relations = dict(relations)
        self.rooted = _rooted(len(self.rooted), self._relations)

    def relate(self, first: int, second: int, first_from_second: Sim3, scale_std: float) -> None:
        """The cameras are on one rig, and that says where the second's map lies in the first's: from now on, whatever
        was known. scale_std: of the logarithm of the scale."""
        pair, lies = (first, second), first_from_second
        if first > second:
            pair, lies = (second, first), first_from_second.inverse()
        relations = {**self._relations, pair: Relation(lies, (), scale_std)}
        self.rooted, self._relations = _rooted(len(self.rooted), relations), relations

    def look(self, camera: int, frame_id: int, worlds: Mapping[int, KeyframeMap]) -> bool:
        """Look for a new keyframe of a camera in the maps of those that it is not joined with, or in the most likely of
        them; whether it was joined, or is known to lie elsewhere than before. worlds: those maps that may be joined, by
        camera."""
        joined = self._follow(camera, worlds)
        others = [one for one in sorted(worlds) if self.rooted[one].root != self.rooted[camera].root]
        if len(others) > MOST_MAPS:
            others = self._likely.most_likely(camera, frame_id, worlds, others, MOST_MAPS)
        for other in others:
            if self.rooted[other].root == self.rooted[camera].root:  # by one of those before
                continue
            pair = min(camera, other), max(camera, other)
            first, second = worlds[pair[0]], worlds[pair[1]]
            before = self._recognised.get(pair, Recognised())
            now = looked_for(
                before, first, second, frame_id,
                in_first=camera == pair[0], proposals=PROPOSALS, verifications=VERIFICATIONS,
            )  # fmt: skip
            found = related(now, first, second) if len(now.pairs) > len(before.pairs) else None
            self._recognised[pair] = now
            if found is not None:
                self._relations[pair] = found
                self.rooted = _rooted(len(self.rooted), self._relations)
                joined = True
        return joined

    def _follow(self, camera: int, worlds: Mapping[int, KeyframeMap]) -> bool:
        """Relations of a camera whose map has changed: the same pairs say by what they are now. Whether any moved."""
        moved = False
        for pair, before in self._relations.items():
            is_by_places = before.pairs and pair in self._recognised  # else by a rig, or an earlier run
            if camera not in pair or not worlds.keys() >= set(pair) or not is_by_places:
                continue
            first, second = worlds[pair[0]], worlds[pair[1]]
            now = related(self._recognised[pair], first, second)
            if now is not None and before.is_off(now, second):
                self._relations = {**self._relations, pair: now}
                self.rooted = _rooted(len(self.rooted), self._relations)
                moved = True
        return moved

    def forget(self, camera: int) -> None:
        """Its map was given up: what waits to be believed of it is about pictures that are gone. Where it was joined
        already, it stays."""
        self._recognised = {pair: one for pair, one in self._recognised.items() if camera not in pair}


@dataclass(frozen=True, eq=False)
class Together:
    """Several maps adjusted as one. places: where keyframes lie in the map of camera `root`, by camera and frame id.
    before: where they lay in the map of their own camera."""

    root: int
    places: dict[int, dict[int, Sim3]]
    before: dict[int, dict[int, Sim3]]

    def moved(self, camera: int) -> dict[int, Sim3]:
        """By frame id, how each keyframe has moved: what took its own map there."""
        before = self.before[camera]
        return {frame_id: place @ before[frame_id].inverse() for frame_id, place in self.places[camera].items()}

    def root_from_own(self, camera: int) -> Sim3:
        """The similarity that takes a camera's own map there, as nearly as one can."""
        before = self.before[camera]
        ids = sorted(self.places[camera])
        size = float(np.std([before[one].translation for one in ids], axis=0).max()) or 1.0
        points = np.concatenate([np.zeros((1, 3)), size * np.eye(3)])
        here, there = (
            np.concatenate([at.translation + points @ at.rotation.T * scale for one in ids for at in [lies[one]]])
            for lies, scale in ((before, 1.0), (self.places[camera], self._spread(camera)))
        )
        return umeyama(here, there)

    def _spread(self, camera: int) -> float:
        """How much larger the camera's way is there."""
        before, after = (
            np.array([lies[one].translation for one in sorted(self.places[camera])])
            for lies in (self.before[camera], self.places[camera])
        )
        spreads = [float(np.sqrt(np.square(one - one.mean(0)).sum())) for one in (after, before)]
        return spreads[0] / spreads[1] if min(spreads) > 0 else 1.0


@dataclass(frozen=True, eq=False)
class MergedMaps:
    """Maps of several cameras as one. shifts: by camera, how much higher its keyframes' ids are in it."""

    shifts: Mapping[int, int]
    map: KeyframeMap

    def together(self, worlds: Mapping[int, KeyframeMap]) -> Together:
        """worlds: the maps as they were, by camera."""
        lies = self.map.keyframes
        places = {
            camera: {
                frame_id: lies[frame_id + shift].map_from_keyframe
                for frame_id in worlds[camera].keyframes
                if frame_id + shift in lies
            }
            for camera, shift in self.shifts.items()
        }
        before = {
            camera: {frame_id: worlds[camera].keyframes[frame_id].map_from_keyframe for frame_id in found}
            for camera, found in places.items()
        }
        return Together(min(self.shifts), places, before)


def merged_maps(worlds: Mapping[int, KeyframeMap]) -> list[MergedMaps]:
    """Maps of cameras joined with each other where they have a place in common, and adjusted together; one for each
    group of at least two. Maps stay apart where no place is common, or where the cameras are not alike (`merging`)."""
    groups: list[tuple[dict[int, int], KeyframeMap]] = []  # by camera, how much higher its ids are
    for camera in sorted(worlds):
        world = worlds[camera]
        if len(world.keyframes) < LEAST_KEYFRAMES:
            continue
        for place, (shifts, both) in enumerate(groups):
            try:
                found = merged(both, world)
            except NotMerged as error:
                log.debug("camera %d and %s stay apart: %s", camera, sorted(shifts), error)
                continue
            groups[place] = {**shifts, camera: found.ids_shift}, found.map
            break
        else:
            groups.append(({camera: 0}, world))
    return [MergedMaps(shifts, both) for shifts, both in groups if len(shifts) > 1]


def _rooted(count: int, relations: Mapping[tuple[int, int], Relation]) -> dict[int, Rooted]:
    """Every camera from the lowest one that it can be reached from, over as few others as that takes."""
    rooted: dict[int, Rooted] = {}
    for root in range(count):
        if root in rooted:
            continue
        rooted[root] = Rooted(root, Sim3())
        reached: Sequence[int] = [root]
        while reached:
            nearest = []
            for (first, second), found in sorted(relations.items()):
                for near, far in itertools.permutations((first, second)):
                    if near in reached and far not in rooted:
                        step = found.first_from_second if near == first else found.first_from_second.inverse()
                        std = math.hypot(rooted[near].scale_std, found.scale_std)
                        rooted[far] = Rooted(root, rooted[near].root_from_own @ step, len(found.pairs), std)
                        nearest.append(far)
            reached = nearest
    return rooted
