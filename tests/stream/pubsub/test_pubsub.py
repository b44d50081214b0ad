"""Publisher and subscriber over real sockets. Order is established by handshakes, never by sleeping."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import zmq

from spark3r_stream.errors import PublishError, VersionMismatch, WireError
from spark3r_stream.proto import wire_pb2
from spark3r_stream.pubsub.publisher import Publisher
from spark3r_stream.pubsub.subscriber import Subscriber
from spark3r_stream.wire import envelope as wire
from spark3r_stream.wire.decode import decode
from spark3r_stream.wire.encode import encode_status
from spark3r_stream.wire.messages import DepthImage, SessionState
from tests.helpers_wire import SESSION, every_kind, frames, make_output, make_sealer, make_status, raw_context

REPOSITORY = Path(__file__).resolve().parents[3]
ANY_PORT = "tcp://127.0.0.1:*"
WAIT_S = 10.0


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with Publisher(ANY_PORT, SESSION) as publisher:
        yield publisher


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


def collect(subscriber: Subscriber, count: int) -> list[wire.Message]:
    messages = []
    while len(messages) < count:
        message = subscriber.poll(WAIT_S)
        assert message is not None, f"{len(messages)} of {count} messages came"
        messages.append(message)
    return messages


def test_every_message_arrives_as_it_was_sent(publisher: Publisher) -> None:
    with Subscriber(publisher.endpoint) as subscriber:
        assert subscriber.wait_connected(WAIT_S)
        assert subscriber.session_id == SESSION
        sent = make_sealer().seal(every_kind())
        publisher.send(sent)
        assert collect(subscriber, len(sent)) == sent
        assert subscriber.received == {topic: sum(m.topic == topic for m in sent) for topic in wire.TOPICS}
        assert sum(subscriber.missed.values()) == subscriber.malformed == subscriber.reordered == 0
        assert publisher.subscribers == 1
        assert publisher.subscribed(wire.DEPTH)


def test_only_the_topics_asked_for_arrive(publisher: Publisher) -> None:
    with Subscriber(publisher.endpoint, [wire.DEPTH]) as subscriber:
        assert subscriber.wait_connected(WAIT_S)
        sent = make_sealer().seal(every_kind())
        publisher.send(sent + sent[-1:])
        wanted = [message for message in sent if message.topic == wire.DEPTH]
        assert collect(subscriber, len(wanted)) == wanted
        assert all(isinstance(decode(message), DepthImage) for message in wanted)
        assert subscriber.poll(0.05) is None
        assert not publisher.subscribed(wire.CLOUD)


def test_iteration_ends_after_silence(publisher: Publisher) -> None:
    with Subscriber(publisher.endpoint, timeout_s=0.6) as subscriber:
        assert subscriber.wait_connected(WAIT_S)
        sent = make_sealer().seal(every_kind())
        publisher.send(sent)
        assert [message.topic for message in subscriber] == [message.topic for message in sent]


def test_large_frames_over_ipc(tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/s"
    with Publisher(endpoint, SESSION) as publisher, Subscriber(endpoint) as subscriber:
        assert subscriber.wait_connected(WAIT_S)
        (sent,) = frames(make_sealer(), [0], size=(480, 640), points=50_000)
        publisher.send(sent)
        assert collect(subscriber, len(sent)) == sent


def test_a_late_subscriber_starts_without_a_gap(publisher: Publisher) -> None:
    sealer = make_sealer()
    for messages in frames(sealer, range(5)):
        publisher.send(messages)
    assert publisher.wait_sent(WAIT_S)
    with Subscriber(publisher.endpoint, [wire.FRAME]) as subscriber:
        assert subscriber.wait_connected(WAIT_S)
        (messages,) = frames(sealer, [5])
        publisher.send(messages)
        assert collect(subscriber, 1)[0].envelope.sequence == 5
        assert subscriber.missed[wire.FRAME] == 0


def test_what_is_lost_right_after_connecting_is_counted(publisher: Publisher) -> None:
    """The answer to the handshake says the next numbers, so that even a lost first message is a gap."""
    sealer = make_sealer()
    with Subscriber(publisher.endpoint, [wire.FRAME]) as subscriber:
        assert subscriber.wait_connected(WAIT_S)
        frames(sealer, range(3))  # sealed, never sent
        (messages,) = frames(sealer, [3])
        publisher.send(messages)
        collect(subscriber, 1)
        assert subscriber.missed[wire.FRAME] == 3


def test_a_stalled_subscriber_loses_messages_and_can_tell_how_many() -> None:
    """The publisher takes all of it without waiting; numbers received and missed add up."""
    with (
        Publisher(ANY_PORT, SESSION, high_water_mark=4, queue_messages=100_000) as publisher,
        Subscriber(publisher.endpoint, [wire.DEPTH], high_water_mark=4) as slow,
        Subscriber(publisher.endpoint, [wire.STATUS]) as witness,
    ):
        assert slow.wait_connected(WAIT_S)
        assert witness.wait_connected(WAIT_S)
        sealer = make_sealer()
        depth = max(frames(make_sealer(), [0], size=(300, 400))[0], key=lambda m: len(m.payload))
        total = 400  # 190 MB, far beyond what kernel buffers and high-water marks can hold
        numbered = [replace(depth, envelope=replace(depth.envelope, sequence=i)) for i in range(total)]
        publisher.send(numbered)
        publisher.send(sealer.seal([encode_status(make_status(), 0)]))
        assert witness.poll(WAIT_S) is not None, "the publisher hung on the slow subscriber"
        assert publisher.sent >= total
        assert publisher.dropped == 0
        newest, attempts = -1, 0
        while newest < total and attempts < 100:  # one more message, again if that was lost as well, shows the gap
            while (message := slow.poll(0.1)) is not None:
                newest = message.envelope.sequence
            if newest < total:
                publisher.send([replace(depth, envelope=replace(depth.envelope, sequence=total + attempts))])
                attempts += 1
        assert newest >= total
        assert slow.received[wire.DEPTH] + slow.missed[wire.DEPTH] == newest + 1
        assert slow.missed[wire.DEPTH] > 0


def test_a_full_queue_drops_and_counts() -> None:
    with Publisher(ANY_PORT, SESSION, queue_messages=3) as publisher, Subscriber(publisher.endpoint) as subscriber:
        assert subscriber.wait_connected(WAIT_S)
        sent = make_sealer().seal(every_kind())
        publisher.send(sent)  # under one lock: the thread cannot empty the queue meanwhile
        assert collect(subscriber, 3) == sent[:3]
        assert publisher.dropped == len(sent) - 3


def test_latest_passes_over_older_messages(publisher: Publisher) -> None:
    with Subscriber(publisher.endpoint, [wire.FRAME, wire.POSE]) as subscriber:
        assert subscriber.wait_connected(WAIT_S)
        assert subscriber.latest(timeout_s=0.0) is None
        sealer = make_sealer()
        for messages in frames(sealer, range(20)):
            publisher.send(messages)
        newest = None
        while newest is None or newest.envelope.frame_id < 19:
            message = subscriber.latest(timeout_s=WAIT_S)
            assert message is not None
            assert newest is None or message.envelope.frame_id > newest.envelope.frame_id
            newest = message
        assert subscriber.missed[wire.FRAME] == 0, "passed over is not lost"
        assert subscriber.skipped + 1 <= subscriber.received[wire.FRAME] + subscriber.received[wire.POSE]


def test_messages_during_the_handshake_are_kept(publisher: Publisher) -> None:
    stop = threading.Event()

    def flood() -> None:
        sealer = make_sealer()
        while not stop.is_set():
            publisher.send(sealer.seal([encode_status(make_status(), 0)]))
            time.sleep(0.001)

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        with Subscriber(publisher.endpoint, [wire.STATUS]) as subscriber:
            assert subscriber.wait_connected(WAIT_S)
            numbers = [message.envelope.sequence for message in collect(subscriber, 50)]
            assert numbers == list(range(numbers[0], numbers[0] + 50))
    finally:
        stop.set()
        thread.join()


def test_a_publisher_that_restarts_is_a_new_session_not_a_gap() -> None:
    first = Publisher(ANY_PORT, SESSION)
    endpoint = first.endpoint
    with Subscriber(endpoint, [wire.FRAME]) as subscriber:
        assert subscriber.wait_connected(WAIT_S)
        sealer = make_sealer()
        for messages in frames(sealer, range(3)):
            first.send(messages)
        collect(subscriber, 3)
        first.close()
        other = uuid.uuid4()
        with Publisher(endpoint, other) as second:
            deadline = time.monotonic() + WAIT_S
            while subscriber.session_id != other and time.monotonic() < deadline:
                assert subscriber.poll(0.05) is None
            assert subscriber.wait_connected(WAIT_S)
            (messages,) = frames(make_sealer(other), [0])
            second.send(messages)
            assert collect(subscriber, 1)[0].envelope.session_id == other
        assert (subscriber.restarts, subscriber.connections) == (1, 2)
        assert subscriber.missed[wire.FRAME] == 0


def test_what_a_reconnect_missed_of_the_same_session_is_a_gap() -> None:
    first = Publisher(ANY_PORT, SESSION)
    endpoint, sealer = first.endpoint, make_sealer()
    with Subscriber(endpoint, [wire.FRAME]) as subscriber:
        assert subscriber.wait_connected(WAIT_S)
        first.send(frames(sealer, [0])[0])
        collect(subscriber, 1)
        first.close()
        frames(sealer, range(1, 5))  # while nobody was connected
        with Publisher(endpoint, SESSION) as second:
            while subscriber.connections < 2 or not subscriber.connected:
                assert subscriber.poll(0.05) is None
            second.send(frames(sealer, [5])[0])
            collect(subscriber, 1)
        assert subscriber.missed[wire.FRAME] == 4
        assert subscriber.restarts == 0


LISTENER = """
import sys
from spark3r_stream.pubsub.subscriber import Subscriber
with Subscriber(sys.argv[1], ["/frame/"]) as subscriber:
    assert subscriber.wait_connected(20)
    print("connected", flush=True)
    for message in subscriber:
        print(message.envelope.sequence, subscriber.missed["/frame/"], flush=True)
