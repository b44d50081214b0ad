"""Presentation times: from the stamps of a container, whatever it does, to nanoseconds since the first picture."""

from __future__ import annotations

import itertools
import statistics
from collections import deque
from collections.abc import Iterable
from fractions import Fraction

NS_PER_S = 1_000_000_000
_LEAST_RESTART_NS = NS_PER_S // 10
# A longer jump is believed only if the pictures after it make it, too.
_DOUBTFUL_JUMP_NS = 10 * NS_PER_S
_JUDGES = 5  # following pictures that decide about one stamp
_MEMORY = 32  # pictures whose disorder counts


def ticks_to_ns(ticks: int | None, time_base: Fraction | None) -> int | None:
    """Ticks of `time_base` seconds as nanoseconds; None where either is unknown."""
    return None if ticks is None or time_base is None else int(Fraction(ticks) * Fraction(time_base) * NS_PER_S)


class PictureTimes:
    """Strictly increasing nanoseconds from the stamps of one stream's pictures; the first picture is 0.

    `see` takes the stamps as pictures leave the decoder, `next` gives the time of the oldest picture seen. Whoever can
    wait sees some pictures ahead, so that a bad stamp is known by those that follow it; a live stream sees one by one.

    Which stamp: the presentation time, and FFmpeg's best guess where there is none or where presentation times run
    backwards more often than decoding times (muxers that wrote one for the other, AVI).
    Sense: one stamp that those around it contradict is moved between them and moves nothing else. A missing time, or a
    jump back of 0.1 s and three periods or more that the following pictures make, too (a splice, a wrap-around: the
    stream's clock began anew), continues one period after the last picture. A smaller step back or a repeated time is
    moved 1 µs behind the last picture. Jumps forward are gaps and stay, if they do not stand alone.
    """

    def __init__(self, nominal_fps: float | None) -> None:
        self._nominal_ns = round(NS_PER_S / nominal_fps) if nominal_fps else round(NS_PER_S / 30)
        self._steps_ns: deque[int] = deque(maxlen=9)
        self._waiting: deque[tuple[int | None, int | None]] = deque()
        self._pts_order, self._dts_order = _Order(), _Order()
        self._use_dts = False
        self._offset_ns: int | None = None  # subtracted from the container's time
        self._former_offset_ns: int | None = None  # before the clock began anew
        self._last_ns: int | None = None
        self._doubted = False

    def see(self, pts_ns: int | None, dts_ns: int | None) -> None:
        """The stamps of the next picture in the order of output."""
        self._pts_order.see(pts_ns)
        self._dts_order.see(dts_ns)
        self._waiting.append((pts_ns, dts_ns))

    def next(self) -> int:
        """The time of the oldest picture that was seen; IndexError if there is none."""
        pts, dts = self._pts_order, self._dts_order
        self._use_dts = pts.faults > dts.faults and (self._use_dts or pts.is_disorder)
        stamp, *ahead = map(self._stamp, list(self._waiting)[: 1 + _JUDGES])
        self._waiting.popleft()
        last_ns = self._last_ns
        now_ns = self._place(stamp, [a for a in ahead if a is not None])
        if last_ns is not None and stamp is not None and now_ns - last_ns > 1_000:
            self._steps_ns.append(now_ns - last_ns)
        self._last_ns = now_ns
        return now_ns

    def step_ns(self) -> int | None:
        """The median step between the stamps that were seen and wait; None where there is none."""
        return _median_step(self._stamp(w) for w in self._waiting)

    def _stamp(self, waiting: tuple[int | None, int | None]) -> int | None:
        pts_ns, dts_ns = waiting
        return dts_ns if self._use_dts or pts_ns is None else pts_ns

    @property
    def _period_ns(self) -> int:
        return int(statistics.median(self._steps_ns)) if self._steps_ns else self._nominal_ns

    def _place(self, stamp: int | None, ahead: list[int]) -> int:
        period_ns, last_ns = self._period_ns, self._last_ns
        expected_ns = 0 if last_ns is None else last_ns + period_ns
        if stamp is None:
            return expected_ns
        if self._offset_ns is None:
            self._offset_ns = _first_believed(stamp, ahead, period_ns) - expected_ns
        if last_ns is None:
            return 0
        now_ns = stamp - self._offset_ns
        following = [a - self._offset_ns for a in ahead]
        believed, self._doubted = self._doubted, False
        if last_ns < now_ns <= last_ns + 2 * period_ns:
            return now_ns
        if self._former_offset_ns is not None and last_ns < stamp - self._former_offset_ns <= last_ns + NS_PER_S:
            # It was one bad stamp that looked like a new beginning.
            self._offset_ns, self._former_offset_ns = self._former_offset_ns, None
            return stamp - self._offset_ns
        if now_ns > last_ns:
            if following and _most(a < now_ns for a in following):
                return _between(last_ns, following, expected_ns)
            if not following and now_ns > last_ns + _DOUBTFUL_JUMP_NS and not believed:
                self._doubted = True
                return expected_ns
            return now_ns
        if following and not _most(a <= last_ns for a in following):
            return _between(last_ns, following, expected_ns)
        if last_ns - now_ns < max(_LEAST_RESTART_NS, 3 * period_ns):
            return last_ns + 1_000
        self._former_offset_ns, self._offset_ns = self._offset_ns, stamp - expected_ns
        return expected_ns


class _Order:
    """How often, of late, a stamp was not later than the one before."""

    def __init__(self) -> None:
        self._last: int | None = None
        self._faulty: deque[bool] = deque(maxlen=_MEMORY)

    def see(self, stamp: int | None) -> None:
        if stamp is not None:
            self._faulty.append(self._last is not None and stamp <= self._last)
            self._last = stamp

    @property
    def faults(self) -> int:
        return sum(self._faulty)

    @property
    def is_disorder(self) -> bool:
        """More than the odd bad stamp."""
        return self.faults >= 2 and 8 * self.faults > len(self._faulty)


def _first_believed(stamp: int, ahead: list[int], period_ns: int) -> int:
    """The first stamp, or what the following ones say it should be if it is far from all of them."""
    step_ns = _median_step(ahead) or period_ns
    if len(ahead) >= 3 and ahead[0] - stamp > _DOUBTFUL_JUMP_NS and ahead[2] - ahead[0] < _DOUBTFUL_JUMP_NS:
        return ahead[0] - step_ns
    return stamp


def _between(last_ns: int, following: list[int], expected_ns: int) -> int:
    """A time for a picture whose stamp is wrong: the expected one, if that leaves the next picture its own."""
    later = [a for a in following if a > last_ns + 1]
    return min(expected_ns, (last_ns + later[0]) // 2) if later else expected_ns


def _median_step(stamps: Iterable[int | None]) -> int | None:
    known = sorted(s for s in stamps if s is not None)
    steps = [b - a for a, b in itertools.pairwise(known) if b > a]
    return int(statistics.median(steps)) if steps else None


def _most(votes: Iterable[bool]) -> bool:
    counted = list(votes)
    return 2 * sum(counted) > len(counted)
