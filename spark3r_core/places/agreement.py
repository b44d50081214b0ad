"""Which recognised places are to be believed: those of which several, of different pictures, say the same.

A single pair of pictures can look alike and be two places. Pictures next to each other that are recognised as pictures
next to each other, in the same relation, are a place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

import numpy as np

from spark3r_core.geometry.rotation import rotation_angle
from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.places.index import PlaceIndex
from spark3r_core.places.verification import SamePlace

LEAST_PAIRS, LEAST_PICTURES = 3, 2  # that agree; and different pictures of them on either side
MOST_TURN, MOST_SHIFT, MOST_GROWTH = 6.0, 0.2, 0.3  # degrees, median depths, log: between two that agree
NEAR = 8  # pictures apart, within which what the map says of two is better known than what is to be found out


@dataclass(frozen=True, eq=False)
class Recognition:
    """Pictures `first` and `second`, the later one, show one place. size: median depth of the first, in its unit."""

    first: int
    second: int
    same: SamePlace
    size: float


@dataclass(frozen=True)
class Places:
    """What is known of places. index: pictures by appearance. recognised: that wait for others which agree. looked:
    pairs (earlier, later) that were verified, whatever came of it. closed: pairs that were believed."""

    index: PlaceIndex = field(default_factory=PlaceIndex)
    recognised: tuple[Recognition, ...] = ()
    looked: frozenset[tuple[int, int]] = frozenset()
    closed: tuple[tuple[int, int], ...] = ()

    def without(self, pictures: AbstractSet[int]) -> Places:
        """The same without pictures that are no longer there."""
        index = self.index
        for picture in sorted(pictures):
            index = index.without(picture)
        waiting = tuple(one for one in self.recognised if one.first not in pictures and one.second not in pictures)
        looked = frozenset(pair for pair in self.looked if pictures.isdisjoint(pair))
        return Places(index, waiting, looked, tuple(pair for pair in self.closed if pictures.isdisjoint(pair)))


def agreeing(
    recognised: Sequence[Recognition], map_from_picture: Mapping[int, Sim3], order: Sequence[int]
) -> list[list[Recognition]]:
    """Groups of recognitions that agree, each large enough to be believed; the largest first.

    map_from_picture: where pictures lie now. order: of the pictures in time.
    """
    place = {picture: i for i, picture in enumerate(order)}
    groups: list[list[Recognition]] = []
    left = list(recognised)
    while left:
        best: list[Recognition] = []
        for one in left:
            group = [other for other in left if _agree(one, other, map_from_picture, place)]
            if len(group) > len(best):
                best = group
        if not _enough(best):
            break
        groups.append(best)
        left = [one for one in left if one not in best]
    return groups


def _enough(group: Sequence[Recognition]) -> bool:
    sides = {one.first for one in group}, {one.second for one in group}
    return len(group) >= LEAST_PAIRS and min(map(len, sides)) >= LEAST_PICTURES


def _agree(a: Recognition, b: Recognition, lies: Mapping[int, Sim3], place: Mapping[int, int]) -> bool:
    """Whether both say the same of the first pictures' relation to the second ones'."""
    if abs(place[a.first] - place[b.first]) > NEAR or abs(place[a.second] - place[b.second]) > NEAR:
        return False
    by_b = (
        lies[a.first].inverse() @ lies[b.first] @ b.same.first_from_second @ lies[b.second].inverse() @ lies[a.second]
    )
    by_a = a.same.first_from_second
    turn = float(np.degrees(rotation_angle(by_a.rotation.T @ by_b.rotation)))
    shift = float(np.linalg.norm(by_a.translation - by_b.translation)) / a.size
    return turn <= MOST_TURN and shift <= MOST_SHIFT and abs(np.log(by_a.scale / by_b.scale)) <= MOST_GROWTH
