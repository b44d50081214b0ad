"""Which of many maps may show the place of a keyframe: the keyframes of all of them by appearance, in one matrix.

To look into a map costs tens of milliseconds, so with many cameras a keyframe is looked for in a few maps only, those
that have the pictures most like it. That costs the same for any number of maps, but for one product with a matrix.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from spark3r_core.places.appearance import LEAST_DESCRIPTORS, MOST_DESCRIPTORS, WORDS, learned_words, summary_of
from spark3r_core.stream.keyframe_map import KeyframeMap

Floats = NDArray[np.float32]

SHORT = 512  # numbers of a keyframe: random projection keeps likenesses to about 0.04 (Johnson, Lindenstrauss, 1984)
GROWTH = 2  # times as many keyframes as words were learned from, at which they are learned anew,
ENOUGH = 256  # until they were learned from so many
LENGTH = 128  # of a descriptor


class LikelyMaps:
    """Follows the maps that it is asked about. Words are learned from the keyframes of all."""

    def __init__(self) -> None:
        self._words: Floats | None = None
        self._learned_from = 0
        self._row: dict[tuple[int, int], int] = {}  # by camera and frame id
        self._free: list[int] = []
        self._table = np.zeros((0, SHORT), np.float32)
        projection = np.random.default_rng(0).standard_normal((WORDS * LENGTH, SHORT), np.float32)
        self._projection = projection / np.float32(np.sqrt(SHORT))

    def most_likely(
        self, camera: int, frame_id: int, worlds: Mapping[int, KeyframeMap], among: Collection[int], count: int
    ) -> list[int]:
        """So many cameras at most of those `among`, that with the keyframe most like this one first.

        worlds: maps by camera. Returns none while all maps together are too young to have words.
        """
        self._follow(worlds)
        if self._words is None:
            return []
        rows = [(one, row) for (one, _), row in self._row.items() if one in among]
        cameras, table = np.array([one for one, _ in rows], np.int64), self._table[[row for _, row in rows]]
        usual = self._table[list(self._row.values())].mean(0)
        own = self._table[self._row[camera, frame_id]] - usual
        others = table - usual
        alike = others @ own / np.maximum(np.linalg.norm(others, axis=1) * np.linalg.norm(own), 1e-9)
        best = {one: float(alike[cameras == one].max()) for one in set(cameras.tolist())}
        return sorted(best, key=lambda one: (-best[one], one))[:count]

    def _follow(self, worlds: Mapping[int, KeyframeMap]) -> None:
        """Take up keyframes that are new, and leave out those that are gone."""
        there = {(camera, frame_id) for camera, world in worlds.items() for frame_id in world.keyframes}
        for gone in self._row.keys() - there:
            self._free.append(self._row.pop(gone))
        if self._learned_from < ENOUGH and len(there) >= GROWTH * self._learned_from:
            self._learn(worlds)
        if self._words is None:
            return
        for one in sorted(there - self._row.keys()):
            if not self._free:
                held = len(self._table)
                self._table = np.concatenate([self._table, np.zeros((max(64, held), SHORT), np.float32)])
                self._free = list(range(len(self._table) - 1, held - 1, -1))
            row = self._row[one] = self._free.pop()
            descriptors = worlds[one[0]].keyframes[one[1]].features.descriptors
            self._table[row] = summary_of(descriptors, self._words) @ self._projection

    def _learn(self, worlds: Mapping[int, KeyframeMap]) -> None:
        every = [key.features.descriptors for _, world in sorted(worlds.items()) for key in world.keyframes.values()]
        descriptors = np.concatenate(every)
        if len(descriptors) < LEAST_DESCRIPTORS:
            return
        self._words = learned_words(descriptors[:: -(-len(descriptors) // MOST_DESCRIPTORS)])
        self._learned_from = len(every)
        self._free += self._row.values()
        self._row = {}  # all of them anew, by these words
