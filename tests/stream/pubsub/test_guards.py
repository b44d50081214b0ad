"""Bounds of the sockets that a flood would meet first, each by itself."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
import zmq

from spark3r_stream.proto import wire_pb2
from spark3r_stream.pubsub import publisher as publisher_module
from spark3r_stream.pubsub import snapshot_desk as desk_module
from spark3r_stream.pubsub.publisher import Publisher
from spark3r_stream.pubsub.snapshot import MAX_REPLY_BYTES, SnapshotKeeper
from spark3r_stream.pubsub.snapshot_client import SnapshotClient
from spark3r_stream.pubsub.snapshot_desk import SnapshotDesk
from spark3r_stream.pubsub.subscriber import Subscriber
from spark3r_stream.pubsub.subscriptions import Subscriptions
from spark3r_stream.wire import envelope as wire
from tests.helpers_wire import SESSION
from tests.stream.pubsub.receiving import WAIT_S


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with Publisher("tcp://127.0.0.1:*", SESSION, snapshot=SnapshotKeeper()) as publisher:
        yield publisher


def test_both_sockets_of_a_publisher_are_bounded(publisher: Publisher) -> None:
    for sock in (publisher._socket, publisher._router):
        assert sock.getsockopt(zmq.MAXMSGSIZE) == wire.KIB
        assert sock.getsockopt(zmq.HANDSHAKE_IVL) == 5000
        assert sock.getsockopt(zmq.RCVHWM) == 0, "a stopped input can abort the process; the relay bounds it"
        assert sock.getsockopt(zmq.HEARTBEAT_IVL) > 0
        assert sock.getsockopt(zmq.HEARTBEAT_TIMEOUT) > 0


def test_a_subscribers_socket_is_bounded(publisher: Publisher) -> None:
    with Subscriber(publisher.endpoint) as subscriber:
        assert subscriber._connection.socket.getsockopt(zmq.MAXMSGSIZE) == wire.MAX_PART_BYTES
        assert subscriber._connection.socket.getsockopt(zmq.HEARTBEAT_IVL) > 0
        assert subscriber._connection.socket.getsockopt(zmq.HEARTBEAT_TIMEOUT) > 0


def test_a_snapshot_clients_socket_is_bounded(publisher: Publisher) -> None:
    with zmq.Context() as context, contextlib.closing(SnapshotClient(context, publisher.endpoint, None, 0)) as client:
        assert client._socket.getsockopt(zmq.MAXMSGSIZE) == MAX_REPLY_BYTES


def test_only_what_is_published_is_counted_and_only_short_nonces_are_answered(publisher: Publisher) -> None:
    with zmq.Context() as context, context.socket(zmq.SUB) as rude:
        rude.setsockopt(zmq.LINGER, 0)
        rude.connect(publisher.endpoint)
        for topic in ("/never/", "x" * 200, "/ready/" + "n" * 200 + "/", "/ready/short/"):
            rude.setsockopt_string(zmq.SUBSCRIBE, topic)
        assert rude.poll(1000 * WAIT_S)
        assert rude.recv_multipart()[0] == b"/ready/short/", "in order: a longer one would have come first"
        assert publisher._subscriptions._counts == {}


def test_one_turn_takes_a_bounded_number_of_subscriptions(publisher: Publisher) -> None:
    taken = 0

    class Endless:
        def recv_multipart(self, flags: int) -> list[bytes]:
            nonlocal taken
            taken += 1
            assert taken <= publisher_module._SUBSCRIPTIONS_PER_TURN
            return [b"x"]

        def getsockopt(self, option: int) -> int:
            return 0

    class Asked(Publisher):
        def __init__(self) -> None:
            self._socket = Endless()  # type: ignore[assignment]
            self._subscriptions = Subscriptions()

    Asked()._receive_subscriptions()
    assert taken == publisher_module._SUBSCRIPTIONS_PER_TURN


class Unread:
    done = False


class Requests:
    """A socket that gives and takes requests and replies without end."""

    def __init__(self) -> None:
        self.number = 0

    def recv_multipart(self, flags: int) -> list[bytes]:
        self.number += 1
        return [b"%d" % self.number, wire_pb2.SnapshotRequest(schema_major=wire.SCHEMA_MAJOR).SerializeToString()]

    def send_multipart(self, parts: list[bytes], **_: object) -> Unread:
        return Unread()


def make_desk() -> SnapshotDesk:
    return SnapshotDesk(Requests(), SnapshotKeeper())  # type: ignore[arg-type]


def test_waiting_requests_are_bounded() -> None:
    asked = make_desk()
    for _ in range(100):
        asked.take_requests()
    assert len(asked._requests) == desk_module._MAX_WAITING_REQUESTS
    asked.answer(SESSION, {})
    assert not asked._requests, "one reply for all who ask for the same"


def test_replies_that_nobody_reads_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk_module, "_MAX_UNREAD_REPLY_BYTES", 1)
    asked = make_desk()
    asked.take_requests()
    asked.answer(SESSION, {})
    asked.take_requests()
    asked.answer(SESSION, {})
    assert asked._requests


def test_making_replies_takes_a_share_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0
    monkeypatch.setattr(desk_module.time, "monotonic", lambda: now_s)
    asked = make_desk()
    made = 0

    def reply(*_: object) -> bytes:
        nonlocal now_s, made
        now_s, made = now_s + 1.0, made + 1
        return b""

    asked._keeper.reply = reply  # type: ignore[union-attr, method-assign, assignment]
    while now_s < 100.0:
        asked.take_requests()
        asked.answer(SESSION, {})
        now_s += 0.1
    assert made <= desk_module._REPLY_S + 1 + 100.0 * desk_module._REPLY_SHARE
