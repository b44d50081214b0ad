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

Neither socket is reached by anyone directly: a process (relay.py) stands before each and hangs up on whoever sends more
than subscriptions and heartbeats can need. So what ZeroMQ has to take in before it publishes the next message is
bounded, and its own limit on waiting messages, which a peer that closes meanwhile can turn into an abort of the
process (`!_io_error`, by a heartbeat on a connection whose input was stopped), is never reached and switched off.

With `security` both sockets are CURVE servers, and the same thread answers ZeroMQ's question whether a client may
connect (ZAP). That needs no thread of its own: nothing in this one waits, and a handshake can.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import zmq

from spark3r_stream.errors import PublishError
from spark3r_stream.proto import wire_pb2
from spark3r_stream.pubsub import endpoints
from spark3r_stream.pubsub.handshake import ZAP_ADDRESS, zap_answer
from spark3r_stream.pubsub.keys import ServerSecurity
from spark3r_stream.pubsub.relay import RelayLimits, UploadLimit
from spark3r_stream.pubsub.relay_process import RelayProcess
from spark3r_stream.pubsub.snapshot import SnapshotKeeper
from spark3r_stream.wire import envelope as wire
from spark3r_stream.wire.envelope import Message

_MAX_READY_TOPIC_BYTES = 64
_SUBSCRIPTIONS_PER_TURN = 64
_REQUESTS_PER_TURN = 16
_MAX_WAITING_REQUESTS = 64
_MAX_DIFFERENT_SUBSCRIPTIONS = 1024  # of all together; a client needs one per topic
_TOPICS_COUNT = 116  # ZMQ_TOPICS_COUNT: how many different subscriptions the socket holds
_MAX_UNREAD_REPLY_BYTES = 64 * wire.MIB  # of snapshots made and not yet read by who asked
_LOOK_AGAIN_MS = 50
_LOOK_AFTER_RELAYS_S = 1
_LAST_BYTES_S = 0.5
# Making snapshots may take so many seconds at once, and this share of the time for as long as they are asked for.
_REPLY_S, _REPLY_SHARE = 2.0, 0.2
# A client sends about 1 KiB to connect, encrypted or not, and 41 bytes per second of heartbeats.
_STREAM_LIMITS = RelayLimits(
    connections=64, connections_per_s=32.0, upload=UploadLimit(burst_bytes=8 * wire.KIB, bytes_per_s=128.0)
)
_SNAPSHOT_LIMITS = RelayLimits(
    connections=16,
    connections_per_s=8.0,
    upload=UploadLimit(burst_bytes=4 * wire.KIB, bytes_per_s=128.0),
    age_s=60.0,
    stall_s=10.0,
)


