"""Where the rows of a sensor come from: a file, which has all of them, or a ZeroMQ topic, where they arrive."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import zmq

from spark3r_core.user_paths import expand_home
from spark3r_stream.errors import SensorError
from spark3r_stream.frame import Frame
from spark3r_stream.plain_text import cleaned
from spark3r_stream.sensors.lines import Rows, parse_json, parse_line, read_rows, sorted_rows

log = logging.getLogger(__name__)

KEPT_NS = 30 * 10**9  # of a topic
MAX_MESSAGE_BYTES = 64 << 10
WAITING_MESSAGES = 100_000  # in ZeroMQ's queue, while a frame is processed
SILENT_S = 5.0  # then the address is connected to again: ZeroMQ does not, once a peer has sent too long a message
MOST_AT_ONCE = 20_000  # taken for one frame: a flood must not hold up the pictures
_ENDPOINT = re.compile(r"^(tcp|ipc)://")


class Feed(Protocol):
    """is_unix: whether times are Unix time, and so are compared with when a frame was captured; otherwise they count
    as the source's own times do. refused: lines that could not be read."""

    is_unix: bool
    refused: int

    def rows(self) -> Rows:
        """All that are known now."""
        ...

    def close(self) -> None: ...


def frame_time_ns(feed: Feed, frame: Frame) -> int:
    """When a frame was taken, by the clock that the feed's times are compared with."""
    return frame.captured_ns if feed.is_unix or frame.pts_ns is None else frame.pts_ns


def is_endpoint(name: str) -> bool:
    """Whether this is an address, and no file."""
    return _ENDPOINT.match(name) is not None


def open_feed(
    name: str, topic: str, columns: int, expected: str, optional: int = 0, fields: Sequence[tuple[str, int, bool]] = ()
) -> Feed:
    """name: a file, or the endpoint of a publisher of `topic`. optional: columns after the others that a line may leave
    away. fields: of messages in JSON, see `parse_json`. Raises SensorError."""
    if is_endpoint(name):
        return TopicFeed(name, topic, columns, expected, optional, fields)
    return FileFeed(expand_home(name), columns, expected, optional)


class FileFeed:
    """The rows of a file."""

    is_unix = False

    def __init__(self, path: Path, columns: int, expected: str, optional: int = 0) -> None:
        self.refused = 0
        self._rows = read_rows(path, columns, expected, optional)

    def rows(self) -> Rows:
        return self._rows

    def close(self) -> None:
        pass


class TopicFeed:
    """The rows of the last `KEPT_NS`, as a publisher sends them: two parts, the topic and lines of text."""

    is_unix = True

    def __init__(
        self,
        endpoint: str,
        topic: str,
        columns: int,
        expected: str,
        optional: int = 0,
        fields: Sequence[tuple[str, int, bool]] = (),
    ) -> None:
        self.refused = 0
        self._fields = fields
        self._columns, self._optional, self._expected, self._endpoint = columns, optional, expected, endpoint
        self._rows = sorted_rows([], columns + optional)
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES)
        self._socket.setsockopt(zmq.RCVHWM, WAITING_MESSAGES)
        self._socket.setsockopt(zmq.SUBSCRIBE, topic.encode())
        self._heard_s, self._is_silent = time.monotonic(), False
        try:
            self._socket.connect(endpoint)
        except zmq.ZMQError as error:
            self.close()
            raise SensorError(
                f"{cleaned(endpoint)}: {error.strerror}; expected tcp://HOST:PORT or ipc://PATH"
            ) from None

    def rows(self) -> Rows:
        """Takes what has arrived since; never waits."""
        found: list[tuple[int, list[float]]] = []
        for _ in range(MOST_AT_ONCE):
            try:
                parts = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            found += self._parsed(parts)
        self._listen_again_if_silent(bool(found))
        if found:
            width = self._columns + self._optional
            new = sorted_rows(found, width)
            rows = Rows(
                np.concatenate([self._rows.times_ns, new.times_ns]), np.concatenate([self._rows.values, new.values])
            )
            if len(self._rows.times_ns) and new.times_ns[0] <= self._rows.times_ns[-1]:
                rows = sorted_rows(zip(rows.times_ns.tolist(), rows.values.tolist(), strict=True), width)
            first = int(np.searchsorted(rows.times_ns, rows.times_ns[-1] - KEPT_NS))
            self._rows = Rows(rows.times_ns[first:], rows.values[first:])
        return self._rows

    def close(self) -> None:
        self._socket.close()
        self._context.term()

    def _listen_again_if_silent(self, has_heard: bool) -> None:
        now_s = time.monotonic()
        if has_heard:
            self._heard_s, self._is_silent = now_s, False
        elif now_s - self._heard_s > SILENT_S:
            if not self._is_silent:
                log.warning("%s says nothing; connecting again", cleaned(self._endpoint))
            self._heard_s, self._is_silent = now_s, True
            self._socket.disconnect(self._endpoint)
            self._socket.connect(self._endpoint)

    def _parsed(self, parts: list[bytes]) -> list[tuple[int, list[float]]]:
        found = []
        try:
            if len(parts) != 2:
                raise ValueError(f"a message of {len(parts)} parts, expected the topic and lines of text")
            text = parts[1].decode("utf-8")
            if self._fields and text.lstrip().startswith("{"):
                return [parse_json(text, self._fields)]
            for line in text.splitlines():
                row = parse_line(line, self._columns, self._optional)
                if row is not None:
                    found.append(row)
        except (ValueError, RecursionError) as error:
            self.refused += 1
            if self.refused == 1:
                log.warning("%s: %s; expected %s", cleaned(self._endpoint), cleaned(error), self._expected)
        return found
