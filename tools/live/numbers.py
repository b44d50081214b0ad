"""What a live run adds up to: which picture a result belongs to, latencies, shares. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]
REGULAR = 0.2  # of a period: how far a presentation time may lie from its place in a regular stream


def newest_sent(captured_ns: Sequence[int], sent_ns: Sequence[int]) -> Indices:
    """(n,) the last picture that was sent before each frame was captured; -1 where none was.

    The picture of the frame is this one, or an earlier one where it was on its way for longer than a period.
    """
    return np.searchsorted(np.asarray(sent_ns, np.int64), np.asarray(captured_ns, np.int64), side="right") - 1


def places(pts_ns: Sequence[int | None]) -> Indices | None:
    """(n,) number of each frame in its stream, from 0 at presentation time 0, frames that were lost counted too.

    None where times are missing or not multiples of one period, which two frames at least are apart.
    """
    if len(pts_ns) < 2 or any(one is None for one in pts_ns):
        return None
    times = np.asarray(pts_ns, np.float64)
    gaps = np.diff(times)
    if gaps.min() <= 0:
        return None
    steps = np.concatenate([[0.0], np.cumsum(np.round(gaps / gaps.min()))])
    period = (times[-1] - times[0]) / steps[-1]  # of all: one gap is rounded
    if np.abs(times - times[0] - steps * period).max() > REGULAR * period:
        return None
    return (steps + round(times[0] / period)).astype(np.int64)


def pictures_of(
    captured_ns: Sequence[int], pts_ns: Sequence[int | None], sent_ns: Sequence[int]
) -> tuple[Indices, str]:
    """Which sent picture each frame is, (n,) with -1 for none, and how that was found.

    By presentation times where they are regular: what lies between number and newest sent picture is the same for all
    frames but for those that were on their way longer than a period, so the least difference is it. Otherwise the
    newest picture sent before capture, which is one too late for frames that took longer than a period to arrive.
    """
    newest = newest_sent(captured_ns, sent_ns)
    number = places(pts_ns)
    if number is None or not len(newest):
        return newest, "newest picture sent before capture"
    index = number + int((newest - number).min())
    index[(index < 0) | (index >= len(sent_ns))] = -1
    return index, "presentation time, aligned with the server's stamps"


def latency_ms(begin_ns: Sequence[int], end_ns: Sequence[int]) -> dict[str, float] | None:
    """p50, p95 and maximum; None without frames."""
    values = (np.asarray(end_ns, np.int64) - np.asarray(begin_ns, np.int64)) / 1e6
    if not len(values):
        return None
    p50, p95 = np.percentile(values, [50, 95])
    return {"p50": round(float(p50), 2), "p95": round(float(p95), 2), "max": round(float(values.max()), 2)}


def shares(index: Indices, sent: int) -> dict[str, Any]:
    """How many of the sent pictures have a result: of all, and from the first that has one on."""
    found = np.unique(index[index >= 0])
    if not len(found):
        return {"sent": sent, "published": 0, "share": 0.0, "share_from_first": 0.0}
    return {
        "sent": sent,
        "published": len(found),
        "share": round(len(found) / sent, 4),
        "sent_before_first": int(found[0]),
        "share_from_first": round(len(found) / (sent - int(found[0])), 4),
        "two_results_for_one": int((index >= 0).sum() - len(found)),
    }
