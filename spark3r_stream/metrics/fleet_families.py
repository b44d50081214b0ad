"""What the parts of a fleet have counted, as metrics of Prometheus, beside those of each camera's run (`families.py`).

A part that was started again counts from nought, which Prometheus knows of counters.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from spark3r_stream.metrics.families import Measured, families


@dataclass(frozen=True)
class PartMeasured:
    """A process. kind: camera, mapper, map or outlet. restarts: seen by the fleet. memory_bytes: resident."""

    kind: str
    name: str
    restarts: int
    memory_bytes: int


@dataclass(frozen=True)
class AskedMeasured:
    """What a camera asked of its mapper. keyframes: that were mapped. waited_s: for its turn, all of them. late: those
    that waited long. lost: that were mapped and are in no map any more."""

    camera: str
    mapper: str
    keyframes: int
    waited_s: float
    late: int
    lost: int


@dataclass(frozen=True)
class MapperMeasured:
    """mapped: keyframes, of all of its cameras. busy_s: with their calls."""

    mapper: str
    mapped: int
    busy_s: float


@dataclass(frozen=True)
class MapMeasured:
    """keyframes: in the maps now, by camera. looked, look_s: keyframes that were looked for in the maps of others, and
    how long that took. replaced: that gave way to a newer one before, by camera."""

    keyframes: Mapping[str, int]
    looked: int
    look_s: float
    replaced: Mapping[str, int]


@dataclass(frozen=True)
class FleetMeasured:
    """map: None until it has answered."""

    cameras: Sequence[Measured]
    parts: Sequence[PartMeasured]
    asked: Sequence[AskedMeasured]
    mappers: Sequence[MapperMeasured]
    map: MapMeasured | None
    uptime_s: float


Samples = Iterable[tuple[Sequence[str], float]]


def fleet_families(fleet: FleetMeasured) -> Iterator[Metric]:
    """All metrics of a fleet."""
    yield from families(fleet.cameras)
    yield GaugeMetricFamily("spark3r_fleet_uptime_seconds", "Since the fleet began.", fleet.uptime_s)
    labels = ["kind", "part"]
    parts = [((one.kind, one.name), one) for one in fleet.parts]
    yield _counter("spark3r_part_restarts", "Times that it was started again.", labels,
                   ((names, one.restarts) for names, one in parts))  # fmt: skip
    yield _filled(GaugeMetricFamily("spark3r_part_resident_memory_bytes", "Of its process.", labels=labels),
                  ((names, one.memory_bytes) for names, one in parts))  # fmt: skip
    both = ["camera", "mapper"]
    asked = [((one.camera, one.mapper), one) for one in fleet.asked]
    yield _counter("spark3r_mapper_asked", "Keyframes that a camera's mapper has mapped.", both,
                   ((names, one.keyframes) for names, one in asked))  # fmt: skip
    yield _counter("spark3r_mapper_waiting_seconds", "That they waited for their turn.", both,
                   ((names, one.waited_s) for names, one in asked))  # fmt: skip
    yield _counter("spark3r_mapper_late", "Those that waited for longer than a quarter of a second.", both,
                   ((names, one.late) for names, one in asked))  # fmt: skip
    yield _counter("spark3r_keyframes_lost", "Mapped, and in no map any more.", ["camera"],
                   (((one.camera,), one.lost) for one in fleet.asked))  # fmt: skip
    yield _counter("spark3r_mapper_mapped", "Keyframes that a mapper has mapped.", ["mapper"],
                   (((one.mapper,), one.mapped) for one in fleet.mappers))  # fmt: skip
    yield _counter("spark3r_mapper_busy_seconds", "That it took for all calls.", ["mapper"],
                   (((one.mapper,), one.busy_s) for one in fleet.mappers))  # fmt: skip
    if fleet.map is not None:
        yield from _of_map(fleet.map)


def _of_map(site: MapMeasured) -> Iterator[Metric]:
    keyframes = GaugeMetricFamily("spark3r_site_keyframes", "In the site's maps.", labels=["camera"])
    yield _filled(keyframes, (((name,), count) for name, count in site.keyframes.items()))
    yield _counter("spark3r_site_looked", "Keyframes looked for in other maps.", [], [((), site.looked)])
    yield _counter("spark3r_site_look_seconds", "That it took.", [], [((), site.look_s)])
    yield _counter("spark3r_site_replaced", "Keyframes that gave way to a newer one before they were looked for.",
                   ["camera"], (((name,), count) for name, count in site.replaced.items()))  # fmt: skip


def _counter(name: str, text: str, labels: Sequence[str], samples: Samples) -> Metric:
    return _filled(CounterMetricFamily(name, text, labels=labels), samples)


def _filled(metric: CounterMetricFamily | GaugeMetricFamily, samples: Samples) -> Metric:
    for labels, value in samples:
        metric.add_metric(list(labels), value)
    return metric
