"""What a run has counted, as metrics of Prometheus: names, units and labels of all of them stand here.

Names follow Prometheus' own rules: base units (seconds, bytes), counters end in _total. Every sample has the label
`camera`, so that one page can hold several.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from spark3r_stream.stats import LatencyHistogram
from spark3r_stream.wire.messages import SessionState, Status, TrackingState

LATENCY_BOUNDS_MS = (5, 10, 20, 33, 50, 75, 100, 150, 250, 500, 1000, 2500, 10_000)


@dataclass(frozen=True)
class Measured:
    """One camera's run so far. camera: its name. keyframes: published. latency: capture to publication; of a file from
    when the frame was taken."""

    camera: str
    status: Status
    keyframes: int
    latency: LatencyHistogram


def families(measured: Sequence[Measured]) -> Iterator[Metric]:
    """All metrics of these cameras."""
    frames = CounterMetricFamily("spark3r_frames", "Frames with a result, by outcome.", labels=["camera", "outcome"])
    lost = CounterMetricFamily("spark3r_frames_lost", "Frames without a valid result.", labels=["camera", "cause"])
    latency = HistogramMetricFamily("spark3r_latency_seconds", "From capture to publication.", labels=["camera"])
    state = GaugeMetricFamily("spark3r_state", "1 for what the run is doing.", labels=["camera", "state"])
    tracking = GaugeMetricFamily("spark3r_tracking", "1 for how sure the newest pose is.", labels=["camera", "state"])
    about = GaugeMetricFamily("spark3r_run_info", "1; what runs.", labels=["camera", "source", "model"])
    for one in measured:
        status, name = one.status, one.camera
        frames.add_metric([name, "valid"], status.frames_processed)
        frames.add_metric([name, "failed"], status.frames_failed)
        for cause, count in sorted(status.drops.items()):
            lost.add_metric([name, cause], count)
        buckets, sum_s = _buckets(one.latency)
        latency.add_metric([name], buckets, sum_s)
        for session_state in SessionState:
            state.add_metric([name, session_state.name.lower()], float(status.state is session_state))
        for tracking_state in TrackingState:
            tracking.add_metric([name, tracking_state.name.lower()], float(status.tracking is tracking_state))
        about.add_metric([name, status.source_id, status.model], 1)
    yield from (frames, lost, latency, state, tracking, about)
    yield from _plain(measured)


def _plain(measured: Sequence[Measured]) -> Iterator[Metric]:
    """What is one number of a camera."""
    counters: dict[str, tuple[str, Callable[[Measured], float]]] = {
        "spark3r_frames_off_map": (
            "Valid frames whose points stayed out of the map.",
            lambda m: m.status.frames_off_map,
        ),
        "spark3r_keyframes": ("Keyframes published.", lambda m: m.keyframes),
        "spark3r_keyframes_dropped": ("Keyframes given up for the map's budget.", lambda m: m.status.keyframes_dropped),
        "spark3r_reconnects": ("Times that the source began again.", lambda m: m.status.epoch),
        "spark3r_messages_dropped": ("Messages the publisher was too slow for.", lambda m: m.status.messages_dropped),
        "spark3r_recording_dropped": ("Records the disk was too slow for.", lambda m: m.status.recording_dropped),
    }
    gauges: dict[str, tuple[str, Callable[[Measured], float]]] = {
        "spark3r_frames_per_second": ("Over the last seconds.", lambda m: m.status.frames_per_second),
        "spark3r_map_bytes": ("Of the present map of keyframes.", lambda m: m.status.map_bytes),
        "spark3r_map_limit_bytes": ("What they may be; 0: no limit.", lambda m: m.status.map_limit_bytes),
        "spark3r_attention_memory_bytes": ("Of the attention memory.", lambda m: m.status.memory_bytes),
        "spark3r_attention_memory_limit_bytes": ("What they may be.", lambda m: m.status.memory_limit_bytes),
        "spark3r_subscribers": ("Subscribers there are at least.", lambda m: m.status.subscribers),
        "spark3r_uptime_seconds": ("Since the run began.", lambda m: m.status.uptime_ns / 1e9),
    }
    for family, plain in ((CounterMetricFamily, counters), (GaugeMetricFamily, gauges)):
        for name, (text, value) in plain.items():
            metric = family(name, text, labels=["camera"])
            for one in measured:
                metric.add_metric([one.camera], value(one))
            yield metric


def _buckets(latency: LatencyHistogram) -> tuple[list[tuple[str, float]], float]:
    """Cumulative counts by upper bound in seconds, and the sum in seconds."""
    counts, count, sum_ns = latency.counts_below([round(bound * 1e6) for bound in LATENCY_BOUNDS_MS])
    bounds = [f"{bound / 1e3:g}" for bound in LATENCY_BOUNDS_MS]
    return [*zip(bounds, map(float, counts), strict=True), ("+Inf", float(count))], sum_ns / 1e9
