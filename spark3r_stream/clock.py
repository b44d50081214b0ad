"""Time as an argument: everything that stamps or waits takes a Clock, so tests need no sleeping."""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """Integer nanoseconds. `unix_ns` never steps: it is Unix time at session start plus the monotonic clock since."""

    def monotonic_ns(self) -> int:
        """Nanoseconds of a clock that never goes back; its zero means nothing."""
        ...

    def unix_at(self, monotonic_ns: int) -> int:
        """The Unix time in ns of a monotonic reading of this machine (another process's reading is fine)."""
        ...

    def unix_ns(self) -> int:
        """Now, as Unix time in ns."""
        ...

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        """Wait until `event` is set (True) or `timeout_s` has passed on this clock (False)."""
        ...


class SystemClock:
    """The machine's clock. NTP steps and daylight saving after construction do not move it."""

    def __init__(self) -> None:
        self._unix_minus_monotonic = time.time_ns() - time.monotonic_ns()

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def unix_at(self, monotonic_ns: int) -> int:
        return self._unix_minus_monotonic + monotonic_ns

    def unix_ns(self) -> int:
        return self.unix_at(time.monotonic_ns())

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        return event.wait(max(0.0, timeout_s))
