"""How much a stranger who publishes depth images can make this process keep. With real sockets."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from spark3r_stream.sensors import depth_topic
from spark3r_stream.sensors.depth_topic import NEW_FRAMES, READY, WAITING_MESSAGES, DepthTopic
from tests.stream.sensors.test_depth_topic import FRAME_NS, START_NS, Sensor, frame, message, millimetres, png, until


@pytest.fixture
def sensor() -> Iterator[Sensor]:
    one = Sensor()
    yield one
    one.close()


def test_what_waits_is_bounded(sensor: Sensor, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).integers(0, 65536, (12, 16)).astype(np.uint16)
    size = len(png(noise))
    monkeypatch.setattr(depth_topic, "MAX_WAITING_BYTES", 5 * size)
    topic = DepthTopic(sensor.endpoint)
    sensor.wait_heard()
    for index in range(20):  # of a time for which no frame comes
        sensor.socket.send_multipart(message(START_NS + index * FRAME_NS, noise))
    until(lambda: topic.unmatched == 15)
    assert (len(topic._waiting), topic._waiting_bytes) == (5, 5 * size)
    topic.close()


def test_what_waits_too_long_for_its_frame_is_let_go(sensor: Sensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depth_topic, "LONGEST_WAIT_S", 0.05)
    topic = DepthTopic(sensor.endpoint)
    sensor.wait_heard()
    sensor.socket.send_multipart(message(START_NS, millimetres(1000)))
    until(lambda: topic.unmatched == 1)
    topic.close()


def test_so_many_may_wait_however_small_they_are(sensor: Sensor) -> None:
    topic, half = DepthTopic(sensor.endpoint), WAITING_MESSAGES // 2
    sensor.wait_heard()
    for index in range(3 * half):
        sensor.socket.send_multipart(message(START_NS + index * FRAME_NS, millimetres(1000)))
        if (index + 1) % half == 0:  # the socket's own queue is as short
            until(lambda: topic.unmatched + len(topic._waiting) == index + 1)  # noqa: B023
    assert (topic.unmatched, len(topic._waiting)) == (half, WAITING_MESSAGES)
    topic.close()


def test_what_is_unpacked_and_not_taken_gives_way_to_what_is_newer(sensor: Sensor) -> None:
    topic, count = DepthTopic(sensor.endpoint), READY + 3
    sensor.wait_heard()
    topic._frames.extend((index, START_NS + index * FRAME_NS, (16, 12)) for index in range(3 * count))
    for index in range(count):
        sensor.socket.send_multipart(message(START_NS + 3 * index * FRAME_NS, millimetres(1000)))
    until(lambda: topic.used == count)
    topic.close()
    assert [one.frame_id for one in topic._ready] == [3 * index for index in range(count)][-READY:]


def test_frames_that_nobody_asks_for_are_forgotten(sensor: Sensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that takes them may have ended."""
    monkeypatch.setattr(DepthTopic, "_match", lambda self: 1 / 0)
    topic = DepthTopic(sensor.endpoint)
    topic._thread.join(20.0)
    for index in range(NEW_FRAMES + 10):
        topic.of(frame(index), (16, 12))
    assert len(topic._frames) == NEW_FRAMES
    topic.close()
