"""Pictures by their appearance: which of those seen before are most like a new one. A value: adding gives a new one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from spark3r_core.features.rootsift import Features
from spark3r_core.places.appearance import LEAST_DESCRIPTORS, MOST_DESCRIPTORS, learned_words, summary_of

Floats = NDArray[np.float32]

GROWTH = 2  # times as many pictures as words were learned from, at which they are learned anew


@dataclass(frozen=True)
class PlaceIndex:
    """words: (W, 128), None until enough descriptors were seen. summaries: by picture. learned_from: so many pictures.

    Words of a few pictures tell others badly apart, so they are learned anew whenever the map has doubled.
    """

    words: Floats | None = None
    summaries: dict[int, Floats] = field(default_factory=dict)
    learned_from: int = 0

    @property
    def nbytes(self) -> int:
        return sum(summary.nbytes for summary in self.summaries.values())

    def with_picture(self, frame_id: int, features: Mapping[int, Features]) -> PlaceIndex:
        """The index with one more. features: of every picture in it, the new one included."""
        count = len(features)
        if self.words is not None and count < GROWTH * self.learned_from:
            summary = summary_of(features[frame_id].descriptors, self.words)
            return replace(self, summaries={**self.summaries, frame_id: summary})
        descriptors = {one: features[one].descriptors for one in sorted(features)}
        all_of_them = np.concatenate(list(descriptors.values()))
        if len(all_of_them) < LEAST_DESCRIPTORS:
            return self
        words = learned_words(all_of_them[:: -(-len(all_of_them) // MOST_DESCRIPTORS)])
        return PlaceIndex(words, {one: summary_of(own, words) for one, own in descriptors.items()}, count)

    def without(self, frame_id: int) -> PlaceIndex:
        """The index without a picture; its words stay."""
        return replace(self, summaries={one: summary for one, summary in self.summaries.items() if one != frame_id})

    def likeness(self, descriptors: Floats, among: Collection[int]) -> dict[int, float]:
        """How like a picture with these descriptors (N, 128) each of those is, beside what all have in common: 1 the
        same, 0 or less no more than any."""
        known = [one for one in sorted(among) if one in self.summaries]
        if not known or self.words is None:
            return {}
        usual = np.mean([self.summaries[one] for one in sorted(self.summaries)], axis=0)
        others = np.stack([self.summaries[one] for one in known]) - usual
        own = summary_of(descriptors, self.words) - usual
        lengths = np.linalg.norm(others, axis=1) * np.linalg.norm(own)
        return dict(zip(known, (others @ own / np.maximum(lengths, 1e-9)).tolist(), strict=True))
