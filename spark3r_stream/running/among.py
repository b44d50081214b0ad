"""What the run of one camera shares with the others of its process."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.metric.shared_scale import Lying, OwnMetres, SharedMetres, shared_metres
from spark3r_core.stream.cameras_together import Rooted, Together
from spark3r_stream.clock import Clock
from spark3r_stream.engine.loop import Sink
from spark3r_stream.engine.mapper_host import MapperHost
from spark3r_stream.engine.placed import Numbering, PlacedSink, Placement
from spark3r_stream.engine.reopening import Reopening
from spark3r_stream.engine.results import MapUnit
from spark3r_stream.engine.resumption import Resumption
from spark3r_stream.engine.sinks import WireSink
from spark3r_stream.engine.thinning import Thinning
from spark3r_stream.running.heartbeat import Publishes
from spark3r_stream.wire.envelope import Sealer
from spark3r_stream.wire.messages import MAP_FRAME, CapturedClock, FrameNames, LengthUnit

log = logging.getLogger(__name__)

ADJUSTED_STD = 0.03  # of the scale of one camera's part of a map that was adjusted as a whole, in rendered rooms
_ROUNDING = 1e-9


class KnowsPlaces(Protocol):
    """rooted: where the maps of cameras lie among each other, by number; empty until two of them were joined."""

    @property
    def rooted(self) -> Mapping[int, Rooted]: ...


class Placements:
    """Where the maps of cameras lie among each other, as the mapper knows it, and in which unit, as they tell. Called
    by the threads of all cameras.

    names: of the cameras, by number. tag_origin: whether a camera that knows metres has the origin of the map, too.
    """

    def __init__(self, names: Mapping[int, str], mapper: KnowsPlaces, tag_origin: bool = False) -> None:
        self._names = names
        self._mapper = mapper
        self._tag_origin = tag_origin
        self._changing = threading.Lock()
        self._metres: dict[int, OwnMetres] = {}
        self._rooted: Mapping[int, Rooted] | None = None  # what `_placed` is made of; None: of something older
        self._placed: dict[int, Placement] = {}
        self._now: dict[int, Placement] = {}  # as the cameras have it

    def map_frame(self, root: int) -> str:
        """The name of the map that begins with this camera's: that of the first is the map."""
        return MAP_FRAME if root == 0 else f"{self._names[root]}/{MAP_FRAME}"

    def tell(self, number: int, metres: OwnMetres) -> None:
        """What a camera knows of its own map from now on."""
        with self._changing:
            self._metres[number] = metres
            self._rooted = None

    def of(self, number: int) -> Placement:
        """Of one camera; the same value as long as nothing changed. Called by its thread only."""
        with self._changing:
            rooted = self._mapper.rooted
            if rooted is not self._rooted:
                self._rooted = rooted
                self._place(rooted)
            before = self._now.setdefault(number, Placement(self.map_frame(number)))
            now = self._now[number] = self._placed.get(number, before)
        if now is not before and now.moves(before):
            log.info("%s", now.reason)
        return now

    def settled(self, number: int, together: Together) -> Placement:
        """Where the map lies that this camera's was merged into, with others."""
        with self._changing:
            lies = {
                one: Lying(together.root_from_own(one), 0.0 if one == together.root else ADJUSTED_STD)
                for one in together.places
            }
            shared = self._shared(together.root, lies)
        reason, frame = "all cameras adjusted together", self.map_frame(together.root)
        if shared is None:
            return Placement(frame, reason=reason)
        return Placement(frame, shared.published_from_root, reason, _unit(shared, number))

    def _place(self, rooted: Mapping[int, Rooted]) -> None:
        for root in {one.root for one in rooted.values()}:
            group = {number: one for number, one in rooted.items() if one.root == root}
            if len(group) == 1:
                continue
            shared = self._shared(root, {n: Lying(one.root_from_own, one.scale_std) for n, one in group.items()})
            for number, one in group.items():
                found = self._placement(number, one, shared)
                before = self._placed.get(number)
                if before is None or not _is_same(found, before):
                    self._placed[number] = found

    def _placement(self, number: int, rooted: Rooted, shared: SharedMetres | None) -> Placement:
        before, frame = self._placed.get(number), self.map_frame(rooted.root)
        own_from_published = self._metres.get(number, OwnMetres()).published_from_map.inverse()
        root_from_published = _rounded(rooted.root_from_own @ own_from_published, rooted.root_from_own)
        is_there = number == rooted.root or (before is not None and before.map_frame == frame)
        how = f"{rooted.pairs} pairs of keyframes" if rooted.pairs else "their rig"
        reason = f"joined with {self._names[rooted.root]} by {how}"
        if is_there:
            reason = "where it lies among the maps of others is known better"
        if shared is None:
            return Placement(frame, root_from_published, reason, MapUnit())
        lies, unit = _rounded(shared.published_from_root @ root_from_published, Sim3()), _unit(shared, number)
        if is_there and (before is None or before.unit is None or before.unit.unit is LengthUnit.MODEL):
            reason = f"the scale became known, by {unit.scale_source}"
        return Placement(frame, lies, reason, unit)

    def _shared(self, root: int, lies: Mapping[int, Lying]) -> SharedMetres | None:
        return shared_metres(root, lies, self._metres, self._names, has_origin=self._tag_origin)


