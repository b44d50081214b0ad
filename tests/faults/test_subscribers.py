"""Subscribers that stall, vanish, shout and scan: the others miss nothing, and nothing of them stays."""

from __future__ import annotations

import contextlib
import os
import threading
import time
import uuid
from collections import Counter
from pathlib import Path

from spark3r_stream.pubsub.publisher import Publisher
from spark3r_stream.pubsub.snapshot import SnapshotKeeper
from spark3r_stream.pubsub.subscriber import Subscriber
from tests.helpers_wire import frames, make_sealer
from tools.process_usage import usage_of
from tools.soak_visitors import Visitors


def names_of_threads() -> Counter[str]:
    """How many threads of this process bear a name; ZeroMQ's are ZMQbg/IO/0 and ZMQbg/Reaper."""
    names: Counter[str] = Counter()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            names[(task / "comm").read_text().partition("/")[0].strip()] += 1
    return names


def test_rude_subscribers_disturb_nobody_and_leave_nothing() -> None:
    session = uuid.uuid4()
    sealer = make_sealer(session)
    sent, received = 0, []
    with (
        Publisher("tcp://127.0.0.1:*", session, snapshot=SnapshotKeeper()) as publisher,
        Subscriber(publisher.endpoint, ["/frame/"]) as faithful,
    ):
        assert faithful.wait_connected(10)
        # A large message first: pyzmq starts a thread and a context of its own for those, once per process.
        publisher.send(frames(sealer, [sent], size=(480, 640))[0])
        sent += 1
        first = faithful.poll(10)
        assert first is not None
        received.append(first.envelope.frame_id)
        time.sleep(0.2)  # that context's threads start one after the other
        before = usage_of(os.getpid())
        zmq_threads = names_of_threads()["ZMQbg"]
        visitors = Visitors(publisher.endpoint)
        manners = {visitors.send_one() for _ in range(2 * len(visitors.MANNERS))}
        deadline = time.monotonic() + 30
        while visitors.wait(0.02) and time.monotonic() < deadline:
            publisher.send(frames(sealer, [sent], size=(48, 64), points=200)[0])
            sent += 1
            while (message := faithful.poll()) is not None:
                received.append(message.envelope.frame_id)
        assert manners == set(visitors.MANNERS)
        assert not visitors.failed
        while len(received) < sent:
            message = faithful.poll(10)
            assert message is not None
            received.append(message.envelope.frame_id)
        assert received == list(range(sent))
        assert not any(faithful.missed.values())
        assert publisher.dropped == 0
        # A connection that was reset takes its subscriptions with it.
        while publisher.subscribed("/cloud/") and time.monotonic() < deadline:
            publisher.send(frames(sealer, [sent])[0])
            sent += 1
            time.sleep(0.02)
        assert not publisher.subscribed("/cloud/")
        while names_of_threads()["ZMQbg"] > zmq_threads and time.monotonic() < deadline:
            time.sleep(0.02)
        after = usage_of(os.getpid())
        # Threads of other names are not the visitors': OpenMP and the other tests' come and go in this process.
        assert names_of_threads()["ZMQbg"] <= zmq_threads
        assert after.files <= before.files + 2
        assert after.children == before.children
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("visitor-")]
