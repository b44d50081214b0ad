"""What the run of one camera shares with the others of its process."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from spark3r_core.stream.cameras_together import Rooted
from spark3r_stream.clock import Clock
from spark3r_stream.engine.loop import Sink
from spark3r_stream.engine.mapper_host import MapperHost
from spark3r_stream.engine.placed import Numbering, PlacedSink, Placement
from spark3r_stream.engine.reopening import Reopening
from spark3r_stream.engine.resumption import Resumption
from spark3r_stream.engine.sinks import WireSink
from spark3r_stream.engine.thinning import Thinning
from spark3r_stream.running.heartbeat import Publishes
from spark3r_stream.wire.envelope import Sealer
from spark3r_stream.wire.messages import MAP_FRAME, CapturedClock, FrameNames

log = logging.getLogger(__name__)


class KnowsPlaces(Protocol):
    """rooted: where the maps of cameras lie among each other, by number; empty until two of them were joined."""

    @property
    def rooted(self) -> Mapping[int, Rooted]: ...


class Placements:
    """Where the maps of cameras lie among each other, as the mapper knows it. names: of the cameras, by number."""

    def __init__(self, names: Mapping[int, str], mapper: KnowsPlaces) -> None:
        self._names = names
        self._mapper = mapper
        self._now: dict[int, Placement] = {}

    def map_frame(self, root: int) -> str:
        """The name of the map that begins with this camera's: that of the first is the map."""
        return MAP_FRAME if root == 0 else f"{self._names[root]}/{MAP_FRAME}"

    def of(self, number: int) -> Placement:
        """Of one camera; the same value as long as nothing changed. Called by its thread only."""
        rooted = self._mapper.rooted.get(number)
        now = self._now.setdefault(number, Placement(self.map_frame(number)))
        if rooted is None:
            return now
        frame, lies = self.map_frame(rooted.root), rooted.root_from_own
        if frame != now.map_frame or not np.array_equal(lies.matrix, now.map_from_own.matrix):
            root = self._names[rooted.root]
            how = f"{rooted.pairs} pairs of keyframes" if rooted.pairs else "their rig"
            reason = f"joined with {root} by {how}"
            log.info("%s", reason)
            self._now[number] = Placement(frame, lies, reason)
        return self._now[number]


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

        return PlacedSink(lambda: self.placements.of(self.number), targets, on_map, self.resumption)