"""


def start_listener(endpoint: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", LISTENER, endpoint], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "connected\n"
    return process


def test_a_subscriber_killed_and_restarted_disturbs_nobody(publisher: Publisher) -> None:
    sealer = make_sealer()
    with Subscriber(publisher.endpoint, [wire.FRAME]) as steady:
        assert steady.wait_connected(WAIT_S)
        process = start_listener(publisher.endpoint)
        publisher.send(frames(sealer, [0])[0])
        assert process.stdout is not None
        assert process.stdout.readline() == "0 0\n"
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        for messages in frames(sealer, range(1, 50)):
            publisher.send(messages)
        assert publisher.wait_sent(WAIT_S)
        process = start_listener(publisher.endpoint)
        publisher.send(frames(sealer, [50])[0])
        assert process.stdout is not None
        assert process.stdout.readline() == "50 0\n", "a newcomer starts where the stream is"
        process.kill()
        process.wait()
        process.stdout.close()
        assert [m.envelope.sequence for m in collect(steady, 51)] == list(range(51))


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


def test_subscribers_are_counted(publisher: Publisher) -> None:
    assert publisher.subscribers == 0
    with Subscriber(publisher.endpoint) as first, Subscriber(publisher.endpoint, [wire.POSE]) as second:
        assert first.wait_connected(WAIT_S)
        assert second.wait_connected(WAIT_S)
        assert publisher.subscribers == 2
    deadline = time.monotonic() + WAIT_S
    while publisher.subscribers and time.monotonic() < deadline:
        time.sleep(0.01)
    assert publisher.subscribers == 0


@pytest.mark.parametrize("scheme", ["tcp", "ipc"])
def test_an_endpoint_in_use_is_one_clear_error(scheme: str, tmp_path: Path) -> None:
    endpoint = ANY_PORT if scheme == "tcp" else f"ipc://{tmp_path}/s"
    with Publisher(endpoint, SESSION) as first:
        with pytest.raises(PublishError, match="in use by another program"):
            Publisher(first.endpoint, uuid.uuid4())
        with Subscriber(first.endpoint) as subscriber:
            assert subscriber.wait_connected(WAIT_S), "the first one must not suffer"
    with Publisher(first.endpoint, SESSION):
        pass  # free again, a left-over socket file included


@pytest.mark.parametrize("endpoint", ["tcp://*:*", "tcp://0.0.0.0:*", "tcp://192.168.1.4:5555", "tcp://eth0:5555"])
def test_an_address_others_can_reach_needs_permission(endpoint: str) -> None:
    with pytest.raises(PublishError, match="--insecure"):
        Publisher(endpoint, SESSION)


def test_permission_opens_it() -> None:
    with (
        Publisher("tcp://0.0.0.0:*", SESSION, insecure=True) as publisher,
        Subscriber(publisher.endpoint.replace("0.0.0.0", "127.0.0.1")) as subscriber,
    ):
        assert subscriber.wait_connected(WAIT_S)


PORTS = ("", ":x", ":70000", ":0")


@pytest.mark.parametrize(
    "endpoint", ["", "5555", "tcp://", "http://a:1", *(f"tcp://127.0.0.1{port}" for port in PORTS)]
)
def test_a_malformed_endpoint_is_one_clear_error(endpoint: str) -> None:
    with pytest.raises(PublishError, match="cannot publish on"):
        Publisher(endpoint, SESSION)


def test_localhost_and_ipv6_are_loopback() -> None:
    hosts = ["localhost"]
    if socket.has_ipv6:
        try:
            with socket.socket(socket.AF_INET6) as probe:
                probe.bind(("::1", 0))
            hosts.append("[::1]")
        except OSError:
            pass  # a kernel without IPv6
    for host in hosts:
        with Publisher(f"tcp://{host}:*", SESSION) as publisher, Subscriber(publisher.endpoint) as subscriber:
            assert subscriber.wait_connected(WAIT_S)


def test_a_wrong_subscription_is_one_clear_error() -> None:
    with pytest.raises(WireError, match="unknown topic '/frames/'"):
        Subscriber("tcp://127.0.0.1:1", ["/frames/"])
    with pytest.raises(WireError, match="cannot subscribe to 'nonsense'"):
        Subscriber("nonsense")


def test_without_a_publisher_nothing_hangs() -> None:
    with Subscriber("tcp://127.0.0.1:1", timeout_s=0.01) as subscriber:
        assert not subscriber.wait_connected(0.05)
        assert list(subscriber) == []
        assert subscriber.latest(timeout_s=0.01) is None
        assert subscriber.age_s is None


def test_the_age_of_the_stream_is_told(publisher: Publisher) -> None:
    now = [100.0]
    with Subscriber(publisher.endpoint, [wire.STATUS], monotonic_s=lambda: now[0]) as subscriber:
        assert subscriber.wait_connected(WAIT_S)
        publisher.send(make_sealer().seal([encode_status(make_status(), 0)]))
        collect(subscriber, 1)
        now[0] += 2.5
        assert subscriber.age_s == 2.5


def test_what_was_sent_before_close_is_delivered() -> None:
    publisher = Publisher(ANY_PORT, SESSION)
    with Subscriber(publisher.endpoint, [wire.STATUS]) as subscriber:
        assert subscriber.wait_connected(WAIT_S)
        ended = replace(make_status(), state=SessionState.ENDED)
        publisher.send(make_sealer().seal([encode_status(ended, 0)]))
        publisher.close()
        publisher.close()
        assert decode(collect(subscriber, 1)[0]) == ended
        with pytest.raises(PublishError, match="closed"):
            publisher.send([])


def test_frames_of_one_output_share_its_id(publisher: Publisher) -> None:
    with Subscriber(publisher.endpoint) as subscriber:
        assert subscriber.wait_connected(WAIT_S)
        (sent,) = frames(make_sealer(), [17])
        publisher.send(sent)
        received = collect(subscriber, len(sent))
        assert {m.envelope.frame_id for m in received} == {17}
        assert {m.envelope.captured_ns for m in received} == {make_output(17).result.captured_ns}
