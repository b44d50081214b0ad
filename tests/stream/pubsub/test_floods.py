"""What strangers may send is bounded: counted, never timed. The long version is tests/faults/test_flood.py."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import zmq

from spark3r_stream.errors import PublishError, WireError
from spark3r_stream.map.scene_map import SceneMap
from spark3r_stream.proto import wire_pb2
from spark3r_stream.pubsub import endpoints
from spark3r_stream.pubsub import publisher as publisher_module
from spark3r_stream.pubsub import relay as relay_module
from spark3r_stream.pubsub import subscriber as subscriber_module
from spark3r_stream.pubsub import subscriber_socket as subscriber_socket_module
from spark3r_stream.pubsub.publisher import Publisher
from spark3r_stream.pubsub.snapshot import SnapshotKeeper, parse_reply
from spark3r_stream.pubsub.subscriber import Subscriber
from spark3r_stream.pubsub.zmtp_frames import FrameCost, part_cost
from spark3r_stream.wire import envelope as wire
from spark3r_stream.wire.decode import decode_payload
from spark3r_stream.wire.messages import Cloud
from tests.helpers_wire import SESSION, frames, make_sealer
from tests.stream.pubsub.receiving import WAIT_S

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(16) + bytes(32)
READY = b"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x03SUB"


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with Publisher("tcp://127.0.0.1:*", SESSION, snapshot=SnapshotKeeper()) as publisher:
        yield publisher


def raw_client(endpoint: str) -> socket.socket:
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    sock = socket.create_connection((host, int(port)), WAIT_S)
    sock.sendall(GREETING + READY)
    came = b""
    while b"/welcome/" not in came:  # only now may it send more
        came += sock.recv(4096)
    return sock


def sent_until_hung_up(sock: socket.socket, data: bytes, most: int) -> int:
    """Bytes that were taken before the connection was closed; `most` if it never was."""
    sent = 0
    with sock:
        try:
            while sent < most:
                sent += sock.send(data)
            while sock.recv(65536):
                pass
        except OSError:
            return sent
    return most if sent >= most else sent


@pytest.mark.parametrize("flood", [b"\x00\x01x", b"\x01\x01\x01", b"\x00\x04\x01abc", b"\x04\x07\x04PING\x00\x00"])
def test_who_floods_is_hung_up_on_and_the_stream_goes_on(publisher: Publisher, flood: bytes) -> None:
    with Subscriber(publisher.endpoint, [wire.FRAME]) as quiet:
        assert quiet.wait_connected(WAIT_S)
        most = 64 * wire.MIB
        assert sent_until_hung_up(raw_client(publisher.endpoint), flood * 10_000, most) < most
        publisher.send(frames(make_sealer(), [0])[0])
        assert quiet.poll(WAIT_S) is not None
        assert quiet.connections == 1


def test_different_subscriptions_are_bounded_in_all(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher_module, "_MAX_DIFFERENT_SUBSCRIPTIONS", 50)
    with raw_client(publisher.endpoint) as greedy:
        greedy.sendall(b"".join(b"\x00\x05\x01" + b"%04d" % i for i in range(200)))
        deadline = time.monotonic() + WAIT_S
        while not publisher.refused and time.monotonic() < deadline:
            time.sleep(0.02)
    assert publisher.refused == 1


def test_the_relay_is_started_again_when_it_dies(publisher: Publisher) -> None:
    relay = publisher._relays[0]
    relay._process.kill()
    relay._process.wait()
    with Subscriber(publisher.endpoint) as subscriber:
        assert subscriber.wait_connected(WAIT_S)


def test_a_publisher_thread_that_dies_says_why_and_counts_what_it_loses() -> None:
    told: list[PublishError] = []
    with Publisher("tcp://127.0.0.1:*", SESSION, snapshot=SnapshotKeeper(), on_error=told.append) as publisher:
        publisher._snapshot.add = lambda message: 1 / 0  # type: ignore[union-attr, method-assign, assignment]
        messages = frames(make_sealer(), [0])[0]
        publisher.send(messages)
        publisher._thread.join(WAIT_S)
        assert "ZeroDivisionError" in str(told[0])
        assert publisher.error is told[0]
        dropped = publisher.dropped
        publisher.send(messages)
        assert publisher.dropped == dropped + len(messages)


def test_a_relay_that_cannot_be_started_again_ends_the_publisher() -> None:
    told: list[PublishError] = []
    with Publisher("tcp://127.0.0.1:*", SESSION, on_error=told.append) as publisher:
        relay = publisher._relays[0]
        relay._start = lambda: 1 / 0  # type: ignore[method-assign, assignment, return-value]
        relay._process.kill()
        publisher._thread.join(WAIT_S)
        assert "ZeroDivisionError" in str(told[0])


@pytest.mark.parametrize("connected", [False, True])
def test_a_subscriber_whose_relay_dies_says_so(publisher: Publisher, connected: bool) -> None:
    with Subscriber(publisher.endpoint) as subscriber:
        assert not connected or subscriber.wait_connected(WAIT_S)
        subscriber._connection.relay._look_after_links = lambda now_s: 1 / 0  # type: ignore[method-assign, assignment]
        subscriber._connection.relay._wake()
        with pytest.raises(WireError, match="ZeroDivisionError"):
            list(subscriber)  # for ever, but for that


def test_who_waits_is_woken_when_its_relay_dies(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, and not only when it looks up the next time."""
    monkeypatch.setattr(subscriber_socket_module, "_LONGEST_WAIT_S", 1000.0)
    with Subscriber(publisher.endpoint) as subscriber:
        assert subscriber.wait_connected(WAIT_S)
        subscriber._connection.relay._look_after_links = lambda now_s: 1 / 0  # type: ignore[method-assign, assignment]
        subscriber._connection.relay._wake()
        with pytest.raises(WireError, match="ZeroDivisionError"):
            subscriber.poll(WAIT_S)


