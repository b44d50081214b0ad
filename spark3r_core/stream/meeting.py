"""Two cameras that map beside each other: where the map of one lies in the map of the other, once both saw one place.

Both maps stay as they are. Each new keyframe is looked for in the other map, and pairs that show one place are believed
when several of them say the same, as for two parts of one map (`joining.py`). The cameras may differ: each picture is
seen by its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry.alignment import umeyama
from spark3r_core.geometry.rotation import rotation_angle
from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.places.agreement import Recognition, agreeing
from spark3r_core.stream.joining import LEAST_PICTURES, are_enough
from spark3r_core.stream.keyframe_map import KeyframeMap
from spark3r_core.stream.place_search import Recognised

Array = NDArray[np.float64]

LEAST_SCALE_STD = 0.02  # maps bend by that much between the places that they share, and pairs cannot know it
MOVED_STDS, MOVED_TURN, MOVED_SHARE = 0.5, 0.02, 0.05  # of the scale; radians; of how far the second map reaches
PROPOSALS, VERIFICATIONS = 2, 4  # by appearance for a new keyframe; and pairs that are verified, neighbours included


@dataclass(frozen=True, eq=False)
class Relation:
    """first_from_second: where the second map lies in the first. pairs: of keyframes that say so. scale_std: of the
    logarithm of its scale; where nobody has counted, what it is at most as a rule."""

    first_from_second: Sim3
    pairs: tuple[tuple[int, int], ...]
    scale_std: float = 0.05

    def is_off(self, now: Relation, second: KeyframeMap) -> bool:
        """Whether it places the second map so much otherwise than `now` does that this is worth a correction."""
        was, found = self.first_from_second, now.first_from_second
        centres = np.array([key.map_from_keyframe.translation for key in second.keyframes.values()])
        shifts = np.linalg.norm(was.apply_to_points(centres) - found.apply_to_points(centres), axis=1)
        spread = found.scale * float(np.sqrt(np.square(centres - centres.mean(0)).sum(1).mean()))
        return (
            abs(np.log(found.scale / was.scale)) > MOVED_STDS * now.scale_std
            or float(rotation_angle(was.rotation.T @ found.rotation)) > MOVED_TURN
            or float(np.sqrt(np.square(shifts).mean())) > MOVED_SHARE * spread
        )


def related(known: Recognised, first: KeyframeMap, second: KeyframeMap) -> Relation | None:
    """Where the second map lies in the first, by what several pairs say; None where too few say the same."""
    apart = max(first.keyframes, default=0) + 1  # ids of two cameras may be the same
    lies = {one: key.map_from_keyframe for one, key in first.keyframes.items()}
    lies |= {one + apart: key.map_from_keyframe for one, key in second.keyframes.items()}
    waiting = [
        replace(one, second=one.second + apart)
        for one in known.pairs
        if one.first in first.keyframes and one.second in second.keyframes
    ]
    groups = agreeing(waiting, lies, sorted(lies))
    if not groups:
        return None
    believed = groups[0]
    if not are_enough(believed, (LEAST_PICTURES, LEAST_PICTURES)):
        return None
    tripods = [_tripods(one, lies) for one in believed]
    pairs = tuple((one.first, one.second - apart) for one in believed)
    return Relation(_fitted(tripods), pairs, max(LEAST_SCALE_STD, _scale_std(tripods)))


def _fitted(tripods: Sequence[tuple[Array, Array]]) -> Sim3:
    there, here = zip(*tripods, strict=True)
    return umeyama(np.concatenate(here), np.concatenate(there))


def _scale_std(tripods: Sequence[tuple[Array, Array]]) -> float:
    """Of the logarithm of the scale: that of a single pair by the jackknife, which leaves each out once (Tukey 1958).
    Pairs are of neighbours, which the same parts of both maps have placed, so all of them count as one."""
    without = [_fitted([*tripods[:one], *tripods[one + 1 :]]).scale for one in range(len(tripods))]
    logs = np.log(without)
    return float(np.sqrt((len(logs) - 1) * np.square(logs - logs.mean()).sum()))


def _tripods(one: Recognition, lies: Mapping[int, Sim3]) -> tuple[Array, Array]:
    """Four points at the second keyframe, (4, 3) in the first map by the pair and in the second map as it is: its
    camera, and a median depth along each axis. Places near each other say more of where they lie than of a turn about
    them, and points carry that of themselves."""
    size = one.size / one.same.first_from_second.scale
    points = np.concatenate([np.zeros((1, 3)), size * np.eye(3)])
    by_pair = lies[one.first] @ one.same.first_from_second
    return by_pair.apply_to_points(points), lies[one.second].apply_to_points(points)
