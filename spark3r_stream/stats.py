"""Counting what is lost and how long things take, in bounded memory and from any thread."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any


class DropCause(Enum):
    """Why a frame that existed did not become a result. Values are the names used on the wire and in stats.json."""

    SUPERSEDED = "superseded"  # live: a newer frame took its place in the frame buffer
    QUEUE_FULL = "queue_full"  # live: decoded in the child process, but the reader had no slot free for it
    DECODE_ERROR = "decode_error"  # corrupt packet or image file
    NOT_FINITE = "not_finite"  # the network answered with NaN or infinity
    NOT_ALIGNED = "not_aligned"  # a window of a network without a gauge did not fit the map
    NOT_FOUND = "not_found"  # not recognised in the saved map that the run goes on in
    MODEL_ERROR = "model_error"  # the network raised
    UNDISTORT_ERROR = "undistort_error"  # the given intrinsics do not fit the image


class DropCounter:
    """Thread-safe counts by cause: a running total, and what came since the last `take`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._total: dict[DropCause, int] = {}
        self._fresh: dict[DropCause, int] = {}

    def add(self, cause: DropCause, count: int = 1) -> None:
        if count < 0:
            raise ValueError(f"a drop count cannot be negative, got {count} for {cause}")
        if count == 0:
            return
        with self._lock:
            self._total[cause] = self._total.get(cause, 0) + count
            self._fresh[cause] = self._fresh.get(cause, 0) + count

    def add_all(self, counts: Mapping[DropCause, int]) -> None:
        for cause, count in counts.items():
            self.add(cause, count)

    def take(self) -> dict[DropCause, int]:
        """Counts since the previous `take`; each drop is handed out exactly once."""
        with self._lock:
            fresh, self._fresh = self._fresh, {}
        return fresh

    def total(self) -> dict[DropCause, int]:
        """Counts since the beginning."""
        with self._lock:
            return dict(self._total)


@dataclass(frozen=True)
class LatencySummary:
    """Milliseconds; all zero when `count` is zero. p50 and p95 are within 1 % of the exact quantile, max is exact."""

    count: int
    mean_ms: float
    p50_ms: float
    p95_ms: float
    max_ms: float


class LatencyHistogram:
    """Durations in logarithmic bins of 1 % half-width from 1 µs to about 3 hours: 1,162 integers, however long the run.

    `add_ns` clamps what lies outside; negative durations (a bug or a foreign clock) count as zero.
    """

    _FIRST_NS = 1_000
    _LAST_NS = 10_000_000_000_000
    _RATIO = 1.02

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bins = [0] * (self._bin(self._LAST_NS) + 1)
        self._count = 0
        self._sum_ns = 0
        self._max_ns = 0

    def __getstate__(self) -> dict[str, Any]:
        """For another process, which has a lock of its own."""
        with self._lock:
            return {**self.__dict__, "_bins": list(self._bins), "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    @classmethod
    def _bin(cls, ns: int) -> int:
        clamped = min(max(ns, cls._FIRST_NS), cls._LAST_NS)
        return int(math.log(clamped / cls._FIRST_NS) / math.log(cls._RATIO))

    def add_ns(self, duration_ns: int) -> None:
        duration_ns = max(0, duration_ns)
        with self._lock:
            self._bins[self._bin(duration_ns)] += 1
            self._count += 1
            self._sum_ns += duration_ns
            self._max_ns = max(self._max_ns, duration_ns)

    def summary(self) -> LatencySummary:
        with self._lock:
            bins, count, sum_ns, max_ns = list(self._bins), self._count, self._sum_ns, self._max_ns
        if count == 0:
            return LatencySummary(0, 0.0, 0.0, 0.0, 0.0)
        return LatencySummary(
            count=count,
            mean_ms=sum_ns / count / 1e6,
            p50_ms=min(self._quantile_ns(bins, count, 0.50), max_ns) / 1e6,
            p95_ms=min(self._quantile_ns(bins, count, 0.95), max_ns) / 1e6,
            max_ms=max_ns / 1e6,
        )

    def counts_below(self, bounds_ns: Sequence[int]) -> tuple[list[int], int, int]:
        """How many durations were at most each of the bounds (ascending; within a bin's half-width), how many there
        were, and their sum in nanoseconds."""
        with self._lock:
            bins, count, sum_ns = list(self._bins), self._count, self._sum_ns
        return [sum(bins[: self._bin(bound) + 1]) for bound in bounds_ns], count, sum_ns

    @classmethod
    def _quantile_ns(cls, bins: list[int], count: int, q: float) -> float:
        rank = max(1, math.ceil(q * count))
        seen = 0
        for index, n in enumerate(bins):
            seen += n
            if seen >= rank:
                # the middle of the bin in the logarithm, so that the error is the same on both sides
                return cls._FIRST_NS * cls._RATIO ** (index + 0.5)
        raise AssertionError("bins and count disagree")
