"""What the run of one camera shares with the others of its process."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from spark3r_stream.clock import Clock
from spark3r_stream.engine.loop import Sink
from spark3r_stream.engine.mapper_host import MapperHost
from spark3r_stream.engine.placed import Numbering, PlacedSink, Placement
from spark3r_stream.engine.sinks import WireSink
from spark3r_stream.engine.thinning import Thinning
from spark3r_stream.pubsub.publisher import Publisher
from spark3r_stream.wire.envelope import Sealer
from spark3r_stream.wire.messages import CapturedClock, FrameNames


@dataclass(frozen=True)
class Among:
    """camera: its name. number: among `count` of them. host: where it maps. session_id: of all. publisher: None where
    nothing is published. placement: where its map lies among all; asked for with every step."""

    camera: str
    number: int
    count: int
    host: MapperHost
    session_id: uuid.UUID
    publisher: Publisher | None
    placement: Callable[[], Placement]

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

        return PlacedSink(self.placement, targets, on_map)