def test_also_where_nothing_was_connected_when_the_relay_dies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ZeroMQ tells of no event then."""
    listen = endpoints.listen

    def unreachable(endpoint: str) -> tuple[socket.socket, str]:
        listening = listen(endpoint)
        Path(endpoint.removeprefix("ipc://")).unlink()
        return listening

    monkeypatch.setattr(endpoints, "listen", unreachable)
    with Subscriber(f"ipc://{tmp_path}/nobody") as subscriber:
        relay = subscriber._connection.relay
        relay._look_after_links = lambda now_s: 1 / 0  # type: ignore[method-assign, assignment]
        dying = threading.Timer(0.2, relay._wake)
        dying.start()
        with pytest.raises(WireError, match="ZeroDivisionError"):
            list(subscriber)
        dying.join()


def test_welcomes_without_end_do_not_hold_up_a_call() -> None:
    context = zmq.Context()
    sock = context.socket(zmq.XPUB)
    sock.bind("tcp://127.0.0.1:*")
    try:
        with Subscriber(sock.getsockopt_string(zmq.LAST_ENDPOINT)) as subscriber:
            taken = 0

            def receive() -> None:
                nonlocal taken
                taken += 1
                assert taken < 10, "poll takes for ever what is not for the caller"

            subscriber._connection.wait_readable = lambda deadline_s: True  # type: ignore[method-assign]
            subscriber._receive = receive  # type: ignore[method-assign]
            assert subscriber.poll(0.0) is None
            assert not subscriber.wait_connected(0.0)
    finally:
        context.destroy(linger=0)


def test_messages_kept_for_later_are_bounded_in_bytes(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriber_module, "MAX_WAITING_BYTES", 20_000)
    with Subscriber(publisher.endpoint, [wire.DEPTH]) as subscriber:
        assert subscriber.wait_connected(WAIT_S)
        sealer = make_sealer()
        for i in range(10):
            publisher.send(frames(sealer, [i], size=(40, 50))[0])
        for _ in range(10):
            assert subscriber._connection.wait_readable(None)
            subscriber._buffer_one()
        assert len(subscriber._pending) == 2
        assert subscriber.missed[wire.DEPTH] == 8


def test_room_made_just_before_the_bound_is_noticed_loses_no_message(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `taken` adds wakes the relay only if it is full by then; it lost a connection in CI that was not."""
    monkeypatch.setattr(subscriber_module, "MAX_WAITING_BYTES", 20_000)
    monkeypatch.setattr(relay_module, "_IDLE_TURN_S", 60.0)  # nothing but the caller's impatience wakes it
    monkeypatch.setattr(relay_module, "_STUCK_S", 0.0)
    with Subscriber(publisher.endpoint, [wire.DEPTH]) as subscriber:
        assert subscriber.wait_connected(WAIT_S)
        relay = subscriber._connection.relay

        def taken_unnoticed(cost: int) -> None:
            with relay._lock:
                relay._taken += cost

        monkeypatch.setattr(relay, "taken", taken_unnoticed)
        sealer = make_sealer()
        for i in range(10):
            publisher.send(frames(sealer, [i], size=(40, 50))[0])
        for _ in range(10):
            assert subscriber._connection.wait_readable(time.monotonic() + WAIT_S)
            subscriber._buffer_one()


