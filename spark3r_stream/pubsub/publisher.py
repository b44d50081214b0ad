"""The publishing socket: XPUB in a thread of its own, so that no subscriber can ever hold up the engine.

`send` puts a sealed message into a bounded queue and returns; the thread hands it to ZeroMQ, which keeps up to
`high_water_mark` messages for each subscriber and drops the rest for that subscriber alone. Every message is numbered
before it is queued, so whatever is lost on the way shows as a gap at the receiving end.

How a subscriber learns that it is connected (docs/wire.md):

* everyone who subscribes to `/welcome/` gets one `Welcome` per connection: the schema version and the session;
* everyone who then subscribes to `/ready/<nonce>/` gets one answer on it. Subscriptions of one connection arrive in
  order, so the answer proves that those made before are in force, which the welcome alone does not.

Late joiners ask a ROUTER socket of the same thread for the map so far: between two messages, so that the snapshot holds
exactly what was published before the positions it names.

With `security` both sockets are CURVE servers, and the same thread answers ZeroMQ's question whether a client may
connect (ZAP). That needs no thread of its own: nothing in this one waits, and a handshake can.
"""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections import deque
from collections.abc import Iterable

import zmq

from spark3r_stream.errors import PublishError
from spark3r_stream.proto import wire_pb2
from spark3r_stream.pubsub import endpoints
from spark3r_stream.pubsub.handshake import ZAP_ADDRESS, zap_answer
from spark3r_stream.pubsub.keys import ServerSecurity
from spark3r_stream.pubsub.snapshot import SnapshotKeeper
from spark3r_stream.wire import envelope as wire
from spark3r_stream.wire.envelope import Message

_MAX_READY_TOPIC_BYTES = 64


