"""Tracks: which features of several keyframes are one point. Numbers only."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable

import numpy as np
from numpy.typing import NDArray

Index = NDArray[np.int64]


class Tracks:
    """Observations (keyframe, feature) joined by verified matches.

    A track never holds two features of one keyframe: a match that would join such tracks is refused, since one of the
    two is wrong and nothing says which.
    """

    def __init__(self) -> None:
        self._track_of: dict[tuple[int, int], int] = {}
        self._members: dict[int, dict[int, int]] = {}  # track -> keyframe -> feature
        self._next = 0
        self.refused = 0

    @staticmethod
    def of(track: Index, keyframe: Index, feature: Index) -> Tracks:
        """Tracks from their observations (M,), as `seen_by` gives them; numbered from zero in the order of `track`.

        No track may hold a keyframe twice, and no feature may be in two tracks.
        """
        made = Tracks()
        values, numbers = np.unique(track, return_inverse=True)
        made._members = {number: {} for number in range(len(values))}
        for number, key in zip(numbers.tolist(), zip(keyframe.tolist(), feature.tolist(), strict=True), strict=True):
            made._members[number][key[0]] = key[1]
            made._track_of[key] = number
        made._next = len(made._members)
        return made

    def copy(self) -> Tracks:
        """The same tracks; what is done to one leaves the other as it is."""
        copied = Tracks()
        copied._track_of = dict(self._track_of)
        copied._members = {track: dict(members) for track, members in self._members.items()}
        copied._next, copied.refused = self._next, self.refused
        return copied

    def add(self, keyframe_a: int, keyframe_b: int, pairs: Iterable[tuple[int, int]]) -> None:
        """Join features of two keyframes. pairs: (feature of a, feature of b)."""
        for feature_a, feature_b in pairs:
            track_a = self._track(keyframe_a, int(feature_a))
            track_b = self._track(keyframe_b, int(feature_b))
            if track_a == track_b:
                continue
            into, other = self._members[track_a], self._members[track_b]
            if into.keys() & other.keys():
                self.refused += 1
                continue
            if len(into) < len(other):
                track_a, track_b, into, other = track_b, track_a, other, into
            for keyframe, feature in other.items():
                self._track_of[keyframe, feature] = track_a
            into.update(other)
            del self._members[track_b]

    def drop(self, keyframe: int) -> None:
        """Forget a keyframe's features."""
        for key in [key for key in self._track_of if key[0] == keyframe]:
            track = self._track_of.pop(key)
            del self._members[track][keyframe]
            if not self._members[track]:
                del self._members[track]

    def seen_by(self, keyframes: Collection[int], least_views: int = 2) -> tuple[Index, Index, Index]:
        """Observations of the tracks that `least_views` of these keyframes see: (M,) track, keyframe and feature."""
        wanted = set(keyframes)
        rows = [
            (track, keyframe, feature)
            for track, members in self._members.items()
            if len(members) >= least_views
            for keyframe, feature in members.items()
            if keyframe in wanted and len(wanted & members.keys()) >= least_views
        ]
        if not rows:
            nothing = np.zeros(0, np.int64)
            return nothing, nothing, nothing
        track, keyframe, feature = np.array(rows, np.int64).T
        return track, keyframe, feature

    def observations(self) -> tuple[Index, Index, Index]:
        """All of them, those of a single keyframe as well: (M,) track, keyframe and feature."""
        rows = (
            number
            for track, members in self._members.items()
            for keyframe, feature in members.items()
            for number in (track, keyframe, feature)
        )
        track, keyframe, feature = np.fromiter(rows, np.int64, 3 * len(self._track_of)).reshape(-1, 3).T
        return track, keyframe, feature

    def shared(self, keyframe: int) -> dict[int, int]:
        """Covisibility: how many tracks each other keyframe shares with this one."""
        counts: dict[int, int] = {}
        for members in self._members.values():
            if keyframe in members and len(members) > 1:
                for other in members:
                    if other != keyframe:
                        counts[other] = counts.get(other, 0) + 1
        return counts

    def shared_by_all(self, keyframes: Iterable[int]) -> dict[int, int]:
        """`shared` of each of these, added up; those that share most first, of equal ones the earlier."""
        counts: dict[int, int] = {}
        for keyframe in keyframes:
            for other, count in self.shared(keyframe).items():
                counts[other] = counts.get(other, 0) + count
        return {other: counts[other] for other in sorted(counts, key=lambda one: (-counts[one], one))}

    def covisibility(self, least: int) -> dict[tuple[int, int], int]:
        """How many tracks pairs of keyframes (earlier, later) share, for pairs that share `least` or more."""
        counts: dict[tuple[int, int], int] = {}
        for members in self._members.values():
            if len(members) > 1:
                for pair in itertools.combinations(sorted(members), 2):
                    counts[pair] = counts.get(pair, 0) + 1
        return {pair: counts[pair] for pair in sorted(counts) if counts[pair] >= least}

    def __len__(self) -> int:
        return sum(len(members) > 1 for members in self._members.values())

    def _track(self, keyframe: int, feature: int) -> int:
        key = (keyframe, feature)
        if key not in self._track_of:
            self._track_of[key] = self._next
            self._members[self._next] = {keyframe: feature}
            self._next += 1
        return self._track_of[key]
