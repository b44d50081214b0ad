"""The maps of a run: the present one, and those that were given up until the present one meets them again."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.stream.map_update import MapUpdate
from spark3r_stream.engine.map_gauge import MapGauge, PartGauge
from spark3r_stream.engine.submap import Submap
from spark3r_stream.wire.messages import MapCorrection

log = logging.getLogger(__name__)

Submaps = dict[int, Submap]


class GivenUpMaps:
    """Submaps by the keyframe's frame id, and the gauge, of maps that were given up; by the first keyframe of each."""

    def __init__(self) -> None:
        self._maps: dict[int, tuple[Submaps, PartGauge]] = {}

    def add(self, submaps: Submaps, gauge: MapGauge) -> None:
        """The present map is given up; one without a keyframe leaves nothing."""
        if submaps:
            self._maps[min(submaps)] = submaps, gauge.part

    def moved(self, lies: Mapping[int, Sim3], gauge: MapGauge, reason: str) -> list[MapCorrection]:
        """Say where keyframes of these maps lie now, each in its own map, which stays where it is."""
        corrections = []
        for submaps, part in self._maps.values():
            for frame_id in sorted(submaps.keys() & lies.keys()):
                submaps[frame_id].part_from_submap = lies[frame_id]
                gauge.place(submaps[frame_id], part)
                corrections.append(gauge.correction(submaps[frame_id], reason, part))
        return corrections

    def follow(self, update: MapUpdate, submaps: Submaps, gauge: MapGauge) -> Submaps:
        """The submaps of the map that an update speaks of: those of the present one, with those of maps that it was
        joined with; or those of another one, in which the camera was recognised. The gauge is that of the older map.
        """
        if update.part is None or not submaps:
            return submaps
        own = min(submaps)
        met = [first for first in sorted(self._maps) if first == update.part or first in update.moved]
        if not met:
            return submaps
        present = gauge.part
        if update.part != own and own not in update.moved:  # the camera is in another map now
            self._maps[own] = submaps, present
            gauge.leave(submaps)
            submaps = {}
            log.info("the camera is in a map again that had been given up")
        else:
            log.info("the map was joined with one that had been given up")
        together = dict(submaps)
        for first in met:
            others, their_gauge = self._maps.pop(first)
            together |= others
            if first == update.part:
                gauge.go_on_in(their_gauge)
                if submaps:
                    gauge.take_in(present, submaps)
            else:
                gauge.take_in(their_gauge, others)
        return dict(sorted(together.items()))
