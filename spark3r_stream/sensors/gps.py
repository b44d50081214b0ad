"""Fixes of a GPS receiver, or of another system that knows positions in metres: from a file, or as they come."""

from __future__ import annotations

import logging

import numpy as np

from spark3r_core.metric.gps import PositionFix
from spark3r_stream.errors import SensorError
from spark3r_stream.frame import Frame
from spark3r_stream.plain_text import cleaned
from spark3r_stream.sensors.feed import Feed, FileFeed, frame_time_ns, open_feed

log = logging.getLogger(__name__)

TOPIC, COLUMNS, OPTIONAL = "/gps/", 3, 1
EXPECTED = {"wgs84": "time, latitude, longitude (degrees), altitude and its std (metres)", "local": "time x y z std"}
MOST_AT_ONCE = 32  # fixes that come with one frame: more are thinned
MOST_ALTITUDE_M, MOST_LOCAL_M = 1e5, 1e7


class GpsSensor:
    """offset_s: to be added to the fixes' times. frame: what positions are, "wgs84" or "local"."""

    def __init__(self, feed: Feed, frame: str, offset_s: float = 0.0) -> None:
        self.feed = feed
        self.given = self.thinned = self.wrong = 0  # fixes
        self._frame, self._offset_ns = frame, round(offset_s * 1e9)
        self._told_ns: int | None = None  # time of the newest fix that was given

    def of(self, frame: Frame) -> tuple[PositionFix, ...]:
        """Fixes since the frame before, up to the first one after this frame where that is known. Called in order."""
        rows = self.feed.rows()
        own_ns = frame.captured_ns if frame.pts_ns is None else frame.pts_ns
        shift_ns = own_ns - frame_time_ns(self.feed, frame) + self._offset_ns
        after = int(np.searchsorted(rows.times_ns, own_ns - shift_ns))  # the first one that is not earlier
        if self._told_ns is None:
            begin = max(0, after - 1)
        else:
            begin = int(np.searchsorted(rows.times_ns, self._told_ns, "right"))
        end = max(begin, min(after + 1, len(rows.times_ns)))
        if end == begin:
            return ()
        self._told_ns = int(rows.times_ns[end - 1])
        places = np.arange(begin, end)
        if len(places) > MOST_AT_ONCE:
            places = places[np.linspace(0, len(places) - 1, MOST_AT_ONCE).astype(int)]
            self.thinned += end - begin - len(places)
        found = []
        for time_ns, values in zip(rows.times_ns[places].tolist(), rows.values[places].tolist(), strict=True):
            if fault(values, self._frame):
                self.wrong += 1
                if self.wrong == 1:
                    log.warning("gps: %s; fixes like that are left out", cleaned(fault(values, self._frame)))
                continue
            std = values[3] if np.isfinite(values[3]) else 0.0
            found.append(PositionFix(time_ns + shift_ns, (values[0], values[1], values[2]), std))
        self.given += len(found)
        return tuple(found)

    def close(self) -> None:
        """And say what came of it."""
        log.info("gps: %d fixes", self.given)
        lost = (("thinned out", self.thinned), ("no positions", self.wrong), ("not read", self.feed.refused))
        for why, count in lost:
            if count:
                log.warning("gps: %d %s", count, why)
        self.feed.close()


def open_gps(name: str, frame: str, offset_s: float) -> GpsSensor:
    """name: a file or an address. Raises SensorError, of a file also for a line that is no position."""
    feed = open_feed(name, TOPIC, COLUMNS, EXPECTED[frame], OPTIONAL)
    if isinstance(feed, FileFeed):
        rows = feed.rows()
        for time_ns, values in zip(rows.times_ns.tolist(), rows.values.tolist(), strict=True):
            if why := fault(values, frame):
                raise SensorError(f"{name}, at {time_ns / 1e9:.3f} s: {why}; expected lines of {EXPECTED[frame]}")
    return GpsSensor(feed, frame, offset_s)


def fault(values: list[float], frame: str) -> str:
    """Why a row (4,) is no position; empty if it is one. Its std is nan where it has none."""
    first, second, third, std = values
    if not np.isnan(std) and not 0 < std <= 1e6:
        return f"a standard deviation of {std:g} m"
    if frame == "local":
        far = max(abs(first), abs(second), abs(third))
        return f"a position {far:g} m from the origin" if far > MOST_LOCAL_M else ""
    if abs(first) > 90:
        return f"a latitude of {first:g} degrees"
    if abs(second) > 360:
        return f"a longitude of {second:g} degrees"
    return f"an altitude of {third:g} m" if abs(third) > MOST_ALTITUDE_M else ""
