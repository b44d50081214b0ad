"""What a run did, counted: the source of /status/, of the live line and of stats.json. Bounded however long it runs."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from spark3r_stream.clock import Clock
from spark3r_stream.engine.results import MapUnit, StepOutput
from spark3r_stream.frame import Frame
from spark3r_stream.sources.base import SourceState
from spark3r_stream.stats import DropCause, DropCounter, LatencyHistogram
from spark3r_stream.wire.messages import CameraView, SessionState, Status, TrackingState

RATE_WINDOW_NS = 5_000_000_000  # frames per second are counted over the last seconds, not since the beginning

SESSION_STATE = {
    SourceState.OPENING: SessionState.OPENING,
    SourceState.STREAMING: SessionState.RUNNING,
    SourceState.STALLED: SessionState.STALLED,
    SourceState.RECONNECTING: SessionState.RECONNECTING,
    SourceState.ENDED: SessionState.RUNNING,  # frames of it may still be in the buffer; the engine says when it ended
    SourceState.FAILED: SessionState.RUNNING,
}


class RunStats:
    """Written by the engine's thread, read by any.

    `frames_in` counts frames the source handed to the network, `processed_frames` those with a valid result, `failed`
    those without, `off_map` the processed ones whose points stayed out of the map. `drops` holds by cause whatever has
    no valid result: lost before the network, or failed in it.
    """

    def __init__(self, clock: Clock, source_id: str, model: str) -> None:
        self._clock = clock
        self._started_ns = clock.monotonic_ns()
        self._finished_ns: int | None = None
        self._lock = threading.Lock()
        self.source_id = source_id
        self.model = model
        self.frames_in = 0
        self.processed_frames = 0
        self.failed = 0
        self.off_map = 0
        self.windows = 0
        self.keyframes = 0
        self.camera: CameraView | None = None  # as known last
        self.drops = DropCounter()
        self.latency = LatencyHistogram()
        self.model_time = LatencyHistogram()
        self.memory_used = 0
        self.memory_limit = 0
        self.memory_peak = 0
        self.map_used = 0
        self.map_limit = 0
        self.map_peak = 0
        self.keyframes_dropped = 0
        self.map_unit = MapUnit()
        self.tracking: TrackingState | None = None
        self.state_windows: dict[str, int] = {}
        self.submap = 0
        self.epoch = 0
        self.last_model_ms = 0.0
        self.last_error = ""
        self.captured_ns = 0  # of the newest frame with a result
        self._recent: deque[tuple[int, int]] = deque()

    def taken(self, frames: Sequence[Frame], drops: Mapping[DropCause, int]) -> None:
        """Frames left the buffer; `drops` were lost before them."""
        with self._lock:
            self.frames_in += len(frames)
        self.drops.add_all(drops)

    def processed(self, result: StepOutput) -> None:
        """One window came out of the model."""
        self.drops.add_all(result.failures)
        for output in result.outputs:
            self.latency.add_ns(int(output.result.latency_ms * 1e6))
        with self._lock:
            self.map_unit = result.map_unit
            self.keyframes += len(result.keyframes)
            if result.map_size is not None:
                self.map_used, self.map_limit = result.map_size.used_bytes, result.map_size.limit_bytes
                self.map_peak = max(self.map_peak, self.map_used)
                self.keyframes_dropped += result.map_size.dropped
            self.camera = (
                result.camera or next((one.result.camera for one in result.outputs[::-1]), None) or self.camera
            )
        if not result.outputs:
            return
        with self._lock:
            valid = [output.result for output in result.outputs if output.result.valid]
            self.windows += 1
            self.processed_frames += len(valid)
            self.failed += len(result.outputs) - len(valid)
            self.off_map += sum(frame.state is not TrackingState.TRACKING for frame in valid)
            last = result.outputs[-1].result
            self.captured_ns = last.captured_ns
            self.tracking, self.submap, self.epoch = last.state, last.submap, last.epoch
            self.state_windows[last.state.name] = self.state_windows.get(last.state.name, 0) + 1
            if result.window is not None:
                self.model_time.add_ns(result.window.step_ns - result.window.refine_ns)
                self.last_model_ms = (result.window.step_ns - result.window.refine_ns) / 1e6
                self.memory_used = result.window.memory_used_bytes
                self.memory_limit = result.window.memory_limit_bytes
                self.memory_peak = max(self.memory_peak, self.memory_used)
            failed = [output.result.failure_reason for output in result.outputs if not output.result.valid]
            if failed:
                self.last_error = failed[-1]
            now = self._clock.monotonic_ns()
            self._recent.append((now, len(result.outputs)))
            while self._recent and now - self._recent[0][0] > RATE_WINDOW_NS:
                self._recent.popleft()

    def finish(self) -> None:
        """The run is over: from now on its time stands still, and every rate is that of the whole run."""
        self._finished_ns = self._clock.monotonic_ns()

    def frames_per_second(self) -> float:
        """Over the last seconds, zero when nothing came; over the whole run once that is over."""
        if self._finished_ns is not None:
            return self.mean_frames_per_second()
        with self._lock:
            now = self._clock.monotonic_ns()
            recent = [(t, n) for t, n in self._recent if now - t <= RATE_WINDOW_NS]
            if not recent:
                return 0.0
            span_ns = min(RATE_WINDOW_NS, max(now - self._started_ns, 1))
            return sum(n for _, n in recent) / (span_ns / 1e9)

    def mean_frames_per_second(self) -> float:
        """Frames with a result, failed ones included, over the time of the run so far."""
        return (self.processed_frames + self.failed) / max(self.uptime_ns() / 1e9, 1e-9)

    @property
    def frames_seen(self) -> int:
        """How far the source was read: frames handed to the network, and those lost before it."""
        return self.frames_in + self.lost - self.failed

    @property
    def lost(self) -> int:
        """Frames without a valid result, failed ones included."""
        return sum(self.drops.total().values())

    def uptime_ns(self) -> int:
        end_ns = self._clock.monotonic_ns() if self._finished_ns is None else self._finished_ns
        return end_ns - self._started_ns

    def status(self, state: SessionState, **sinks: int) -> Status:
        """The message for /status/. sinks: subscribers, messages_dropped, recording_dropped."""
        latency, unit = self.latency.summary(), self.map_unit
        return Status(
            state=state,
            source_id=self.source_id,
            frames_in=self.frames_in,
            frames_processed=self.processed_frames,
            frames_failed=self.failed,
            drops={cause.value: count for cause, count in self.drops.total().items()},
            frames_per_second=self.frames_per_second(),
            latency_p50_ms=latency.p50_ms,
            latency_p95_ms=latency.p95_ms,
            latency_max_ms=latency.max_ms,
            model_ms=self.last_model_ms,
            memory_bytes=self.memory_used,
            memory_limit_bytes=self.memory_limit,
            tracking=self.tracking,
            epoch=self.epoch,
            submap=self.submap,
            uptime_ns=self.uptime_ns(),
            last_error=self.last_error,
            model=self.model,
            frames_off_map=self.off_map,
            map_bytes=self.map_used,
            map_limit_bytes=self.map_limit,
            keyframes_dropped=self.keyframes_dropped,
            unit=unit.unit,
            scale_source=unit.scale_source,
            scale_std=unit.scale_std,
            map_z_up=unit.map_z_up,
            **sinks,  # type: ignore[arg-type]  # all counts
        )

    def as_dict(self) -> dict[str, Any]:
        """For stats.json."""
        latency, model = self.latency.summary(), self.model_time.summary()
        seconds = self.uptime_ns() / 1e9
        return {
            "frames": {
                "in": self.frames_in,
                "processed": self.processed_frames,
                "failed": self.failed,
                "dropped": {cause.value: count for cause, count in self.drops.total().items()},
            },
            "windows": self.windows,
            "keyframes": self.keyframes,
            "camera": None if self.camera is None else _camera_of(self.camera),
            "window_states": self.state_windows,
            "frames_off_map": self.off_map,
            "submaps": self.submap + 1,
            "epochs": self.epoch + 1,
            "seconds": round(seconds, 3),
            "fps": round(self.mean_frames_per_second(), 3),
            "latency_ms": {"p50": latency.p50_ms, "p95": latency.p95_ms, "max": latency.max_ms},
            "window_model_ms": {"p50": model.p50_ms, "p95": model.p95_ms, "max": model.max_ms},
            "unit": self.map_unit.as_dict(),
            "memory_bytes": {"used": self.memory_used, "peak": self.memory_peak, "limit": self.memory_limit},
            "map_bytes": {"used": self.map_used, "peak": self.map_peak, "limit": self.map_limit},
            "keyframes_dropped": self.keyframes_dropped,
        }


def _camera_of(view: CameraView) -> dict[str, float]:
    """Pixels of the pictures, undistorted."""
    k = view.matrix
    values = {"fx": k[0, 0], "fy": k[1, 1], "cx": k[0, 2], "cy": k[1, 2]}
    found = {name: round(float(value), 3) for name, value in values.items()} | {
        "width": view.width,
        "height": view.height,
    }
    return found if view.focal_std is None else found | {"focal_std": float(f"{view.focal_std:.3g}")}
