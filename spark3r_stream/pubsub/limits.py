"""How much and how often: what a relay lets through, and what may be spent over time.

Imports nothing but Python's own modules, like relay.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from spark3r_stream.pubsub.relay_link import Cost


@dataclass(frozen=True)
class UploadLimit:
    """What an accepted peer may send: `burst_bytes` at once and `bytes_per_s` for as long as it stays."""

    burst_bytes: int
    bytes_per_s: float


@dataclass(frozen=True)
class RelayLimits:
    """connections: at a time. connections_per_s: new ones, after as many at once as there may be at a time.

    upload: of each accepted peer; over it, hung up on. download_bytes: what may be on its way to the accepted side
    without being taken (`Relay.taken`), in the measure of `cost`. age_s: how long a connection may last. stall_s: how
    long an accepted peer may leave bytes waiting that are meant for it. redial: try again until the other side answers.
    """

    connections: int
    connections_per_s: float = math.inf
    upload: UploadLimit | None = None
    download_bytes: int | None = None
    cost: Callable[[], Cost] | None = None
    age_s: float = math.inf
    stall_s: float = math.inf
    redial: bool = False


class TokenBucket:
    """What may be spent: `most` at once, and `per_s` for as long as it is asked for. Full at first.

    Times are of any clock that only goes forward. What is spent may exceed what there is; then there is a debt.
    """

    def __init__(self, most: float, per_s: float, now_s: float) -> None:
        self._most, self._per_s = most, per_s
        self._level, self._at_s = most, now_s

    def level(self, now_s: float) -> float:
        """What is there, negative for a debt."""
        if now_s > self._at_s:  # infinity times 0 is no number
            self._level = min(self._most, self._level + (now_s - self._at_s) * self._per_s)
            self._at_s = now_s
        return self._level

    def spend(self, amount: float) -> None:
        self._level -= amount

    def wait_s(self, needed: float, now_s: float) -> float:
        """For how long there will be less than `needed`."""
        return max(0.0, needed - self.level(now_s)) / self._per_s
