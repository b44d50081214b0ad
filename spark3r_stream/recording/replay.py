"""Playing a recording: to a publisher, or to a program that takes messages as from a `Subscriber`.

Sequence numbers and times stay as recorded, so what the recording had missed shows as gaps again. Each pass (the
first, every loop, every seek) gets a session id of its own: a receiver starts a new map instead of seeing time go back.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path

from spark3r_stream.errors import RecordingError
from spark3r_stream.pubsub.publisher import Publisher
from spark3r_stream.recording.reader import Recording
from spark3r_stream.wire import envelope as wire
from spark3r_stream.wire.envelope import Message

log = logging.getLogger(__name__)


class Replay:
    """Messages of a recording, each when it is due.

    topics: None: all.  speed: 1 as recorded, 2 twice as fast, None as fast as they are taken.  loop: begin again at
    the end.  start_s: seconds into the recording.  Not safe for use by several threads.

    Raises RecordingError for a file that holds no published messages or a speed that is not positive.
    """

    def __init__(
        self,
        path: Path,
        topics: Collection[str] | None = None,
        *,
        speed: float | None = 1.0,
        loop: bool = False,
        start_s: float = 0.0,
    ) -> None:
        if speed is not None and not speed > 0:
            raise RecordingError(f"replay speed {speed}; expected a positive number, or none for full speed")
        self.recording = Recording(path)
        if self.recording.note:
            log.warning("note: %s", self.recording.note)
        first = next(self.recording.messages(), None)
        if first is None:
            raise RecordingError(f"{path} holds no published messages to replay")
        self.start_ns = first.envelope.published_ns
        self.ended = False
        self._topics = topics
        self._speed = speed
        self._loop = loop
        self._due: Message | None = None
        self._paused_at_s: float | None = None
        self.seek(start_s)

    def seek(self, position_s: float) -> None:
        """Go on from `position_s` seconds after the first message, in a new session."""
        start_ns = self.start_ns + int(max(0.0, position_s) * 1e9)
        self.session_id = uuid.uuid4()
        self.ended = False
        self._messages: Iterator[Message] = self.recording.messages(self._topics, start_ns if position_s > 0 else None)
        self._pass_start_ns = start_ns
        self._pass_start_s = time.monotonic()
        if self._paused_at_s is not None:
            self._paused_at_s = self._pass_start_s
        self._due = None

    def pause(self) -> None:
        """Hold the recording's time; `poll` gives nothing until `resume`."""
        if self._paused_at_s is None:
            self._paused_at_s = time.monotonic()

    def resume(self) -> None:
        if self._paused_at_s is not None:
            self._pass_start_s += time.monotonic() - self._paused_at_s
            self._paused_at_s = None

    def poll(self, timeout_s: float | None = 0.0) -> Message | None:
        """The next message once it is due; None after `timeout_s` (None: no limit), at the end, and while paused."""
        if self._paused_at_s is not None:
            time.sleep(timeout_s or 0.0)
            return None
        if self._due is None and not self._advance():
            return None
        assert self._due is not None
        wait_s = self._wait_s(self._due)
        if timeout_s is not None and wait_s > timeout_s:
            time.sleep(timeout_s)
            return None
        time.sleep(wait_s)
        message, self._due = self._due, None
        return replace(message, envelope=replace(message.envelope, session_id=self.session_id, replay=True))

    def __iter__(self) -> Iterator[Message]:
        """Every message when it is due, until the end or a pause."""
        while (message := self.poll(None)) is not None:
            yield message

    def latest(self, topic: str = wire.FRAME, timeout_s: float | None = 0.0) -> Message | None:
        """The newest message of `topic` that is due, waiting for a first one up to `timeout_s`; None if none."""
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        newest = None
        while True:
            left_s = 0.0 if newest else None if deadline_s is None else max(0.0, deadline_s - time.monotonic())
            message = self.poll(left_s)
            if message is None or (self._speed is None and message.topic == topic):
                return message or newest  # at full speed everything is due: one at a time
            if message.topic == topic:
                newest = message

    def close(self) -> None:
        """Let go of the file; further polls give nothing."""
        self._messages = iter(())
        self._due, self._loop, self.ended = None, False, True

    def __enter__(self) -> Replay:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _advance(self) -> bool:
        self._due = next(self._messages, None)
        if self._due is None and self._loop and not self.ended:
            self.seek(0.0)
            self._due = next(self._messages, None)
        self.ended = self._due is None
        return not self.ended

    def _wait_s(self, message: Message) -> float:
        if self._speed is None:
            return 0.0
        due_s = self._pass_start_s + (message.envelope.published_ns - self._pass_start_ns) / 1e9 / self._speed
        return max(0.0, due_s - time.monotonic())


def republish(
    replay: Replay,
    publisher: Publisher,
    stop: threading.Event,
    poll_s: float = 0.1,
    is_paused: Callable[[], bool] = lambda: False,
) -> int:
    """Send a recording's messages to a publisher as they fall due, until its end or `stop`; how many were sent.

    is_paused: asked before each; while it is true the recording's time stands still.
    """
    sent = 0
    while not (stop.is_set() or replay.ended):
        if is_paused():
            replay.pause()
        else:
            replay.resume()
        message = replay.poll(poll_s)
        if message is not None:
            publisher.send([message])
            sent += 1
            publisher.wait_sent(poll_s)  # at full speed the file would overrun the publisher's queue
    return sent
