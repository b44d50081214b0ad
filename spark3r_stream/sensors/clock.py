"""How far a sensor's clock is off, learnt from what was tracked."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry.clocks import MOST_SIGMA_S, ClockOffset, clock_offset
from spark3r_core.geometry.rotation import log_so3
from spark3r_stream.sensors.lines import Rows

LEARNT_FROM, LEARNT_EVERY = 300, 30  # tracked steps from frame to frame
AROUND_NS = 2 * 10**9  # before and after them, where rows are looked at: beyond what is searched

Array = NDArray[np.float64]
Moved = Callable[[Rows], Array]
"""How much a sensor has moved since its first row, (N, k)."""


class ClockLearner:
    """Of one sensor, until its clock is known. turned: about the camera's axes, (N, 3); gone: a distance, (N, 1), where
    the sensor knows ways: it is asked where turns do not say it."""

    def __init__(self, turned: Moved, gone: Moved | None = None) -> None:
        self._turned, self._gone = turned, gone
        self._before: tuple[int, Array] | None = None  # the newest tracked frame: its time and odom_from_camera
        self._spans: deque[tuple[int, int]] = deque(maxlen=LEARNT_FROM)
        self._turns: deque[Array] = deque(maxlen=LEARNT_FROM)
        self._ways: deque[float] = deque(maxlen=LEARNT_FROM)
        self._until = LEARNT_EVERY
        self._last: ClockOffset | None = None  # clear, but not said twice

    def tracked(self, time_ns: int, odom_from_camera: Array | None, rows: Callable[[], Rows]) -> ClockOffset | None:
        """What came of a frame, (4, 4), None where it was not aligned; the offset once it is clear twice in a row."""
        before = self._before
        self._before = None if odom_from_camera is None else (time_ns, odom_from_camera)
        if before is None or odom_from_camera is None:
            return None
        self._spans.append((before[0], time_ns))
        self._turns.append(log_so3(before[1][:3, :3].T @ odom_from_camera[:3, :3]))
        self._ways.append(float(np.linalg.norm(odom_from_camera[:3, 3] - before[1][:3, 3])))
        self._until -= 1
        if self._until > 0:
            return None
        self._until = LEARNT_EVERY
        last, self._last = self._last, self._found(rows())
        if last is None or self._last is None or abs(last.seconds - self._last.seconds) > MOST_SIGMA_S:
            return None
        return self._last

    def _found(self, rows: Rows) -> ClockOffset | None:
        spans = np.array(self._spans, np.int64)
        around = slice(*np.searchsorted(rows.times_ns, [spans[0, 0] - AROUND_NS, spans[-1, 1] + AROUND_NS]).tolist())
        rows = Rows(rows.times_ns[around], rows.values[around])
        if not len(rows.times_ns):
            return None
        asked: list[tuple[Moved, Array]] = [(self._turned, np.stack(self._turns))]
        if self._gone is not None:
            asked.append((self._gone, np.array(self._ways)[:, None]))
        for moved, seen in asked:
            found = clock_offset(rows.times_ns, moved(rows), spans, seen)
            if found is not None and found.is_clear:
                return found
        return None
