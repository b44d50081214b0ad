"""Where the time and the memory of one run go, measured without slowing it: for reports, never for decisions."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch


class Stopwatch:
    """Adds up the seconds spent in named sections; sections of different names may be nested.

    On CUDA by events, so that nothing waits inside; elsewhere by the monotonic clock.
    """

    def __init__(self) -> None:
        self._seconds: dict[str, float] = defaultdict(float)
        self._pending: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def measure(self, name: str, device: torch.device) -> Iterator[None]:
        if device.type == "cuda":
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            yield
            end.record()
            self._pending.append((name, start, end))
            return
        started = time.perf_counter()
        yield
        self._seconds[name] += time.perf_counter() - started

    def seconds(self) -> dict[str, float]:
        """Totals so far; waits for the device."""
        for name, start, end in self._pending:
            end.synchronize()
            self._seconds[name] += start.elapsed_time(end) / 1000
        self._pending.clear()
        return dict(self._seconds)


class PeakMemory:
    """Highest memory use since it was made.

    On CUDA the allocator's peak; elsewhere the resident set of this process, weights and interpreter included. Linux
    can restart that mark; other systems report the highest of the whole process.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        elif sys.platform == "linux":
            # A read-only /proc (some containers) leaves the mark where it is: it then covers the whole process.
            with suppress(OSError):
                Path("/proc/self/clear_refs").write_text("5")

    def bytes(self) -> int:
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device)
        if sys.platform == "linux":
            fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
            return int(fields["VmHWM"].split()[0]) * 1024
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