class Publisher:
    """Publishes sealed messages of one session on one endpoint.

    endpoint: tcp://127.0.0.1:5555, tcp://127.0.0.1:* (any free port), ipc:///path. `.endpoint` is the one bound.
    high_water_mark: messages kept for each slow subscriber; a frame makes up to seven.
    queue_messages: messages between `send` and the thread; more are dropped and counted in `.dropped`.
    insecure: allow an address that other machines can reach without `security`.
    security: encrypt, and admit only clients whose keys are allowed; then any address may be used.
    snapshot: what late joiners get (`snapshot.join`), on the next port; None: nothing is kept and no port is taken.
    on_error: called once, from the publisher's thread, if that ends by itself; `error` says why from then on, and what
    is sent is counted in `.dropped`.

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
        on_error: Callable[[PublishError], None] | None = None,
    ) -> None:
        self.session_id = session_id
        self.error: PublishError | None = None
        self._on_error = on_error
        self._linger_s = linger_s
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
        self._requests: dict[bytes, bytes] = {}  # newest of each peer, oldest peer first
        self._reply_time_s = _REPLY_S  # what is left of it at the moment below
        self._reply_time_at_s = time.monotonic()
        self._unread_replies: list[tuple[Any, int]] = []  # what tells that ZeroMQ has let go of a reply, and its size
        with contextlib.ExitStack() as opening:
            folder = opening.enter_context(endpoints.private_folder())
            self._context = zmq.Context()
            opening.callback(self._context.destroy, linger=0)
            self._socket = self._server_socket(zmq.XPUB, high_water_mark, int(linger_s * 1000))
            self._socket.setsockopt(zmq.XPUB_VERBOSER, 1)  # every (un)subscription of everyone, to count them
            self._set_welcome()
            address = endpoints.bind_address(endpoint, insecure or security is not None)
            self._router = self._server_socket(zmq.ROUTER, 4, 0)
            self._gate = self._context.socket(zmq.REP)
            self._gate.setsockopt(zmq.LINGER, 0)
            if security is not None:
                self._gate.bind(ZAP_ADDRESS)  # before there is a socket that someone can connect to
                security.protect(self._socket)
                security.protect(self._router)
            self._socket.bind(f"ipc://{folder}/stream")
            self._router.bind(f"ipc://{folder}/snapshot")
            self._wake_receiver = self._context.socket(zmq.PAIR)
            self._wake_receiver.bind("inproc://wake")
            self._wake_sender = self._context.socket(zmq.PAIR)
            self._wake_sender.connect("inproc://wake")
            if snapshot is None:
                listeners = [endpoints.listen(address)]
            else:
                stream, asking, bound = endpoints.listen_pair(address)
                listeners = [(stream, bound), (asking, endpoints.snapshot_address(bound))]
            self.endpoint = listeners[0][1]
            self._listeners = listeners
            self._relays = [
                RelayProcess(listener, folder / name, limits)
                for (listener, _), (name, limits) in zip(
                    listeners, (("stream", _STREAM_LIMITS), ("snapshot", _SNAPSHOT_LIMITS)), strict=False
                )
            ]
            self._open = opening.pop_all()  # closed by `close`
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
        self._thread.start()

    def _server_socket(self, kind: int, high_water_mark: int, linger_ms: int) -> zmq.Socket[bytes]:
        """A socket that strangers talk to, through a relay."""
        sock = self._context.socket(kind)
        sock.setsockopt(zmq.SNDHWM, high_water_mark)
        sock.setsockopt(zmq.RCVHWM, 0)  # the relay bounds it; see above
        sock.setsockopt(zmq.LINGER, linger_ms)
        sock.setsockopt(zmq.MAXMSGSIZE, wire.KIB)  # what a client may send: subscriptions, requests, its handshake
        sock.setsockopt(zmq.HANDSHAKE_IVL, 5000)
        sock.setsockopt(zmq.HEARTBEAT_IVL, 2000)
        sock.setsockopt(zmq.HEARTBEAT_TIMEOUT, 10_000)
        return sock

    def send(self, messages: Iterable[Message]) -> None:
        """Queue sealed messages; never blocks, callable from any thread. Raises PublishError after `close`."""
        with self._lock:
            if self._stopping:
                raise PublishError(f"the publisher on {self.endpoint} is closed")
            for message in messages:
                if self.error is None and len(self._queue) < self._queue_messages:
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
    def refused(self) -> int:
        """Connections that were hung up on for what they sent."""
        return sum(relay.refused for relay in self._relays)

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
        until_s = time.monotonic() + self._linger_s
        with self._lock:
            self._stopping = True
            if not self._wake_sender.closed:
                self._wake()
        self._thread.join()
        self._wake_sender.close()
        self._context.term()
        for listener, address in self._listeners:
            if listener.fileno() != -1:
                endpoints.stop_listening(listener, address)
        for relay in self._relays:  # what ZeroMQ has handed over is still on its way
            relay.close(max(_LAST_BYTES_S, until_s - time.monotonic()))
        self._open.close()

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
        try:
            self._serve_until_finished()
        except Exception as error:  # whatever it is, a thread that dies unseen would be a stream that ends unseen
            self._fail(PublishError(f"publishing on {self.endpoint} ended: {type(error).__name__}: {error}"))
        finally:
            self._wake_receiver.close()
            self._router.close()
            self._socket.close()
            self._gate.close()

    def _serve_until_finished(self) -> None:
        poller = zmq.Poller()
        for sock in (self._wake_receiver, self._socket, self._router, self._gate):
            poller.register(sock, zmq.POLLIN)
        look_after_relays_s = 0.0
        while not self._finished():
            waits_ms = self._until_next_reply_ms()
            ready = dict(poller.poll(1000 * _LOOK_AFTER_RELAYS_S if waits_ms is None else waits_ms))
            if self._wake_receiver in ready:  # the stream first
                self._wake_receiver.recv()
                self._publish_queued()
            if self._gate in ready:
                self._answer_gate()
            if self._socket in ready:
                self._receive_subscriptions()
            if self._router in ready:
                self._receive_requests()
            self._answer_requests()
            if time.monotonic() >= look_after_relays_s:
                look_after_relays_s = time.monotonic() + _LOOK_AFTER_RELAYS_S
                for relay in self._relays:
                    relay.keep_running()

    def _fail(self, error: PublishError) -> None:
        with self._lock:
            self.error = error
            self._dropped += self._unsent
            self._unsent = 0
            self._queue.clear()
            self._all_sent.notify_all()
        if self._on_error is not None:
            self._on_error(error)

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

    def _receive_requests(self) -> None:
        """Some requests for the map: the newest of each peer waits, the others are forgotten."""
        with contextlib.suppress(zmq.Again):
            for _ in range(_REQUESTS_PER_TURN):
                peer, *request = self._router.recv_multipart(zmq.NOBLOCK)
                known = peer in self._requests or len(self._requests) < _MAX_WAITING_REQUESTS
                if self._snapshot is not None and len(request) == 1 and known:
                    self._requests[peer] = request[0]

    def _answer_requests(self) -> None:
        """One reply per turn at most, for all who ask for the same; beyond two seconds of it, a fifth of the time."""
        if not self._requests or self._snapshot is None or self._until_next_reply_ms() != 0:
            return
        began_s = time.monotonic()
        request = next(iter(self._requests.values()))
        reply = self._snapshot.reply(request, self.session_id, self._positions)
        for peer in [peer for peer, other in self._requests.items() if other == request]:
            del self._requests[peer]
            tracker = self._router.send_multipart([peer, reply], copy=False, track=True)
            self._unread_replies.append((tracker, len(reply)))
        self._reply_time_s -= time.monotonic() - began_s

    def _until_next_reply_ms(self) -> int | None:
        """0: now. None: when something comes."""
        if not self._requests:
            return None
        self._unread_replies = [(tracker, size) for tracker, size in self._unread_replies if not tracker.done]
        if sum(size for _, size in self._unread_replies) >= _MAX_UNREAD_REPLY_BYTES:
            return _LOOK_AGAIN_MS
        now_s = time.monotonic()
        gained_s = _REPLY_SHARE * (now_s - self._reply_time_at_s)
        self._reply_time_s, self._reply_time_at_s = min(_REPLY_S, self._reply_time_s + gained_s), now_s
        return max(0, int(1000 * -self._reply_time_s / _REPLY_SHARE + 0.999))

    def _answer_gate(self) -> None:
        request = self._gate.recv_multipart()
        assert self._security is not None, "only then is the gate bound"
        self._gate.send_multipart(zap_answer(request, self._security.admits))

    def _receive_subscriptions(self) -> None:
        """Take some of what subscribers sent; then the stream goes on."""
        with contextlib.suppress(zmq.Again):
            for _ in range(_SUBSCRIPTIONS_PER_TURN):
                self._take_subscription(self._socket.recv_multipart(zmq.NOBLOCK))
        if int(self._socket.getsockopt(_TOPICS_COUNT)) > _MAX_DIFFERENT_SUBSCRIPTIONS:
            self._relays[0].hang_up_on_the_busiest()

    def _take_subscription(self, parts: list[bytes]) -> None:
        """Count a subscription; answer `/ready/<nonce>/`. Anything else a subscriber sends is ignored."""
        if len(parts) != 1 or parts[0][:1] not in (b"\0", b"\1"):
            return
        subscribed, topic = parts[0][:1] == b"\1", parts[0][1:]
        if topic.startswith(wire.READY.encode()):
            if subscribed and len(topic) <= _MAX_READY_TOPIC_BYTES:
                self._socket.send_multipart([topic, self._welcome(self._positions).SerializeToString()])
            return
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