def test_the_cost_of_what_comes_is_counted_however_it_is_cut() -> None:
    data = GREETING + READY + b"\x01\x02ab" + b"\x03" + struct.pack(">Q", 300) + bytes(300) + b"\x00\x00"
    expected = sum(part_cost(size, encrypted=False) for size in (2, 300, 0))
    for step in (1, 7, len(data)):
        cost = FrameCost()
        assert sum(cost.add(memoryview(data)[i : i + step]) for i in range(0, len(data), step)) == expected
    with pytest.raises(ValueError, match="old version"):
        FrameCost().add(memoryview(b"\xff" + bytes(8) + b"\x7f\x01"))


def test_a_message_without_end_stops_at_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriber_module, "MAX_WAITING_BYTES", wire.MIB)
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        Subscriber(f"tcp://127.0.0.1:{server.getsockname()[1]}") as subscriber,
    ):
        server.settimeout(WAIT_S)
        peer, _ = server.accept()
        with peer:
            peer.sendall(GREETING + READY.replace(b"\x19", b"\x1a").replace(b"\x03SUB", b"\x04XPUB"))
            came = b""
            while b"/welcome/" not in came:  # its handshake is done, and it has subscribed
                came += peer.recv(4096)
            most, sent = 256 * wire.MIB, 0
            peer.settimeout(0.5)
            with contextlib.suppress(TimeoutError, ConnectionError):
                while sent < most:
                    sent += peer.send(b"\x01\x7f" + bytes(127))
            assert sent < most
            assert subscriber.poll(0.0) is None


def test_a_reply_or_payload_full_of_empty_messages_is_refused_before_it_is_made_of_objects() -> None:
    head = wire_pb2.SnapshotReply(schema_major=wire.SCHEMA_MAJOR, session_id=SESSION.bytes).SerializeToString()
    for field in (b"\x32\x00", b"\x2a\x00", b"\x3a\x00", b"\x42\x00"):
        with pytest.raises(WireError, match="more than"):
            parse_reply(head + field * 200_000)
    with pytest.raises(WireError, match="beside the data"):
        decode_payload(wire.CLOUD, b"\x2a\xff\xff\x3f" + bytes(0xFFFFF))


@pytest.mark.parametrize("name", ["submap_x", "submap_", "map", "submap_-1", "submap_" + "9" * 5000])
def test_a_cloud_of_no_submap_is_refused(name: str) -> None:
    empty = np.zeros((1, 3), np.float32)
    with pytest.raises(WireError, match="submap_<k>"):
        SceneMap().add(Cloud(0, name, empty, np.zeros((1, 4), np.uint8), np.zeros(1, np.float32)))


@pytest.mark.parametrize("focal", [0.0, -1.0, 1e300, 1e-320])
def test_a_camera_without_a_focal_length_is_refused(focal: float) -> None:
    camera = wire_pb2.Intrinsics(fx=focal, fy=1.0, width=4, height=4)
    with pytest.raises(WireError, match="focal lengths"):
        decode_payload(wire.FRAME, wire_pb2.FrameResult(intrinsics=camera).SerializeToString())


def test_a_file_that_is_no_socket_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "thesis"
    path.write_text("mine")
    with pytest.raises(PublishError, match="no socket"):
        endpoints.listen(f"ipc://{path}")
    assert path.read_text() == "mine"
