"""Which frame something belongs to that has a time but no number: the nearest, if that is near enough."""

from __future__ import annotations

from collections import deque

import numpy as np

KEPT_FRAMES = 64


class NearestFrame:
    """The newest frames by their times. Near enough is half of the time from frame to frame, as most of them have it;
    so nothing is known before the second frame."""

    def __init__(self) -> None:
        self._frames: deque[tuple[int, int]] = deque(maxlen=KEPT_FRAMES)  # times and ids

    def add(self, frame_id: int, time_ns: int) -> None:
        """The next frame; one that is older than the newest begins anew, since a clock was set."""
        if self._frames and time_ns <= self._frames[-1][0]:
            self._frames.clear()
        self._frames.append((time_ns, frame_id))

    def is_to_come(self, time_ns: int) -> bool:
        """Whether a later frame may be what belongs to this time."""
        return len(self._frames) < 2 or time_ns > self._frames[-1][0] + self._half_ns()

    def of(self, time_ns: int) -> int | None:
        """The id of the frame that it belongs to, None where no frame is near."""
        if len(self._frames) < 2:
            return None
        apart_ns, frame_id = min((abs(time_ns - frame_ns), frame_id) for frame_ns, frame_id in self._frames)
        return frame_id if apart_ns <= self._half_ns() else None

    def _half_ns(self) -> float:
        return float(np.median(np.diff([time_ns for time_ns, _ in self._frames]))) / 2
