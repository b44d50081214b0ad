"""What is lost is counted, and who stalls, dies or comes again holds up nobody."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import replace
from pathlib import Path

from spark3r_stream.pubsub.publisher import Publisher
from spark3r_stream.pubsub.subscriber import Subscriber
from spark3r_stream.wire import envelope as wire
from spark3r_stream.wire.encode import encode_status
from tests.helpers_wire import SESSION, every_kind, frames, make_sealer, make_status
from tests.stream.pubsub.receiving import ANY_PORT, WAIT_S, collect

REPOSITORY = Path(__file__).resolve().parents[3]


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