class Publisher:
    """Publishes sealed messages of one session on one endpoint.

    endpoint: tcp://127.0.0.1:5555, tcp://127.0.0.1:* (any free port), ipc:///path. `.endpoint` is the one bound.
    high_water_mark: messages kept for each slow subscriber; a frame makes up to seven.
    queue_messages: messages between `send` and the thread; more are dropped and counted in `.dropped`.
    insecure: allow an address that other machines can reach without `security`.
    security: encrypt, and admit only clients whose keys are allowed; then any address may be used.
    snapshot: what late joiners get (`snapshot.join`), on the next port; None: nothing is kept and no port is taken.

    Raises PublishError if the endpoint is malformed, not loopback, or taken. End of life: `close` (or leaving the
    `with` block) sends what is queued, gives the sockets `linger_s` to deliver it, and joins the thread.
    """

    def __init__(
        self,
        endpoint: str,
        session_id: uuid.UUID,
        *,
        high_water_mark: int = 256,
        queue_messages: int = 512,
        insecure: bool = False,
        security: ServerSecurity | None = None,
        snapshot: SnapshotKeeper | None = None,
        linger_s: float = 1.0,
    ) -> None:
        self.session_id = session_id
        self._queue: deque[Message] = deque()
        self._queue_messages = queue_messages
        self._lock = threading.Lock()
        self._all_sent = threading.Condition(self._lock)
        self._signalled = False
        self._stopping = False
        self._unsent = 0
        self._dropped = 0
        self._sent = 0
        self._positions = dict.fromkeys(wire.TOPICS, 0)
        self._subscriptions: dict[str, int] = {}
        self._snapshot = snapshot
        self._security = security
        self._context = zmq.Context()
        self._context.setsockopt(zmq.IPV6, "[" in endpoint)
        try:
            self._socket = self._context.socket(zmq.XPUB)
            self._socket.setsockopt(zmq.SNDHWM, high_water_mark)
            self._socket.setsockopt(zmq.LINGER, int(linger_s * 1000))
            self._socket.setsockopt(zmq.XPUB_VERBOSER, 1)  # every (un)subscription of everyone, to count them
            self._socket.setsockopt(zmq.MAXMSGSIZE, wire.KIB)  # what a subscriber may send us: subscriptions
            self._socket.setsockopt(zmq.HEARTBEAT_IVL, 2000)
            self._socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 10_000)
            self._set_welcome()
            address = endpoints.bind_address(endpoint, insecure or security is not None)
            self._router = self._context.socket(zmq.ROUTER)
            self._router.setsockopt(zmq.SNDHWM, 4)
            self._router.setsockopt(zmq.LINGER, 0)
            self._router.setsockopt(zmq.MAXMSGSIZE, wire.KIB)
            self._gate = self._context.socket(zmq.REP)
            self._gate.setsockopt(zmq.LINGER, 0)
            if security is not None:
                self._gate.bind(ZAP_ADDRESS)  # before there is a socket that someone can connect to
                security.protect(self._socket)
                security.protect(self._router)
            if snapshot is None:
                self.endpoint = endpoints.bind(self._socket, address)
            else:
                self.endpoint = endpoints.bind_pair(self._socket, self._router, address)
            self._wake_receiver = self._context.socket(zmq.PAIR)
            self._wake_receiver.bind("inproc://wake")
            self._wake_sender = self._context.socket(zmq.PAIR)
            self._wake_sender.connect("inproc://wake")
        except BaseException:
            self._context.destroy(linger=0)
            raise
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
        self._thread.start()

    def send(self, messages: Iterable[Message]) -> None:
        """Queue sealed messages; never blocks, callable from any thread. Raises PublishError after `close`."""
        with self._lock:
            if self._stopping:
                raise PublishError(f"the publisher on {self.endpoint} is closed")
            for message in messages:
                if len(self._queue) < self._queue_messages:
                    self._queue.append(message)
                    self._unsent += 1
                else:
                    self._dropped += 1
            self._wake()

    def wait_sent(self, timeout_s: float) -> bool:
        """Wait until all that was queued is in ZeroMQ's hands; False after `timeout_s`. For callers that can wait."""
        with self._lock:
            return self._all_sent.wait_for(lambda: self._unsent == 0, timeout_s)

    @property
    def subscribers(self) -> int:
        """How many subscribers there are at least: the subscriptions to the topic that has the most."""
        with self._lock:
            return max(self._subscriptions.values(), default=0)

    def subscribed(self, topic: str) -> bool:
        """Whether anyone is subscribed to this topic."""
        with self._lock:
            return any(topic.startswith(prefix) for prefix, count in self._subscriptions.items() if count)

    @property
    def dropped(self) -> int:
        """Messages that found the queue full: the machine is too slow for the stream, whatever the subscribers do."""
        return self._dropped

    @property
    def sent(self) -> int:
        """Messages handed to ZeroMQ."""
        return self._sent

    def close(self) -> None:
        """Send what is queued and end the thread; further calls do nothing."""
        with self._lock:
            self._stopping = True
            if not self._wake_sender.closed:
                self._wake()
        self._thread.join()
        self._wake_sender.close()
        self._context.term()

    def __enter__(self) -> Publisher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _wake(self) -> None:
        """Called with the lock held: one token in the pipe is enough, however many messages wait."""
        if not self._signalled:
            self._signalled = True
            with contextlib.suppress(zmq.Again):  # nobody listens any more if the thread has failed
                self._wake_sender.send(b"", zmq.NOBLOCK)

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._wake_receiver, zmq.POLLIN)
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._router, zmq.POLLIN)
        poller.register(self._gate, zmq.POLLIN)
        try:
            while not self._finished():
                for ready, _ in poller.poll():
                    if ready is self._wake_receiver:
                        self._wake_receiver.recv()
                        self._publish_queued()
                    elif ready is self._router:
                        self._answer_snapshot()
                    elif ready is self._gate:
                        self._answer_gate()
                    else:
                        self._receive_subscriptions()
        finally:
            self._wake_receiver.close()
            self._router.close()
            self._socket.close()
            self._gate.close()

    def _finished(self) -> bool:
        with self._lock:
            return self._stopping and not self._queue and not self._signalled

    def _publish_queued(self) -> None:
        with self._lock:
            messages, self._queue = self._queue, deque()
            self._signalled = False
        for message in messages:
            # copy=False: ZeroMQ keeps a reference to the payload for all subscribers instead of copying megabytes
            self._socket.send_multipart(message.parts(), copy=False)
            if message.envelope.session_id != self.session_id:
                self._enter_session(message.envelope.session_id)
            self._positions[message.topic] = message.envelope.sequence + 1
            self._sent += 1
        if self._snapshot is not None:  # after all are on their way: who joins asks this thread, later
            for message in messages:
                if message.envelope.session_id == self.session_id:  # not of one that ended just now
                    self._snapshot.add(message)
        with self._lock:
            self._unsent -= len(messages)
            self._all_sent.notify_all()

    def _enter_session(self, session_id: uuid.UUID) -> None:
        """A replay begins a new session with every pass; who connects from now on is told that one."""
        self.session_id = session_id
        self._positions = dict.fromkeys(wire.TOPICS, 0)
        if self._snapshot is not None:
            self._snapshot.clear()
        self._set_welcome()

    def _set_welcome(self) -> None:
        self._socket.setsockopt(zmq.XPUB_WELCOME_MSG, wire.WELCOME.encode() + self._welcome().SerializeToString())

    def _answer_snapshot(self) -> None:
        """One request per turn of the loop: the stream goes first."""
        peer, *request = self._router.recv_multipart()
        if self._snapshot is not None and len(request) == 1:
            reply = self._snapshot.reply(request[0], self.session_id, self._positions)
            self._router.send_multipart([peer, reply], copy=False)

    def _answer_gate(self) -> None:
        request = self._gate.recv_multipart()
        assert self._security is not None, "only then is the gate bound"
        self._gate.send_multipart(zap_answer(request, self._security.admits))

    def _receive_subscriptions(self) -> None:
        """Count subscriptions; answer `/ready/<nonce>/`. Anything else a subscriber sends is ignored."""
        with contextlib.suppress(zmq.Again):
            while True:
                parts = self._socket.recv_multipart(zmq.NOBLOCK)
                if len(parts) != 1 or parts[0][:1] not in (b"\0", b"\1"):
                    continue
                subscribed, topic = parts[0][:1] == b"\1", parts[0][1:]
                if topic.startswith(wire.READY.encode()):
                    if subscribed and len(topic) <= _MAX_READY_TOPIC_BYTES:
                        self._socket.send_multipart([topic, self._welcome(self._positions).SerializeToString()])
                    continue
                prefix = topic[:_MAX_READY_TOPIC_BYTES].decode("ascii", "replace")
                # only prefixes of what is published are counted, or a stranger could fill the table
                if any(known.startswith(prefix) for known in (*wire.TOPICS, wire.WELCOME)):
                    with self._lock:
                        count = self._subscriptions.get(prefix, 0) + (1 if subscribed else -1)
                        self._subscriptions[prefix] = max(0, count)

    def _welcome(self, positions: dict[str, int] | None = None) -> wire_pb2.Welcome:
        return wire_pb2.Welcome(
            schema_major=wire.SCHEMA_MAJOR,
            schema_minor=wire.SCHEMA_MINOR,
            session_id=self.session_id.bytes,
            positions=[
                wire_pb2.TopicPosition(topic=topic, next_sequence=number) for topic, number in (positions or {}).items()
            ],
            snapshot=self._snapshot is not None,
        )
