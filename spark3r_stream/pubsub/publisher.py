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
from collections.abc import Callable, Iterable, Sequence

import zmq

from spark3r_stream.errors import PublishError
from spark3r_stream.proto import wire_pb2
from spark3r_stream.pubsub import endpoints
from spark3r_stream.pubsub.handshake import ZAP_ADDRESS, zap_answer
from spark3r_stream.pubsub.keys import ServerSecurity
from spark3r_stream.pubsub.outbox import Outbox
from spark3r_stream.pubsub.relay_process import SNAPSHOT_LIMITS, STREAM_LIMITS, RelayProcess
from spark3r_stream.pubsub.snapshot import SnapshotKeeper
from spark3r_stream.pubsub.snapshot_desk import SnapshotDesk
from spark3r_stream.pubsub.subscriptions import Subscriptions
from spark3r_stream.wire import envelope as wire
from spark3r_stream.wire.envelope import Message

_SUBSCRIPTIONS_PER_TURN = 64
_MAX_DIFFERENT_SUBSCRIPTIONS = 1024  # of all together; a client needs one per topic
_TOPICS_COUNT = 116  # ZMQ_TOPICS_COUNT: how many different subscriptions the socket holds
_LOOK_AFTER_RELAYS_S = 1
_LAST_BYTES_S = 0.5


class Publisher:
    """Publishes sealed messages of one session on one endpoint.

    endpoint: tcp://127.0.0.1:5555, tcp://127.0.0.1:* (any free port), ipc:///path. `.endpoint` is the one bound.
    high_water_mark: messages kept for each slow subscriber; a frame makes up to seven.
    queue_messages: messages between `send` and the thread; more are dropped and counted in `.dropped`.
    insecure: allow an address that other machines can reach without `security`.
    security: encrypt, and admit only clients whose keys are allowed; then any address may be used.
    cameras: names of those whose messages are sent, where there are several.
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
        cameras: Sequence[str] = (),
        snapshot: SnapshotKeeper | None = None,
        linger_s: float = 1.0,
        on_error: Callable[[PublishError], None] | None = None,
    ) -> None:
        self.session_id = session_id
        self.error: PublishError | None = None
        self._on_error = on_error
        self._linger_s = linger_s
        self._outbox = Outbox(queue_messages, self._wake)
        self._sent = 0
        self._first_positions = {
            wire.full_topic(topic, camera): 0 for camera in ("", *cameras) for topic in wire.TOPICS
        }
        self._positions = dict(self._first_positions)
        self._subscriptions = Subscriptions(cameras)
        self._snapshot = snapshot
        self._security = security
        with contextlib.ExitStack() as opening:
            folder = opening.enter_context(endpoints.private_folder())
            self._context = zmq.Context()
            opening.callback(self._context.destroy, linger=0)
            self._socket = self._server_socket(zmq.XPUB, high_water_mark, int(linger_s * 1000))
            self._socket.setsockopt(zmq.XPUB_VERBOSER, 1)  # every (un)subscription of everyone, to count them
            self._set_welcome()
            address = endpoints.bind_address(endpoint, insecure or security is not None)
            self._router = self._server_socket(zmq.ROUTER, 4, 0)
            self._desk = SnapshotDesk(self._router, snapshot)
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
                    listeners, (("stream", STREAM_LIMITS), ("snapshot", SNAPSHOT_LIMITS)), strict=False
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
        if not self._outbox.put(messages):
            raise PublishError(f"the publisher on {self.endpoint} is closed")

    def add_camera(self, name: str) -> None:
        """One more camera, whose messages may be sent from now on. Callable from any thread, for one at a time."""
        self._subscriptions.add(name)

    def wait_sent(self, timeout_s: float) -> bool:
        """Wait until all that was queued is in ZeroMQ's hands; False after `timeout_s`. For callers that can wait."""
        return self._outbox.wait_sent(timeout_s)

    @property
    def subscribers(self) -> int:
        """How many subscribers there are at least: the subscriptions to the topic that has the most."""
        return self._subscriptions.most

    def subscribed(self, topic: str) -> bool:
        """Whether anyone is subscribed to this topic."""
        return self._subscriptions.has(topic)

    @property
    def refused(self) -> int:
        """Connections that were hung up on for what they sent."""
        return sum(relay.refused for relay in self._relays)

    @property
    def dropped(self) -> int:
        """Messages that found the queue full: the machine is too slow for the stream, whatever the subscribers do."""
        return self._outbox.dropped

    @property
    def sent(self) -> int:
        """Messages handed to ZeroMQ."""
        return self._sent

    def close(self) -> None:
        """Send what is queued and end the thread; further calls do nothing."""
        until_s = time.monotonic() + self._linger_s
        self._outbox.close(wake=not self._wake_sender.closed)
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
        while not self._outbox.finished:
            waits_ms = self._desk.until_next_ms()
            ready = dict(poller.poll(1000 * _LOOK_AFTER_RELAYS_S if waits_ms is None else waits_ms))
            if self._wake_receiver in ready:  # the stream first
                self._wake_receiver.recv()
                self._publish_queued()
            if self._gate in ready:
                self._answer_gate()
            if self._socket in ready:
                self._receive_subscriptions()
            if self._router in ready:
                self._desk.take_requests()
            self._desk.answer(self.session_id, self._positions)
            if time.monotonic() >= look_after_relays_s:
                look_after_relays_s = time.monotonic() + _LOOK_AFTER_RELAYS_S
                for relay in self._relays:
                    relay.keep_running()

    def _fail(self, error: PublishError) -> None:
        self.error = error
        self._outbox.fail()
        if self._on_error is not None:
            self._on_error(error)

    def _publish_queued(self) -> None:
        messages = self._outbox.take()
        for message in messages:
            # copy=False: ZeroMQ keeps a reference to the payload for all subscribers instead of copying megabytes
            self._socket.send_multipart(message.parts(), copy=False)
            if message.envelope.session_id != self.session_id:
                self._enter_session(message.envelope.session_id)
            self._positions[message.name] = message.envelope.sequence + 1
            self._sent += 1
        if self._snapshot is not None:  # after all are on their way: who joins asks this thread, later
            for message in messages:
                if message.envelope.session_id == self.session_id:  # not of one that ended just now
                    self._snapshot.add(message)
        self._outbox.sent(len(messages))

    def _enter_session(self, session_id: uuid.UUID) -> None:
        """A replay begins a new session with every pass; who connects from now on is told that one."""
        self.session_id = session_id
        self._positions = dict(self._first_positions)
        if self._snapshot is not None:
            self._snapshot.clear()
        self._set_welcome()

    def _set_welcome(self) -> None:
        self._socket.setsockopt(zmq.XPUB_WELCOME_MSG, wire.WELCOME.encode() + self._welcome().SerializeToString())

    def _answer_gate(self) -> None:
        request = self._gate.recv_multipart()
        assert self._security is not None, "only then is the gate bound"
        self._gate.send_multipart(zap_answer(request, self._security.admits))

    def _receive_subscriptions(self) -> None:
        """Take some of what subscribers sent; then the stream goes on."""
        with contextlib.suppress(zmq.Again):
            for _ in range(_SUBSCRIPTIONS_PER_TURN):
                ready = self._subscriptions.take(self._socket.recv_multipart(zmq.NOBLOCK))
                if ready is not None:
                    self._socket.send_multipart([ready, self._welcome(self._positions).SerializeToString()])
        if int(self._socket.getsockopt(_TOPICS_COUNT)) > _MAX_DIFFERENT_SUBSCRIPTIONS:
            self._relays[0].hang_up_on_the_busiest()

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
