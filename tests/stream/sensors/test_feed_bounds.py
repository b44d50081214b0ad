"""How much a stranger who publishes a sensor's rows can make this process take. With real sockets."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from spark3r_stream.sensors import feed as feed_module
from spark3r_stream.sensors.feed import MAX_MESSAGE_BYTES, TopicFeed

WAIT_S = 20.0


@pytest.fixture
def sockets(tmp_path: Path) -> Iterator[tuple[TopicFeed, Any]]:
    """A feed of one column, and the socket that publishes to it."""
    with zmq.Context() as context, context.socket(zmq.XPUB) as publisher:
        publisher.setsockopt(zmq.LINGER, 0)
        publisher.bind(f"ipc://{tmp_path}/rows")
        feed = TopicFeed(f"ipc://{tmp_path}/rows", "/gyro/", 1, "time and a number")
        heard(publisher)
        yield feed, publisher
        feed.close()


def heard(publisher: Any) -> None:
    assert publisher.poll(1000 * WAIT_S), "nobody subscribed"
    assert publisher.recv() == b"\x01/gyro/"


def count_after(feed: TopicFeed, count: int) -> int:
    """Of rows, once there are more than `count`."""
    deadline = time.monotonic() + WAIT_S
    while (now := len(feed.rows().times_ns)) <= count:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return now


def test_a_message_that_is_too_long_is_not_taken_in(sockets: tuple[TopicFeed, Any]) -> None:
    feed, publisher = sockets
    publisher.send_multipart([b"/gyro/", b"1,1" + b" " * MAX_MESSAGE_BYTES])
    deadline = time.monotonic() + WAIT_S
    while not publisher.poll(5):
        assert not len(feed.rows().times_ns), "it was taken"
        assert time.monotonic() < deadline
    assert publisher.recv() == b"\x00/gyro/", "who sent it is hung up on"


def test_after_one_that_was_too_long_the_feed_listens_again(
    sockets: tuple[TopicFeed, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    feed, publisher = sockets
    monkeypatch.setattr(feed_module, "SILENT_S", 0.2)
    publisher.send_multipart([b"/gyro/", b"1,1" + b" " * MAX_MESSAGE_BYTES])
    deadline, said = time.monotonic() + WAIT_S, []
    while said[-2:] != [b"\x00/gyro/", b"\x01/gyro/"]:
        feed.rows()
        assert time.monotonic() < deadline, f"it did not come back: {said}"
        if publisher.poll(5):
            said.append(publisher.recv())
    publisher.send_multipart([b"/gyro/", b"2,1"])
    assert count_after(feed, 0) == 1


def test_one_frame_takes_so_many_messages_and_leaves_the_rest(
    sockets: tuple[TopicFeed, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    feed, publisher = sockets
    monkeypatch.setattr(feed_module, "MOST_AT_ONCE", 5)
    for number in range(100):
        publisher.send_multipart([b"/gyro/", f"{number / 10},0".encode()])
    time.sleep(0.1)  # for them to have come, or less would be shown
    count = 0
    while count < 100:
        now = count_after(feed, count)
        assert now - count <= 5
        count = now
