"""Where the tests of this folder publish, and how long they wait for what was sent."""

from __future__ import annotations

from spark3r_stream.pubsub.subscriber import Subscriber
from spark3r_stream.wire import envelope as wire

ANY_PORT = "tcp://127.0.0.1:*"
WAIT_S = 10.0


def collect(subscriber: Subscriber, count: int) -> list[wire.Message]:
    messages = []
    while len(messages) < count:
        message = subscriber.poll(WAIT_S)
        assert message is not None, f"{len(messages)} of {count} messages came"
        messages.append(message)
    return messages
