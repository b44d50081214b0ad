"""Positions of an antenna beside the camera (GPS, or another system that knows places in metres), and a map among them.

Fixes come once or some times a second, and keyframes when they are needed: a keyframe's position is interpolated
between the fix before it and the one after. All keyframes between the same two fixes share what these say.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.metric.gps_fit import PlacesFit, fit_places
from spark3r_core.metric.scale import ScaleEvidence

Array = NDArray[np.float64]

LONGEST_GAP_S = 2.5  # between fixes that are interpolated: a receiver of one fix per second may miss one
JERKY = 1.0  # m/s², by which a camera changes its speed between two fixes
SURE_UP_STD, UPSIDE_DOWN = 0.3, 0.5  # radians; and cosine between up of the positions and of the pictures
KEPT_FIXES = 512  # the newest, for keyframes that are mapped some frames later


@dataclass(frozen=True)
class PositionFix:
    """time_ns: by the clock of the frames. position: latitude, longitude (degrees) and altitude (metres over the
    ellipsoid), or x, y, z in metres. std_m: of each axis, 0 where the sensor does not say."""

    time_ns: int
    position: tuple[float, float, float]
    std_m: float = 0.0


@dataclass(frozen=True, eq=False)
class KnownPlace:
    """Of the antenna at a keyframe: metres (3,), std_m (3,). between: the time of the fix before, seconds."""

    metres: Array
    std_m: Array
    between: float


@dataclass(frozen=True, eq=False)
class KnownPlaces:
    """Of K keyframes, in the order of their ids. metres, stds: (K, 3) of the antenna in the positions' frame. antenna:
    (3,) in the camera's axes, metres."""

    keyframe_ids: tuple[int, ...]
    metres: Array
    stds: Array
    antenna: Array

    def levers(self, map_from_key: Mapping[int, Sim3]) -> Array:
        """(K, 3) metres from camera to antenna, in the map's axes."""
        turned = [map_from_key[one].rotation @ self.antenna for one in self.keyframe_ids]
        return np.array(turned).reshape(-1, 3)

    def fit(self, map_from_key: Mapping[int, Sim3]) -> PlacesFit | None:
        """The map among the positions, see `fit_places`; keyframes where they lie now.

        None, too, where they would have the camera stand on its head: a level path and its mirror image are turned into
        each other that way, and positions whose north and east were swapped are mirrored.
        """
        lies = [map_from_key[one] for one in self.keyframe_ids]
        centres = np.array([one.translation for one in lies]).reshape(-1, 3)
        fit = fit_places(centres, self.levers(map_from_key), self.metres, self.stds)
        if fit is None or fit.up_std > SURE_UP_STD:
            return fit
        pictures_up = -np.mean([one.rotation[:, 1] for one in lies], axis=0)
        return fit if fit.metres_from_map.rotation[2] @ pictures_up > -UPSIDE_DOWN else None


class GpsEvidence:
    """Of one map. antenna: (3,) where it is in the camera's axes (right, down, ahead), metres."""

    def __init__(self, antenna: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> None:
        self.antenna = np.array(antenna)
        self._fixes: deque[tuple[float, Array, Array]] = deque(maxlen=KEPT_FIXES)
        self._waiting: dict[int, float] = {}  # keyframes, by their times
        self._places: dict[int, KnownPlace] = {}

    @property
    def has_any(self) -> bool:
        return bool(self._fixes or self._places)

    def add_fix(self, time_s: float, metres: Array, std_m: Array) -> None:
        """metres, std_m: (3,). One that is not later than the one before says nothing new."""
        if not self._fixes or time_s > self._fixes[-1][0]:
            self._fixes.append((time_s, metres, std_m))
            self._settle()

    def add_keyframe(self, time_s: float, keyframe_id: int) -> None:
        self._waiting[keyframe_id] = time_s
        self._settle()

    def take_in(self, other: GpsEvidence) -> None:
        """What was known in a map that this one was joined with."""
        self._places |= other._places
        self._waiting |= other._waiting
        self._settle()

    def _settle(self) -> None:
        """Interpolate for keyframes that a later fix has come for."""
        times = [time_s for time_s, _, _ in self._fixes]
        for keyframe_id, time_s in [*self._waiting.items()]:
            if not times or times[-1] < time_s:
                continue
            del self._waiting[keyframe_id]
            after = int(np.searchsorted(times, time_s))
            before = after if times[after] == time_s else after - 1
            if before < 0 or times[after] - times[before] > LONGEST_GAP_S:
                continue
            (begin_s, first, first_std), (end_s, second, second_std) = self._fixes[before], self._fixes[after]
            share = (time_s - begin_s) / (end_s - begin_s) if end_s > begin_s else 0.0
            std = np.hypot((1 - share) * first_std + share * second_std, JERKY * (end_s - begin_s) ** 2 / 8)
            self._places[keyframe_id] = KnownPlace((1 - share) * first + share * second, std, begin_s)

    def known(self, keyframe_ids: Collection[int]) -> KnownPlaces:
        """Of these keyframes, those with a position. Those that share two fixes know together what one would."""
        ids = [one for one in sorted(self._places) if one in keyframe_ids]
        places = [self._places[one] for one in ids]
        shared = Counter(place.between for place in places)
        stds = [place.std_m * np.sqrt(shared[place.between]) for place in places]
        metres = np.array([one.metres for one in places]).reshape(-1, 3)
        return KnownPlaces(tuple(ids), metres, np.array(stds).reshape(-1, 3), self.antenna)

    @staticmethod
    def scale(fit: PlacesFit) -> ScaleEvidence:
        return ScaleEvidence(float(np.log(fit.metres_from_map.scale)), fit.log_std, "gps")
