"""A map in another process, kept like the first: what has changed since, and how it is applied. Pure.

A keyframe is sent whole once, and again only if its depth or features are others; where it lies is sent whenever it
moved. Of tracks those keyframes are sent whose observations changed. Places are recognised anew where the map goes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from spark3r_core.features.tracks import Tracks
from spark3r_core.places.agreement import Places
from spark3r_core.stream.keyframe_map import Keyframe, KeyframeMap
from spark3r_core.stream.loops import remembered

Lies = tuple[NDArray[np.float64], float, NDArray[np.float64]]
Seen = tuple[NDArray[np.int32], NDArray[np.int32]]  # track and feature, of one keyframe's observations


@dataclass(frozen=True, eq=False)
class MapChange:
    """base: version that it builds on; 0: none, it is the whole map. frame_ids: of all keyframes; others are gone.
    whole: keyframes that are new or have other content. moved: pose, scale and depth_intrinsics of others. seen: tracks
    of keyframes where they changed. rest: the map without keyframes, tracks and places. gave_up: see `FollowedMapper`.
    """

    base: int
    version: int
    frame_ids: tuple[int, ...]
    whole: dict[int, Keyframe]
    moved: dict[int, Lies]
    seen: dict[int, Seen]
    rest: KeyframeMap
    gave_up: bool

    @property
    def nbytes(self) -> int:
        """About what it weighs on the way."""
        tracks = sum(track.nbytes + feature.nbytes for track, feature in self.seen.values())
        edges = 420 * (len(self.rest.edges) + len(self.rest.measured))
        return sum(one.nbytes for one in self.whole.values()) + 150 * len(self.moved) + tracks + edges


@dataclass
class Sent:
    """The sender's side: what the other one has, if it has confirmed it."""

    version: int = 0
    _has: KeyframeMap | None = None
    _seen: dict[int, Seen] = field(default_factory=dict)

    def change_to(self, world: KeyframeMap, gave_up: bool) -> MapChange:
        """From what the other side has to this map."""
        before = {} if self._has is None else self._has.keyframes
        whole, moved = {}, {}
        for frame_id, key in world.keyframes.items():
            was = before.get(frame_id)
            if was is None or not _is_same_content(was, key):
                whole[frame_id] = key
            elif not _is_same_place(was, key):
                moved[frame_id] = _lies(key)
        seen = {
            frame_id: now
            for frame_id, now in _observed(world).items()
            if frame_id not in self._seen or not _is_same_seen(self._seen[frame_id], now)
        }
        rest = replace(world, keyframes={}, tracks=Tracks(), places=Places())
        return MapChange(self.version, self.version + 1, tuple(world.order), whole, moved, seen, rest, gave_up)

    def confirmed(self, world: KeyframeMap, change: MapChange) -> None:
        """The other side has that map now."""
        self.version, self._has = change.version, world
        kept = {frame_id: seen for frame_id, seen in self._seen.items() if frame_id in world.keyframes}
        self._seen = kept | change.seen

    def forget(self) -> None:
        """The other side has nothing, or nobody knows what."""
        self.version, self._has, self._seen = 0, None, {}


@dataclass
class Replica:
    """The receiver's side. world: the map, without tracks; places known."""

    version: int = 0
    world: KeyframeMap = field(default_factory=KeyframeMap)
    gave_up: bool = False
    _seen: dict[int, Seen] = field(default_factory=dict)

    @staticmethod
    def of(world: KeyframeMap) -> Replica:
        """Of a saved map, opened. The sender has to begin with the whole."""
        return Replica(0, replace(world, tracks=Tracks()), False, _observed(world))

    def apply(self, change: MapChange) -> bool:
        """False where the change builds on another version: then the whole is needed."""
        if change.base not in (0, self.version):
            return False
        is_whole = change.base == 0
        had = {} if is_whole else self.world.keyframes
        keyframes = {one: had[one] for one in change.frame_ids if one in had and one not in change.whole}
        keyframes |= change.whole
        for one, (pose, scale, camera) in change.moved.items():
            keyframes[one] = replace(keyframes[one].moved(pose, scale), depth_intrinsics=camera)
        keyframes = {one: keyframes[one] for one in change.frame_ids}
        gone = frozenset(() if is_whole else had.keys() - keyframes.keys())
        places = (Places() if is_whole else self.world.places).without(gone)
        world = replace(change.rest, keyframes=keyframes, places=places)
        for frame_id in sorted(change.whole):
            if frame_id not in world.places.index.summaries:
                remembered(world, frame_id)
        kept = {} if is_whole else self._seen
        self._seen = {one: seen for one, seen in (kept | change.seen).items() if one in keyframes}
        self.world, self.version, self.gave_up = world, change.version, change.gave_up
        return True

    def whole(self) -> KeyframeMap:
        """The map with its tracks."""
        track = [seen[0] for seen in self._seen.values()]
        feature = [seen[1] for seen in self._seen.values()]
        keyframe = [np.full(len(seen[0]), frame_id) for frame_id, seen in self._seen.items()]
        if not track:
            return self.world
        return replace(
            self.world,
            tracks=Tracks.of(*(np.concatenate(one).astype(np.int64) for one in (track, keyframe, feature))),
        )


def _observed(world: KeyframeMap) -> dict[int, Seen]:
    """Observations by keyframe, in the order of features."""
    track, keyframe, feature = world.tracks.observations()
    order = np.lexsort((feature, keyframe))
    track, keyframe, feature = track[order], keyframe[order], feature[order]
    ids, begins = np.unique(keyframe, return_index=True)
    ends = [*begins.tolist(), len(keyframe)][1:]
    return {
        frame_id: (track[begin:end].astype(np.int32), feature[begin:end].astype(np.int32))
        for frame_id, begin, end in zip(ids.tolist(), begins.tolist(), ends, strict=True)
    }


def _lies(key: Keyframe) -> Lies:
    return key.world_from_camera, key.scale, key.depth_intrinsics


def _is_same_place(was: Keyframe, now: Keyframe) -> bool:
    pairs = ((was.world_from_camera, now.world_from_camera), (was.depth_intrinsics, now.depth_intrinsics))
    return was.scale == now.scale and all(np.array_equal(one, other) for one, other in pairs)


def _is_same_content(was: Keyframe, now: Keyframe) -> bool:
    """Arrays of a keyframe are never written into, so another one is another object."""
    names = ("depth", "confidence", "features", "feature_depth", "picture")
    return all(getattr(was, name) is getattr(now, name) for name in names)


def _is_same_seen(was: Seen, now: Seen) -> bool:
    return np.array_equal(was[0], now[0]) and np.array_equal(was[1], now[1])
