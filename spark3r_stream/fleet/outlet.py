"""The actor that publishes: one endpoint for all cameras, and what of each of them is out.

A camera whose process died asks here where it broke off, and goes on: no number is used twice, and what was said of its
submaps stays valid.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import psutil

from spark3r_stream.clock import SystemClock
from spark3r_stream.config import RunConfig
from spark3r_stream.engine.resumption import Resumption
from spark3r_stream.engine.sinks import WireSink
from spark3r_stream.errors import StreamError
from spark3r_stream.fleet.log_lines import LogLine, LogLines
from spark3r_stream.running.opening import open_publisher
from spark3r_stream.wire.envelope import Message, Sealer
from spark3r_stream.wire.messages import Status


@dataclass(frozen=True)
class Notes:
    """What a camera says beside its messages: newest frame and epoch, submaps by frame id, revisions by submap; its own
    numbers."""

    frame_id: int = -1
    epoch: int = 0
    submaps: Mapping[int, int] = field(default_factory=dict)
    revisions: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Address:
    """Of the stream that all cameras are in."""

    endpoint: str
    session_id: uuid.UUID


@dataclass(frozen=True)
class OutletBeat:
    """What the fleet is told each second. silent_s: since the last message of a camera, by name. error: publishing
    has ended, and why."""

    pid: int
    memory_bytes: int
    subscribers: int
    dropped: int
    sent: int
    silent_s: dict[str, float]
    error: str
    lines: list[LogLine]


@dataclass
class _Camera:
    frame_id: int = -1
    epoch: int = -1
    submaps: dict[int, int] = field(default_factory=dict)
    revisions: dict[int, int] = field(default_factory=dict)
    sequences: dict[str, int] = field(default_factory=dict)
    heard_s: float = field(default_factory=time.monotonic)


class Outlet:
    """config: what publishing needs of the settings. names: of the cameras."""

    def __init__(self, config: RunConfig, names: Sequence[str], log_level: int) -> None:
        self._lines = LogLines(log_level)
        self._session_id = uuid.uuid4()
        self._error = ""
        self._closing = contextlib.ExitStack()
        publisher = open_publisher(config, self._session_id, self._closing, self._failed, names)
        assert publisher is not None, "a plan has an endpoint"
        self._publisher = publisher
        self._cameras = {name: _Camera() for name in names}
        self._guard = threading.Lock()

    def address(self) -> Address:
        return Address(self._publisher.endpoint, self._session_id)

    def add(self, name: str) -> None:
        """One more camera. One that was removed goes on where it was."""
        with self._guard:
            if name not in self._cameras:
                self._publisher.add_camera(name)
                self._cameras[name] = _Camera()

    def resume(self, name: str) -> Resumption:
        with self._guard:
            camera = self._cameras[name]
            return Resumption(
                camera.frame_id + 1, camera.epoch + 1, dict(camera.sequences), dict(camera.submaps),
                dict(camera.revisions),
            )  # fmt: skip

    def take(self, name: str, messages: Sequence[Message], notes: Notes) -> int:
        """Publish sealed messages of a camera; how many subscribers there are."""
        with self._guard:
            camera = self._cameras[name]
            camera.heard_s = time.monotonic()
            camera.sequences.update((one.topic, one.envelope.sequence + 1) for one in messages)
            if notes.frame_id >= 0:
                camera.frame_id, camera.epoch = max(camera.frame_id, notes.frame_id), notes.epoch
            camera.submaps.update(notes.submaps)
            camera.revisions.update(notes.revisions)
            self._publisher.send(messages)
        return self._publisher.subscribers

    def beat(self) -> OutletBeat:
        now_s = time.monotonic()
        with self._guard:
            silent_s = {name: now_s - camera.heard_s for name, camera in self._cameras.items()}
        return OutletBeat(
            os.getpid(), psutil.Process().memory_info().rss, self._publisher.subscribers, self._publisher.dropped,
            self._publisher.sent, silent_s, self._error, self._lines.take(),
        )  # fmt: skip

    def close(self, last: Status) -> None:
        """The last message of the session, of no camera; then what waits is sent."""
        with contextlib.suppress(StreamError):  # it is what failed
            WireSink(Sealer(self._session_id, SystemClock().unix_ns), [self._publisher]).status(last, 0)
        self._closing.close()

    def _failed(self, error: StreamError) -> None:
        self._error = str(error)
