"""When to open a lost source again, and when to give up: arithmetic only."""

from __future__ import annotations

from collections import deque

from spark3r_stream.sources.options import ReconnectOptions


class RestartBudget:
    """Counts restarts in a sliding window and spaces them out. Times are monotonic nanoseconds given by the caller."""

    def __init__(self, options: ReconnectOptions) -> None:
        self._options = options
        self._restarts_ns: deque[int] = deque()
        self._failures_in_a_row = 0

    def next_delay_s(self, now_ns: int) -> float | None:
        """Seconds to wait before the next attempt, which counts from now; None when the budget is spent."""
        window_ns = self._options.window_s * 1e9
        while self._restarts_ns and now_ns - self._restarts_ns[0] > window_ns:
            self._restarts_ns.popleft()
        if len(self._restarts_ns) >= self._options.max_restarts:
            return None
        self._restarts_ns.append(now_ns)
        delay_s = min(self._options.first_delay_s * 2.0**self._failures_in_a_row, self._options.max_delay_s)
        self._failures_in_a_row += 1
        return delay_s

    def succeeded(self) -> None:
        """A frame has come: the next loss is met with the shortest delay again (the window still counts)."""
        self._failures_in_a_row = 0
