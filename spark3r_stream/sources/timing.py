"""Presentation times: from ticks of a container to nanoseconds since the first frame, whatever the container does."""

from __future__ import annotations

from fractions import Fraction

NS_PER_S = 1_000_000_000
# Smaller steps back are disorder within a stream, larger ones a new beginning of its clock (wrap-around, a splice).
_RESTART_NS = NS_PER_S


class PtsTracker:
    """Strictly increasing nanoseconds from the ticks of one stream; the first frame is 0.

    A missing time, or a jump back of a second or more, continues one nominal period after the last frame and carries on
    from there; a smaller step back (or a repeated time) is moved 1 µs behind the last frame. Jumps forward are kept:
    in a file they are real gaps.
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
                if self._last_ns - now >= _RESTART_NS:
                    self._offset_ns = raw - expected
                    now = expected
                else:
                    now = self._last_ns + 1_000
        self._last_ns = now
        return now
