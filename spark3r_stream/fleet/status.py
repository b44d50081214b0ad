"""How a fleet does, as plain values: what `spark3r fleet status` shows."""

from __future__ import annotations

import time
from typing import Any

from spark3r_stream.fleet.camera_actor import CameraBeat
from spark3r_stream.fleet.fleet import Fleet, FleetCamera
from spark3r_stream.fleet.outlet import OutletBeat
from spark3r_stream.fleet.pool_mapper import MapperBeat
from spark3r_stream.fleet.site_map import SiteBeat
from spark3r_stream.sources.redact import redact_uri


def status_of_fleet(fleet: Fleet) -> dict[str, Any]:
    """Times in seconds, sizes in bytes."""
    outlet: OutletBeat | None = fleet.outlet.beat
    site: SiteBeat | None = fleet.site.beat
    return {
        "name": fleet.plan.name,
        "endpoint": fleet.address.endpoint,
        "uptime_s": round(time.monotonic() - fleet.begun_s, 1),
        "cameras": {name: _camera(camera, fleet) for name, camera in fleet.cameras.items()},
        "mappers": [_mapper(one.beat, one.restarts, fleet) for one in fleet.mappers],
        "map": None
        if site is None
        else {
            "pid": site.pid,
            "memory_bytes": site.memory_bytes,
            "restarts": fleet.site.restarts,
            "keyframes": sum(site.keyframes.values()),
            "looked": site.looked,
            "look_s": round(site.look_s, 3),
            "taken_bytes": site.taken_bytes,
            "saved_s_ago": None if site.saved_s is None else round(site.saved_s, 1),
        },
        "outlet": None
        if outlet is None
        else {
            "pid": outlet.pid,
            "memory_bytes": outlet.memory_bytes,
            "subscribers": outlet.subscribers,
            "messages": outlet.sent,
            "messages_dropped": outlet.dropped,
        },
    }


def _camera(camera: FleetCamera, fleet: Fleet) -> dict[str, Any]:
    beat: CameraBeat | None = camera.beat
    site: SiteBeat | None = fleet.site.beat
    outlet: OutletBeat | None = fleet.outlet.beat
    found: dict[str, Any] = {
        "source": redact_uri(camera.plan.config.source),
        "place": camera.plan.place,
        "mapper": fleet.mappers[camera.mapper].name,
        "restarts": camera.restarts,
        "silent_s": None if outlet is None else round(outlet.silent_s.get(camera.name, 0.0), 1),
        "state": "GONE" if camera.error else "STARTING",
        "error": camera.error,
    }
    if beat is None:
        return found
    status = beat.status
    found |= {
        "state": "OVER" if beat.is_over else "STARTING" if status is None else status.state.name,
        "error": camera.error or beat.error,
        "node": beat.node,
        "pid": beat.pid,
        "memory_bytes": beat.memory_bytes,
        "cpu_s": round(beat.cpu_s, 2),
        "broke_off": beat.breaks,
        "map": beat.map_frame,
        "keyframes_in_map": 0 if site is None else site.keyframes.get(camera.number, 0),
        "keyframes_lost": beat.keyframes_lost,
        "keyframes_asked": beat.asked,
        "keyframes_late": beat.late,
        "waited_for_mapper_s": round(beat.waited_s, 3),
        "mapping_s": round(beat.mapping_s, 3),
        "mapper_restarts": beat.mapper_restarts,
        "looks_replaced": 0 if site is None else site.replaced.get(camera.number, 0),
        "messages_dropped": beat.dropped,
    }
    if status is not None:
        found |= {
            "tracking": None if status.tracking is None else status.tracking.name,
            "frames": status.frames_processed,
            "frames_failed": status.frames_failed,
            "drops": dict(status.drops),
            "frames_per_second": round(status.frames_per_second, 2),
            "latency_p50_ms": round(status.latency_p50_ms, 1),
            "latency_p95_ms": round(status.latency_p95_ms, 1),
        }
    return found


def _mapper(beat: MapperBeat | None, restarts: int, fleet: Fleet) -> dict[str, Any]:
    if beat is None:
        return {"state": "STARTING", "restarts": restarts}
    names = fleet.names
    return {
        "node": beat.node,
        "pid": beat.pid,
        "memory_bytes": beat.memory_bytes,
        "restarts": restarts,
        "cameras": [names.get(number, str(number)) for number in beat.cameras],
        "mapped": beat.mapped,
        "busy_s": round(beat.busy_s, 3),
        "sent_bytes": beat.sent_bytes,
    }
