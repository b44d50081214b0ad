"""`spark3r foxglove` against a client that speaks Foxglove's WebSocket protocol: it shows what was published."""

from __future__ import annotations

import json
import struct
import sys
import threading
import time
from collections.abc import Iterator

import pytest
import websockets.sync.client as client
from foxglove_schemas_protobuf.FrameTransform_pb2 import FrameTransform
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from spark3r_stream.cli.foxglove import forward, served
from spark3r_stream.pubsub.publisher import Publisher
from spark3r_stream.pubsub.subscriber import Subscriber
from spark3r_stream.wire import envelope as wire
from spark3r_stream.wire.encode import encode_frame, encode_keyframe, encode_map_corrections
from tests.helpers import spark3r
from tests.helpers_wire import SESSION, make_correction, make_keyframe, make_sealer, make_tracked

WAIT_S = 20.0
MESSAGE_DATA = 1  # of the binary messages of a server


class App:
    """What the Foxglove app does: takes what is advertised, subscribes, reads messages by channel."""

    def __init__(self, port: int) -> None:
        self.socket = client.connect(f"ws://127.0.0.1:{port}", subprotocols=["foxglove.sdk.v1"], max_size=None)
        self.channels: dict[str, dict] = {}
        while len(self.channels) < len(wire.TOPICS):
            told = json.loads(self.socket.recv(WAIT_S))
            for channel in told.get("channels", []):
                self.channels[channel["topic"]] = channel
        wanted = [{"id": index, "channelId": channel["id"]} for index, channel in enumerate(self.channels.values())]
        self.socket.send(json.dumps({"op": "subscribe", "subscriptions": wanted}))
        self.topics = dict(enumerate(self.channels))

    def receive(self) -> tuple[str, int, bytes]:
        """Topic, time and payload of the next message."""
        while True:
            data = self.socket.recv(WAIT_S)
            if isinstance(data, bytes) and data[0] == MESSAGE_DATA:
                subscription, log_time = struct.unpack_from("<IQ", data, 1)
                return self.topics[subscription], log_time, data[13:]

    def decoded(self, topic: str, payload: bytes) -> object:
        """By the schema that the server gave, as the app does it."""
        from base64 import b64decode

        channel, pool = self.channels[topic], descriptor_pool.DescriptorPool()
        assert (channel["encoding"], channel["schemaEncoding"]) == ("protobuf", "protobuf")
        for file in descriptor_pb2.FileDescriptorSet.FromString(b64decode(channel["schema"])).file:
            pool.Add(file)
        kind = message_factory.GetMessageClass(pool.FindMessageTypeByName(channel["schemaName"]))
        return kind.FromString(payload)


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with Publisher("tcp://127.0.0.1:*", SESSION) as publisher:
        yield publisher


def test_the_app_gets_what_was_published(publisher: Publisher) -> None:
    stop = threading.Event()
    with served("127.0.0.1", 0) as (server, channels), Subscriber(publisher.endpoint) as subscriber:
        app = App(server.port)
        assert subscriber.wait_connected(WAIT_S)
        time.sleep(0.1)  # the app's subscription has no answer
        thread = threading.Thread(target=forward, args=(subscriber, server, channels, stop))
        thread.start()
        unsealed = [*encode_keyframe(make_keyframe()), *encode_frame(make_tracked())]
        sent = make_sealer().seal([*unsealed, *encode_map_corrections([make_correction()], 7)])
        publisher.send(sent)
        received = [app.receive() for _ in range(len(sent) + 1)]
        stop.set()
        thread.join(WAIT_S)
    assert [(topic, at, payload) for topic, at, payload in received[: len(sent)]] == [
        (message.topic, message.envelope.captured_ns, message.payload) for message in sent
    ]
    topic, _, payload = received[-1]
    moved = FrameTransform.FromString(payload)
    assert (topic, moved.parent_frame_id, moved.child_frame_id) == ("/tf/", "map", "submap_3")
    assert (moved.translation.x, moved.translation.z) == (4, 6)
    names = {topic: channel["schemaName"] for topic, channel in app.channels.items()}
    assert (names["/image/"], names["/frame/"]) == ("foxglove.CompressedImage", "spark3r.v1.FrameResult")
    for topic, _, payload in received:
        assert app.decoded(topic, payload).SerializeToString(deterministic=True)  # type: ignore[attr-defined]


def test_a_port_in_use_and_an_open_address_are_one_line(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with served("127.0.0.1", 0) as (server, _):
        assert spark3r(monkeypatch, "foxglove", "tcp://127.0.0.1:5999", "--port", server.port) == 1
    error = capfd.readouterr().err
    assert (error.count("\n"), "choose another --port" in error) == (1, True), error
    assert spark3r(monkeypatch, "foxglove", "tcp://127.0.0.1:5999", "--host", "0.0.0.0") == 1
    assert "no keys" in capfd.readouterr().err


def test_without_the_sdk_one_line_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "foxglove", None)
    assert spark3r(monkeypatch, "foxglove", "tcp://127.0.0.1:5999") == 1
    assert capfd.readouterr().err == (
        "spark3r: error: foxglove is not installed; pip install 'spark3r-stream[foxglove]'\n"
    )
