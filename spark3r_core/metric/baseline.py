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
EARLY_S = 1e-3  # by which a frame may come before a time that names it: stamps are rounded
KEYFRAME_STD, TRACKED_STD = 0.005, 0.05  # of a length in the map: keyframes are adjusted together, frames are not


@dataclass(frozen=True, eq=False)
class _Seen:
    """key_from_camera: (4, 4); None of the keyframe itself."""

    off_s: float
    keyframe_id: int
    key_from_camera: Array | None

    @property
    def rank(self) -> tuple[bool, float]:
        """What is smaller is better."""
        return self.key_from_camera is not None, self.off_s


class BaselineEvidence:
    """The camera's places at `first_s` and `second_s`, in seconds from the first frame, lie `metres` apart."""

    def __init__(self, first_s: float, second_s: float, metres: float) -> None:
        self.times_s, self.metres = (first_s, second_s), metres
        self._seen: list[_Seen | None] = [None, None]

    def add(self, time_s: float, keyframe_id: int, key_from_camera: Array | None) -> None:
        """A frame whose pose (4, 4) on its keyframe is confirmed, or a keyframe: None. Of each time the nearest
        keyframe is kept, and the nearest frame until there is one."""
        for i, wanted_s in enumerate(self.times_s):
            self._keep(i, _Seen(abs(time_s - wanted_s), keyframe_id, key_from_camera))

    def wants_keyframe(self, time_s: float) -> bool:
        """Whether the frame at this time should be a keyframe: it is the first one from a named time on."""
        for seen, wanted_s in zip(self._seen, self.times_s, strict=True):
            after_s = time_s - wanted_s
            has_one = seen is not None and seen.key_from_camera is None and seen.off_s <= abs(after_s)
            if -EARLY_S <= after_s <= LATEST_S and not has_one:
                return True
        return False

    def take_in(self, other: BaselineEvidence) -> None:
        """What was seen in a map that this one was joined with."""
        for i, theirs in enumerate(other._seen):
            if theirs is not None:
                self._keep(i, theirs)

    def _keep(self, which: int, seen: _Seen) -> None:
        held = self._seen[which]
        if seen.off_s <= LATEST_S and (held is None or seen.rank < held.rank):
            self._seen[which] = seen

    def scale(self, map_from_key: Mapping[int, Sim3]) -> ScaleEvidence | None:
        """None while one of the two was not seen, or they lie in one place."""
        places, stds = [], []
        for seen in self._seen:
            if seen is None or seen.keyframe_id not in map_from_key:
                return None
            at = np.zeros(3) if seen.key_from_camera is None else seen.key_from_camera[:3, 3]
            places.append(map_from_key[seen.keyframe_id].apply_to_points(at))
            stds.append(KEYFRAME_STD if seen.key_from_camera is None else TRACKED_STD)
        distance = float(np.linalg.norm(places[1] - places[0]))
        if distance <= 0:
            return None
        first_s, second_s = self.times_s
        source = f"{self.metres:g} m from {first_s:g} s to {second_s:g} s"
        return ScaleEvidence(float(np.log(self.metres / distance)), max(stds), source)
