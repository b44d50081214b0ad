"""What the run of one camera shares with the others of its process."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spark3r_stream.clock import Clock
from spark3r_stream.engine.loop import Sink
from spark3r_stream.engine.mapper_host import MapperHost
from spark3r_stream.engine.placed import Numbering, PlacedSink, Placement
from spark3r_stream.engine.shared_mapper import SharedMapper
from spark3r_stream.engine.sinks import WireSink
from spark3r_stream.engine.thinning import Thinning
from spark3r_stream.pubsub.publisher import Publisher
from spark3r_stream.wire.envelope import Sealer
from spark3r_stream.wire.messages import MAP_FRAME, CapturedClock, FrameNames

log = logging.getLogger(__name__)


class Placements:
    """Where the maps of cameras lie among each other, as the mapper knows it. names: of the cameras, in order."""

    def __init__(self, names: Sequence[str], mapper: SharedMapper) -> None:
        self._names = list(names)
        self._mapper = mapper
        self._now = [Placement(self.map_frame(number)) for number in range(len(names))]

    def map_frame(self, root: int) -> str:
        """The name of the map that begins with this camera's: that of the first is the map."""
        return MAP_FRAME if root == 0 else f"{self._names[root]}/{MAP_FRAME}"

    def of(self, number: int) -> Placement:
        """Of one camera; the same value as long as nothing changed. Called by its thread only."""
        rooted, now = self._mapper.rooted.get(number), self._now[number]
        if rooted is None:
            return now
        frame, lies = self.map_frame(rooted.root), rooted.root_from_own
        if frame != now.map_frame or not np.array_equal(lies.matrix, now.map_from_own.matrix):
            root = self._names[rooted.root]
            reason = f"joined with {root} by {rooted.pairs} pairs of keyframes"
            log.info("%s", reason)
            self._now[number] = Placement(frame, lies, reason)
        return self._now[number]


@dataclass(frozen=True)
class Among:
    """camera: its name. number: among `count` of them. host: where it maps. session_id: of all. publisher: None where
    nothing is published. placements: where maps lie among all; asked for with every step."""

    camera: str
    number: int
    count: int
    host: MapperHost
    session_id: uuid.UUID
    publisher: Publisher | None
    placements: Placements

    def map_frame(self, root: int) -> str:
        return self.placements.map_frame(root)

    def wire(self, clock: Clock, captured_clock: CapturedClock, thinning: Thinning) -> WireSink:
        """Into the stream of all, on this camera's topics."""
        assert self.publisher is not None, "nothing is published"
        sealer = Sealer(self.session_id, clock.unix_ns, captured_clock, camera=self.camera)
        return WireSink(sealer, [self.publisher], Numbering(self.number, self.count), thinning)

    def placed(self, targets: Sequence[Sink]) -> PlacedSink:
        """Hands steps on to the targets, placed among all."""
        wires = [target for target in targets if isinstance(target, WireSink)]

        def on_map(map_frame: str) -> None:
            for wire in wires:
                wire.names = FrameNames.of(self.camera, map_frame)

        return PlacedSink(lambda: self.placements.of(self.number), targets, on_map)
