"""From messages to a scene: what a window and an offscreen picture have in common. A viewer is only a subscriber."""

from __future__ import annotations

import time
import uuid
from typing import Protocol

from spark3r_stream.decoding import decode
from spark3r_stream.errors import WireError
from spark3r_stream.messages import FrameResult, SessionState, Status
from spark3r_stream.scene_map import SceneMap
from spark3r_stream.wire import Message


class MessageSource(Protocol):
    """A `Subscriber`, or a recording that is played."""

    def poll(self, timeout_s: float | None = 0.0) -> Message | None:
        """The next message, or None when nothing came in time."""
        ...


class SceneFeed:
    """Fills a SceneMap from a message source.

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

    def take(self, budget_s: float, wait_s: float = 0.0) -> int:
        """Take waiting messages for at most `budget_s`, waiting up to `wait_s` for the first. Returns their number."""
        deadline, taken = time.monotonic() + budget_s, 0
        message = self._source.poll(wait_s)
        while message is not None:
            self._handle(message)
            taken += 1
            if time.monotonic() >= deadline:
                break
            message = self._source.poll(0.0)
        return taken

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
