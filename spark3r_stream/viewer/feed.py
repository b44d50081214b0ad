"""From messages to a scene: what a window and an offscreen picture have in common. A viewer is only a subscriber."""

from __future__ import annotations

import sys
import time
import uuid
from typing import Protocol

import numpy as np

from spark3r_stream.errors import VersionMismatch, WireError
from spark3r_stream.map.scene_map import SceneMap
from spark3r_stream.plain_text import cleaned
from spark3r_stream.pubsub.snapshot import Snapshot
from spark3r_stream.pubsub.subscriber import Subscriber
from spark3r_stream.wire.decode import decode
from spark3r_stream.wire.envelope import Message
from spark3r_stream.wire.messages import FrameResult, MapCorrections, SessionState, Status

_JOIN_S = 15.0
_CLOUD_PARTS = 32


class MessageSource(Protocol):
    """A `Subscriber`, or a recording that is played."""

    def poll(self, timeout_s: float | None = 0.0) -> Message | None:
        """The next message, or None when nothing came in time."""
        ...


class SceneFeed:
    """Fills a SceneMap from a message source; from a Subscriber, beginning with the map so far at every connection.

    ended: the publisher said that its session is over. frame: the newest result, for the title line.
    malformed: messages that could not be decoded and were skipped.
    """

    def __init__(self, source: MessageSource, scene: SceneMap) -> None:
        self.scene = scene
        self.ended = False
        self.frame: FrameResult | None = None
        self.malformed = 0
        self._source = source
        self._session_id: uuid.UUID | None = None
        self._joined_connection = 0

    def take(self, budget_s: float, wait_s: float = 0.0) -> int:
        """Take waiting messages for at most `budget_s`, waiting up to `wait_s` for the first. Returns their number."""
        self._join()
        deadline, taken = time.monotonic() + budget_s, 0
        message = self._source.poll(wait_s)
        while message is not None:
            self._handle(message)
            taken += 1
            if time.monotonic() >= deadline:
                break
            message = self._source.poll(0.0)
        return taken

    def _join(self) -> None:
        """Once per connection: what was published while there was none is in the publisher's map, if it keeps one."""
        source = self._source
        if not isinstance(source, Subscriber) or not source.connected or source.connections == self._joined_connection:
            return
        self._joined_connection = source.connections
        if not source.offers_snapshot:
            return
        try:
            self._start_with(source.join(_JOIN_S, self.scene.max_points))
        except VersionMismatch:
            raise
        except WireError as error:
            print(f"spark3r: showing only what comes from now on: {cleaned(error)}", file=sys.stderr)

    def _start_with(self, snapshot: Snapshot) -> None:
        self.scene.clear()
        self._session_id, self.ended = snapshot.session_id, False
        for pose in snapshot.trajectory:
            self.scene.add_pose(pose.world_from_camera, pose.captured_ns, pose.submap)
        self.scene.add(MapCorrections(tuple(snapshot.corrections.values())))
        for submap, cloud in snapshot.clouds.items():
            self.scene.note_cloud_time(submap, cloud.captured_ns)
            # In parts, because the scene takes its finest detail from the extent of the first cloud it gets: that of
            # some frames, as in a stream, not of all of them.
            columns = [np.array_split(c, _CLOUD_PARTS) for c in (cloud.points, cloud.colours, cloud.confidence)]
            for points, colours, confidence in zip(*columns, strict=True):
                self.scene.add_cloud(points, colours, confidence, submap)

    def _handle(self, message: Message) -> None:
        if message.envelope.session_id != self._session_id:
            if self._session_id is not None:
                self.scene.clear()
            self._session_id, self.ended = message.envelope.session_id, False
        try:
            content = decode(message)
        except WireError:
            self.malformed += 1
            return
        if isinstance(content, Status):
            self.ended = content.state in (SessionState.ENDED, SessionState.FAILED)
        elif isinstance(content, FrameResult):
            self.frame = content
        self.scene.add(content)
