"""A distance that the camera is known to have moved between two times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.metric.scale import ScaleEvidence

Array = NDArray[np.float64]

LATEST_S = 0.1  # between a time that was named and the frame that stands for it
MAP_STD = 0.01  # of a length in the map


@dataclass(frozen=True, eq=False)
class _Seen:
    off_s: float
    keyframe_id: int
    key_from_camera: Array


class BaselineEvidence:
    """The camera's places at `first_s` and `second_s`, in seconds from the first frame, lie `metres` apart."""

    def __init__(self, first_s: float, second_s: float, metres: float) -> None:
        self.times_s, self.metres = (first_s, second_s), metres
        self._seen: list[_Seen | None] = [None, None]

    def add(self, time_s: float, keyframe_id: int, key_from_camera: Array) -> None:
        """A frame whose pose (4, 4) on its keyframe is confirmed; the nearest to each time is kept."""
        for i, wanted_s in enumerate(self.times_s):
            held, off_s = self._seen[i], abs(time_s - wanted_s)
            if off_s <= LATEST_S and (held is None or off_s < held.off_s):
                self._seen[i] = _Seen(off_s, keyframe_id, key_from_camera)

    def take_in(self, other: BaselineEvidence) -> None:
        """What was seen in a map that this one was joined with."""
        for i, theirs in enumerate(other._seen):
            held = self._seen[i]
            if theirs is not None and (held is None or theirs.off_s < held.off_s):
                self._seen[i] = theirs

    def scale(self, map_from_key: Mapping[int, Sim3]) -> ScaleEvidence | None:
        """None while one of the two was not seen, or they lie in one place."""
        places = []
        for seen in self._seen:
            if seen is None or seen.keyframe_id not in map_from_key:
                return None
            places.append(map_from_key[seen.keyframe_id].apply_to_points(seen.key_from_camera[:3, 3]))
        distance = float(np.linalg.norm(places[1] - places[0]))
        if distance <= 0:
            return None
        first_s, second_s = self.times_s
        source = f"{self.metres:g} m from {first_s:g} s to {second_s:g} s"
        return ScaleEvidence(float(np.log(self.metres / distance)), MAP_STD, source)
