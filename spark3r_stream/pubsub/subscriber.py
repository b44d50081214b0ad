"""The receiving end: messages of one publisher, as they come or only the newest, with every loss counted.

    with Subscriber("tcp://127.0.0.1:5555", topics=["/frame/"], timeout_s=5) as subscriber:
        for message in subscriber:
            print(decode(message).world_from_camera)

No torch: ZeroMQ receives in the background, the caller takes messages when it likes. What waits for the caller is
bounded in bytes by a relay (relay.py, a thread), whatever the publisher sends. A caller too slow for the stream loses
messages, never the publisher's time, and finds them in `missed`.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from types import TracebackType

import zmq

from spark3r_stream.errors import VersionMismatch, WireError
from spark3r_stream.pubsub.keys import ClientSecurity
from spark3r_stream.pubsub.snapshot import Snapshot
from spark3r_stream.pubsub.snapshot_client import SnapshotClient
from spark3r_stream.pubsub.subscriber_socket import SubscriberSocket
from spark3r_stream.wire import envelope as wire
from spark3r_stream.wire.envelope import Message

_MOST_NAMES = (wire.MOST_CAMERAS + 1) * len(wire.TOPICS)
_ATTEMPT_S = 3.0  # a publisher with a full queue of answers drops one; then it is asked again

MAX_WAITING_BYTES = 160 * wire.MIB  # the largest depth and cloud of a frame fit


class Subscriber:
    """Subscribes to some topics (None: all) of one publisher; it need not run yet, and may restart.

    Of a session of several cameras a topic such as `/frame/` is that of all of them, `/frame/left/` that of one;
    camera: take the topics of that one only.
    timeout_s: iteration ends after this long without a message (None: never).
    high_water_mark: messages ZeroMQ keeps for this caller before it drops new ones.
    security: keys of this side and of the publisher, for one that encrypts; `ClientSecurity.from_directory` reads them.
    monotonic_s: the clock that `age_s` reads.

    Whatever waits for a message raises AuthError when the publisher refused this client or is not the one it trusts,
    and WireError when its own relay has died.

    Counters, each since construction: `received` and `missed` by topic, with several cameras by `/frame/left/` (a miss
    shows when the next message of its topic comes), `malformed` messages that were skipped, `skipped` ones that
    `latest` passed over, `connections` made, `restarts` (changes of session), `reordered` numbers that went back. Not
    safe for use by several threads.
    """

    def __init__(
        self,
        endpoint: str,
        topics: Sequence[str] | None = None,
        timeout_s: float | None = None,
        *,
        camera: str = "",
        high_water_mark: int = 1000,
        security: ClientSecurity | None = None,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.endpoint, self.camera = endpoint, camera
        if camera and not wire.is_camera_name(camera):
            raise WireError(f"{camera[:60]!r} is no name of a camera; expected up to 32 letters, digits, _ and -")
        given = [wire.split_topic(topic) for topic in (wire.TOPICS if topics is None else topics)]
        self.topics = tuple(wire.full_topic(topic, own or camera) for topic, own in given)
        self.timeout_s = timeout_s
        self.session_id: uuid.UUID | None = None
        self.connected = False
        self.received = dict.fromkeys(self.topics, 0)
        self.missed = dict.fromkeys(self.topics, 0)
        self.malformed = 0
        self.skipped = 0
        self.reordered = 0
        self.connections = 0
        self.restarts = 0
        self._next: dict[str, int] = {}
        self._floor: dict[str, int] = {}
        self._pending: deque[Message] = deque()
        self._pending_limit = high_water_mark
        self._pending_bytes = 0
        self._snapshots = False
        self._ready_topic = b""
        self._security = security
        self._monotonic_s = monotonic_s
        self._last_received_s: float | None = None
        self._connection = SubscriberSocket(
            endpoint, (*self.topics, wire.WELCOME), security, high_water_mark, MAX_WAITING_BYTES
        )

    def poll(self, timeout_s: float | None = 0.0) -> Message | None:
        """The next message, or None after `timeout_s` (None: wait for ever).

        Malformed messages are counted and skipped. Raises VersionMismatch if the publisher speaks another major
        version.
        """
        if self._pending:
            message = self._pending.popleft()
            self._pending_bytes -= len(message.payload)
            return message
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        while self._connection.wait_readable(deadline_s):
            received = self._receive()
            if received is not None:
                return received
            if deadline_s is not None and time.monotonic() >= deadline_s:
                break  # what is not for the caller may come for ever
        return None

    def __iter__(self) -> Iterator[Message]:
        """Every message, until none has come for `timeout_s`."""
        while (message := self.poll(self.timeout_s)) is not None:
            yield message

    async def __aiter__(self) -> AsyncIterator[Message]:
        """The same for asyncio, `async for message in subscriber`: others run while nothing is there."""
        last_s = time.monotonic()
        while True:
            message = self.poll(0.0)
            if message is not None:
                yield message
                await asyncio.sleep(0)  # a fast publisher cannot keep the others from running
                last_s = time.monotonic()
                continue
            left_s = math.inf if self.timeout_s is None else last_s + self.timeout_s - time.monotonic()
            if left_s <= 0:
                return
            await self._connection.wait_readable_async(left_s)

    def latest(self, topic: str = wire.FRAME, timeout_s: float | None = 0.0) -> Message | None:
        """The newest message of `topic` that has arrived, waiting for a first one up to `timeout_s`; None if none.

        Older ones and those of other topics are passed over (`skipped`).
        """
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        newest = None
        for _ in range(self._pending_limit + len(self._pending)):  # a faster publisher cannot hold the caller here
            left_s = 0.0 if newest else None if deadline_s is None else max(0.0, deadline_s - time.monotonic())
            message = self.poll(left_s)
            if message is None:
                break
            if topic in (message.topic, message.name):
                newest, message = message, newest
            self.skipped += message is not None
        return newest

    def wait_connected(self, timeout_s: float | None = None) -> bool:
        """Wait until the subscriptions are in force at the publisher; False after `timeout_s`.

        Nothing published after this returns True is missed for having subscribed too late. Messages that arrive
        meanwhile are kept for `poll`.
        """
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        while not self.connected and self._connection.wait_readable(deadline_s):
            self._buffer_one()
            if deadline_s is not None and time.monotonic() >= deadline_s:
                break
        return self.connected

    def join(self, timeout_s: float = 10.0, max_points: int = 0) -> Snapshot:
        """The map so far; the messages that follow continue it without a gap and without a duplicate.

        Connects, keeps what arrives, asks the publisher for a snapshot, and drops what that already holds. max_points:
        about how many to ask for (0: as many as the publisher keeps). Raises WireError if there is no answer in time.
        """
        deadline_s = time.monotonic() + timeout_s
        while (left_s := deadline_s - time.monotonic()) > 0 and self.wait_connected(left_s):
            if not self._snapshots:
                raise WireError(f"the publisher on {self.endpoint} keeps no snapshot; follow the stream from here on")
            lost_before = sum(self.missed.values())
            asking = SnapshotClient(self._connection.context, self.endpoint, self._security, max_points)
            with contextlib.closing(asking):
                attempt_s = min(deadline_s, time.monotonic() + _ATTEMPT_S)
                snapshot = asking.wait(attempt_s, meanwhile=self._connection.socket, receive=self._buffer_one)
            # Another session began meanwhile, or messages after the snapshot were lost: the two do not fit together.
            if snapshot is None or snapshot.session_id != self.session_id or sum(self.missed.values()) > lost_before:
                continue
            self._floor = {name: at for name, at in snapshot.positions.items() if self._is_subscribed(name)}
            for topic, position in self._floor.items():
                self._next[topic] = max(position, self._next.get(topic, 0))
            self._pending = deque(
                message
                for message in self._pending
                if message.envelope.session_id == self.session_id
                and message.envelope.sequence >= self._floor.get(message.name, 0)
            )
            self._pending_bytes = sum(len(message.payload) for message in self._pending)
            return snapshot
        raise WireError(f"no snapshot from {self.endpoint} within {timeout_s:g} s; is the publisher running?")

    @property
    def offers_snapshot(self) -> bool:
        """Whether the publisher keeps a map for `join`; known once `connected`."""
        return self._snapshots

    @property
    def age_s(self) -> float | None:
        """Seconds since the last message was taken; None before the first. A live publisher stays around 1."""
        return None if self._last_received_s is None else self._monotonic_s() - self._last_received_s

    def close(self) -> None:
        """Close the socket; further calls do nothing."""
        self._connection.close()

    def __enter__(self) -> Subscriber:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _is_subscribed(self, name: str) -> bool:
        return any(name.startswith(topic) for topic in self.topics)

    def _buffer_one(self) -> None:
        """Receive one message for a later `poll`; the oldest go when there are too many."""
        message = self._receive()
        if message is None:
            return
        self._pending.append(message)
        self._pending_bytes += len(message.payload)
        while len(self._pending) > self._pending_limit or self._pending_bytes > MAX_WAITING_BYTES:
            oldest = self._pending.popleft()
            self._pending_bytes -= len(oldest.payload)
            self.missed[oldest.name] = self.missed.get(oldest.name, 0) + 1

    def _receive(self) -> Message | None:
        """Take one multipart message off the socket; None if it was not for the caller."""
        parts = self._connection.receive()
        try:
            if parts[0].startswith(wire.WELCOME.encode()):
                self._handle_welcome(parts[0].removeprefix(wire.WELCOME.encode()))
                return None
            if parts[0].startswith(wire.READY.encode()):
                self._handle_ready(parts)
                return None
            message = Message.from_parts(parts)
            if not self._is_subscribed(message.name):
                raise WireError(f"message on {message.name}, which was not subscribed to")
            if message.name not in self.received and len(self.received) >= _MOST_NAMES:
                raise WireError(f"message on {message.name}; more than {wire.MOST_CAMERAS} cameras are not followed")
        except VersionMismatch:
            raise
        except WireError:
            self.malformed += 1
            return None
        in_session = message.envelope.session_id == self.session_id
        if in_session and message.envelope.sequence < self._floor.get(message.name, 0):
            return None  # the snapshot already holds it
        self._count(message)
        return message

    def _handle_welcome(self, payload: bytes) -> None:
        """A connection was made: ask on it for the proof that the subscriptions sent before have arrived."""
        self._set_session(wire.session_from_bytes(wire.parse_welcome(payload).session_id))
        self.connections += 1
        self.connected = False
        if self._ready_topic:
            self._connection.socket.setsockopt(zmq.UNSUBSCRIBE, self._ready_topic)
        self._ready_topic = f"{wire.READY}{uuid.uuid4().hex}/".encode()
        self._connection.socket.setsockopt(zmq.SUBSCRIBE, self._ready_topic)

    def _handle_ready(self, parts: list[bytes]) -> None:
        if len(parts) != 2:
            raise WireError(f"answer of {len(parts)} parts on {wire.READY}; expected 2")
        if parts[0] != self._ready_topic:
            return  # the answer to an earlier connection
        welcome = wire.parse_welcome(parts[1])
        self._set_session(wire.session_from_bytes(welcome.session_id))
        for position in welcome.positions[:_MOST_NAMES]:
            # known numbers stay: they hold the gap of the time without a connection
            self._next.setdefault(position.topic, position.next_sequence)
        self._connection.socket.setsockopt(zmq.UNSUBSCRIBE, self._ready_topic)
        self._ready_topic = b""
        self._snapshots = welcome.snapshot
        self.connected = True

    def _set_session(self, session_id: uuid.UUID) -> None:
        if session_id != self.session_id:
            self.restarts += self.session_id is not None
            self.session_id = session_id
            self._next.clear()
            self._floor.clear()

    def _count(self, message: Message) -> None:
        name, sequence = message.name, message.envelope.sequence
        self._set_session(message.envelope.session_id)
        expected = self._next.get(name, sequence)
        self.missed[name] = self.missed.get(name, 0) + max(0, sequence - expected)
        self.reordered += sequence < expected
        self._next[name] = sequence + 1
        self.received[name] = self.received.get(name, 0) + 1
        self._last_received_s = self._monotonic_s()
