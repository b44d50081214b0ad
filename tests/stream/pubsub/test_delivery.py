"""What is sent arrives, over real sockets. Order is established by handshakes, never by sleeping."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from spark3r_stream.errors import PublishError
from spark3r_stream.pubsub.publisher import Publisher
from spark3r_stream.pubsub.subscriber import Subscriber
from spark3r_stream.wire import envelope as wire
from spark3r_stream.wire.decode import decode
from spark3r_stream.wire.encode import encode_status
from spark3r_stream.wire.messages import DepthImage, SessionState
from tests.helpers_wire import SESSION, every_kind, frames, make_output, make_sealer, make_status
from tests.stream.pubsub.receiving import ANY_PORT, WAIT_S, collect


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


def test_the_age_of_the_stream_is_told(publisher: Publisher) -> None:
    now = [100.0]
    with Subscriber(publisher.endpoint, [wire.STATUS], monotonic_s=lambda: now[0]) as subscriber:
        assert subscriber.wait_connected(WAIT_S)
        publisher.send(make_sealer().seal([encode_status(make_status(), 0)]))
        collect(subscriber, 1)
        now[0] += 2.5
        assert subscriber.age_s == 2.5
