"""Presentation times: from ticks of a container to nanoseconds since the first frame, whatever the container does."""

from __future__ import annotations

from fractions import Fraction

NS_PER_S = 1_000_000_000
_LEAST_RESTART_NS = NS_PER_S // 10


class PtsTracker:
    """Strictly increasing nanoseconds from the ticks of one stream; the first frame is 0.

    A missing time, or a jump back by 0.1 s and three frame periods or more (a splice, a wrap-around: the stream's clock
    began anew), continues one nominal period after the last frame and carries on from there. A smaller step back or a
    repeated time is disorder and is moved 1 µs behind the last frame. Jumps forward are kept: in a file they are gaps.
    """

    def __init__(self, nominal_fps: float | None) -> None:
        self._period_ns = round(NS_PER_S / nominal_fps) if nominal_fps else round(NS_PER_S / 30)
        self._offset_ns: int | None = None  # subtracted from the container's time
        self._last_ns: int | None = None

    def next(self, pts: int | None, time_base: Fraction | None) -> int:
        expected = 0 if self._last_ns is None else self._last_ns + self._period_ns
        if pts is None or time_base is None:
            now = expected
        else:
            raw = int(Fraction(pts) * Fraction(time_base) * NS_PER_S)
            if self._offset_ns is None:
                self._offset_ns = raw - expected
            now = raw - self._offset_ns
            if self._last_ns is not None and now <= self._last_ns:
                if self._last_ns - now >= max(_LEAST_RESTART_NS, 3 * self._period_ns):
                    self._offset_ns = raw - expected
                    now = expected
                else:
                    now = self._last_ns + 1_000
        self._last_ns = now
        return now
