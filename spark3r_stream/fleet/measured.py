"""How a fleet does, for its page of metrics, from the beats that it has heard."""

from __future__ import annotations

import time
from collections.abc import Iterator

from prometheus_client.core import Metric

from spark3r_stream.fleet.camera_actor import CameraBeat
from spark3r_stream.fleet.fleet import Fleet, FleetCamera, Member
from spark3r_stream.fleet.site_map import SiteBeat
from spark3r_stream.metrics.families import Measured
from spark3r_stream.metrics.fleet_families import (
    AskedMeasured,
    FleetMeasured,
    MapMeasured,
    MapperMeasured,
    PartMeasured,
    fleet_families,
)
from spark3r_stream.sources.redact import redact_uri
from spark3r_stream.stats import LatencyHistogram
from spark3r_stream.wire.messages import SessionState, Status


def metrics_of(fleet: Fleet) -> Iterator[Metric]:
    """All of its page. May be called by any thread."""
    yield from fleet_families(measured(fleet))


def measured(fleet: Fleet) -> FleetMeasured:
    """May be called by any thread."""
    cameras = list(fleet.cameras.values())  # others may come meanwhile
    parts = [("map", fleet.site), ("outlet", fleet.outlet), *(("mapper", one) for one in fleet.mappers)]
    parts += [("camera", one) for one in cameras]
    heard = [one for one in cameras if one.beat is not None]
    return FleetMeasured(
        [_run_of(one) for one in cameras],
        [_part(kind, one) for kind, one in parts],
        [_asked(one, fleet.mappers[one.mapper].name) for one in heard],
        [MapperMeasured(one.name, one.beat.mapped, one.beat.busy_s) for one in fleet.mappers if one.beat is not None],
        None if fleet.site.beat is None else _map(fleet.site.beat, fleet.names),
        time.monotonic() - fleet.begun_s,
    )


def _run_of(camera: FleetCamera) -> Measured:
    """Of its present run; of one that has none, that it is being opened."""
    beat: CameraBeat | None = camera.beat
    config = camera.plan.config
    if beat is None or beat.status is None or beat.latency is None:
        none_yet = Status(SessionState.OPENING, redact_uri(config.source), model=config.model)
        return Measured(camera.name, none_yet, 0, LatencyHistogram())
    return Measured(camera.name, beat.status, beat.keyframes, beat.latency)


def _part(kind: str, member: Member) -> PartMeasured:
    return PartMeasured(kind, member.name, member.restarts, 0 if member.beat is None else member.beat.memory_bytes)


def _asked(camera: FleetCamera, mapper: str) -> AskedMeasured:
    beat: CameraBeat = camera.beat
    return AskedMeasured(camera.name, mapper, beat.asked, beat.waited_s, beat.late, beat.keyframes_lost)


def _map(beat: SiteBeat, names: dict[int, str]) -> MapMeasured:
    def by_name(counts: dict[int, int]) -> dict[str, int]:
        return {names[number]: count for number, count in counts.items() if number in names}

    return MapMeasured(by_name(beat.keyframes), beat.looked, beat.look_s, by_name(beat.replaced))