@dataclass(frozen=True)
class Among:
    """camera: its name. number: among `count` of them. host: where it maps. session_id: of all. publisher: None where
    nothing is published. placements: where maps lie among all; asked for with every step.

    resumption: where a run of this camera broke off in this session. reopening: the map that it goes on in; the host
    has it. notes: gets what is published, before the publisher does. rig: gets what is tracked, where the camera is on
    a rig.
    """

    camera: str
    number: int
    count: int
    host: MapperHost
    session_id: uuid.UUID
    publisher: Publishes | None
    placements: Placements
    resumption: Resumption = field(default_factory=Resumption)
    reopening: Reopening | None = None
    notes: Sink | None = None
    rig: Sink | None = None

    def map_frame(self, root: int) -> str:
        return self.placements.map_frame(root)

    def wire(self, clock: Clock, captured_clock: CapturedClock, thinning: Thinning) -> WireSink:
        """Into the stream of all, on this camera's topics."""
        assert self.publisher is not None, "nothing is published"
        sealer = Sealer(
            self.session_id, clock.unix_ns, captured_clock, camera=self.camera, first=self.resumption.sequences
        )
        return WireSink(sealer, [self.publisher], Numbering(self.number, self.count), thinning)

    def placed(self, targets: Sequence[Sink]) -> PlacedSink:
        """Hands steps on to the targets, placed among all."""
        wires = [target for target in targets if isinstance(target, WireSink)]

        def on_map(map_frame: str) -> None:
            for wire in wires:
                wire.names = FrameNames.of(self.camera, map_frame)

        number, placements = self.number, self.placements

        def on_metres(metres: OwnMetres) -> None:
            placements.tell(number, metres)

        return PlacedSink(lambda: placements.of(number), targets, on_map, self.resumption, on_metres)


def _unit(shared: SharedMetres, number: int) -> MapUnit:
    scale = shared.scales[number]
    return MapUnit(LengthUnit.METRE, scale.source, scale.log_std, shared.z_up)


def _rounded(lies: Sim3, exact: Sim3) -> Sim3:
    """What is exact, where it is that but for rounding: a root that knows metres itself stays as it is."""
    return exact if np.allclose(lies.matrix, exact.matrix, rtol=_ROUNDING, atol=_ROUNDING) else lies


def _is_same(one: Placement, other: Placement) -> bool:
    same = np.allclose(one.map_from_own.matrix, other.map_from_own.matrix, rtol=_ROUNDING, atol=_ROUNDING)
    return bool(same) and (one.map_frame, one.unit) == (other.map_frame, other.unit)
