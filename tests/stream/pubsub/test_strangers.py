"""Peers that speak another version, or no language at all."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest
import zmq

from spark3r_stream.errors import VersionMismatch
from spark3r_stream.proto import wire_pb2
from spark3r_stream.pubsub.publisher import Publisher
from spark3r_stream.pubsub.subscriber import Subscriber
from spark3r_stream.wire import envelope as wire
from tests.helpers_wire import SESSION, every_kind, frames, make_sealer, raw_context
from tests.stream.pubsub.receiving import ANY_PORT, WAIT_S, collect


@pytest.fixture
def xpub() -> Iterator[tuple[zmq.Socket[bytes], str]]:
    """A publisher's socket without the publisher: to send what ours never would."""
    with raw_context() as context:
        sock = context.socket(zmq.XPUB)
        sock.setsockopt(zmq.XPUB_VERBOSER, 1)
        sock.bind(ANY_PORT)
        yield sock, sock.getsockopt_string(zmq.LAST_ENDPOINT)


def wait_for_subscription(sock: zmq.Socket[bytes], topic: bytes) -> None:
    while True:
        assert sock.poll(1000 * WAIT_S), f"nobody subscribed to {topic!r}"
        if sock.recv() == b"\1" + topic:
            return


def test_malformed_messages_are_counted_and_skipped(xpub: tuple[zmq.Socket[bytes], str]) -> None:
    sock, endpoint = xpub
    with Subscriber(endpoint) as subscriber:
        wait_for_subscription(sock, b"/welcome/")  # the last one it sends
        good = make_sealer().seal(every_kind())[0]
        bad = [
            [b"/frame/"],
            [b"/frame/", b"", b""],
            [b"/frame/", b"\xff" * 100, b""],
            [b"/frame/left/", *good.parts()[1:]],
            [b"/pose/", good.parts()[1], bytes(100_000)],
            [*good.parts(), *[b"more"] * 1000],
            [b"/welcome/\xff\xff"],
            [
                b"/welcome/"
                + wire_pb2.Welcome(schema_major=wire.SCHEMA_MAJOR + 1, session_id=b"short").SerializeToString()
            ],
            [b"/ready/", b"x", b"y"],
        ]
        sent = [*bad[:-1], good.parts()]
        for parts in sent:
            sock.send_multipart(parts)
        assert subscriber.poll(WAIT_S) == good
        assert subscriber.malformed == len(bad) - 1


def test_another_schema_version_is_an_error_with_both_versions(xpub: tuple[zmq.Socket[bytes], str]) -> None:
    sock, endpoint = xpub
    with Subscriber(endpoint) as subscriber:
        wait_for_subscription(sock, b"/welcome/")
        message = make_sealer().seal(every_kind())[0]
        newer = replace(message, envelope=replace(message.envelope, schema_major=wire.SCHEMA_MAJOR + 1))
        welcome = wire_pb2.Welcome(schema_major=wire.SCHEMA_MAJOR + 2, schema_minor=1, session_id=SESSION.bytes)
        sock.send_multipart(newer.parts())
        sock.send(b"/welcome/" + welcome.SerializeToString())
        sock.send_multipart(message.parts())
        with pytest.raises(
            VersionMismatch, match=rf"{wire.SCHEMA_MAJOR + 1}\.{wire.SCHEMA_MINOR}.*{wire.SCHEMA_MAJOR}\.x"
        ):
            subscriber.poll(WAIT_S)
        with pytest.raises(VersionMismatch, match=rf"{wire.SCHEMA_MAJOR + 2}\.1.*{wire.SCHEMA_MAJOR}\.x"):
            subscriber.poll(WAIT_S)
        assert subscriber.poll(WAIT_S) == message


def test_a_subscriber_may_send_garbage(publisher: Publisher) -> None:
    with raw_context() as context:
        rude = context.socket(zmq.XSUB)
        rude.connect(publisher.endpoint)
        for payload in (
            b"\1/frame/",
            b"\1" + b"\xff" * 500,
            b"hello",
            b"\1/ready/" + b"x" * 900,
            b"\0/never/",
            bytes(5000),
        ):
            rude.send(payload)
        rude.send_multipart([b"\1", b"\1"])
        with Subscriber(publisher.endpoint) as subscriber:
            assert subscriber.wait_connected(WAIT_S)
            publisher.send(frames(make_sealer(), [0])[0])
            assert collect(subscriber, 1)[0].topic == wire.FRAME


def test_port_scanners_do_no_harm(publisher: Publisher) -> None:
    port = int(publisher.endpoint.rpartition(":")[2])
    for greeting in (b"", b"GET / HTTP/1.1\r\n\r\n", bytes(1000)):
        with socket.create_connection(("127.0.0.1", port)) as stranger:
            stranger.sendall(greeting)
    with Subscriber(publisher.endpoint) as subscriber:
        assert subscriber.wait_connected(WAIT_S)
