"""Metres of maps that were joined: what each knows of its own scale becomes what is known of all of them.

Maps lie in that of their root by a similarity each, so a scale that is known in one of them is known in all: less well
by what the relation's own scale is off. Where several know, they are joined as sources of one map are (`scale.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.metric.gravity import ROBOT_FROM_OPTICAL, levelled
from spark3r_core.metric.scale import Scale, ScaleEvidence, joined

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class OwnMetres:
    """What is known of one map by itself. published_from_map: where it is published, in metres if `scale` is there.
    z_up: whether z points up then."""

    published_from_map: Sim3 = field(default_factory=Sim3)
    scale: Scale | None = None
    z_up: bool = False

    def is_same(self, other: OwnMetres) -> bool:
        same = np.array_equal(self.published_from_map.matrix, other.published_from_map.matrix)
        return same and (self.scale, self.z_up) == (other.scale, other.z_up)


@dataclass(frozen=True, eq=False)
class Lying:
    """Where a map lies in that of the root. scale_std: of the logarithm of its scale; 0 for the root itself."""

    root_from_map: Sim3
    scale_std: float = 0.0


@dataclass(frozen=True, eq=False)
class SharedMetres:
    """published_from_root: where the root's map, and with it all, is published, in metres. scales: by map, of the
    root's unit; they differ in how well lengths there are known."""

    published_from_root: Sim3
    scales: Mapping[int, Scale]
    z_up: bool


def shared_metres(
    root: int, lies: Mapping[int, Lying], known: Mapping[int, OwnMetres], names: Mapping[int, str], *, has_origin: bool
) -> SharedMetres | None:
    """What maps that were joined know together; None while nobody knows a metre well enough. lies: of all of them, by
    number. names: of the maps, for people. has_origin: whether a map that knows metres has an origin of its own, which
    is to stay."""
    knowing = {one: known[one] for one in sorted(lies) if one in known and known[one].scale is not None}
    scales = {one: joined(_evidence(one, lies, knowing, names)) for one in lies}
    scale = scales[root]
    if scale is None:
        return None
    base, is_level = _base(root, lies, knowing, has_origin=has_origin)
    rotation = base.rotation
    levels = [one for one, metres in knowing.items() if metres.z_up]
    if levels and not is_level:
        up_of = lies[levels[0]].root_from_map.rotation @ knowing[levels[0]].published_from_map.rotation[2]
        rotation = levelled(ROBOT_FROM_OPTICAL @ rotation, up_of)
    factor = scale.metres_per_unit / base.scale
    published = Sim3(scale.metres_per_unit, rotation, factor * base.translation)
    return SharedMetres(
        published,
        {one: replace(scale, log_std=_std(scales[one], scale, lies[one])) for one in lies},
        is_level or bool(levels),
    )


def _evidence(
    at: int, lies: Mapping[int, Lying], knowing: Mapping[int, OwnMetres], names: Mapping[int, str]
) -> list[ScaleEvidence]:
    """Of the root's unit, as sure as it is where map `at` lies."""
    found = []
    for one, metres in knowing.items():
        assert metres.scale is not None
        log_scale = float(np.log(metres.scale.metres_per_unit / lies[one].root_from_map.scale))
        between = 0.0 if one == at else float(np.hypot(lies[one].scale_std, lies[at].scale_std))
        std = float(np.hypot(metres.scale.log_std, between))
        found.append(ScaleEvidence(log_scale, std, f"{metres.scale.source} of {names[one]}"))
    return found


def _std(here: Scale | None, at_root: Scale, lying: Lying) -> float:
    return float(np.hypot(at_root.log_std, lying.scale_std)) if here is None else here.log_std


def _base(
    root: int, lies: Mapping[int, Lying], knowing: Mapping[int, OwnMetres], *, has_origin: bool
) -> tuple[Sim3, bool]:
    """Where the root's map is published but for its scale, and whether z is up there."""
    if root in knowing:
        return knowing[root].published_from_map, knowing[root].z_up
    if has_origin and knowing:
        first = next(iter(knowing))
        return knowing[first].published_from_map @ lies[first].root_from_map.inverse(), knowing[first].z_up
    return Sim3(), False
