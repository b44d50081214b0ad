"""Several cameras in one session: topics with their names, over real sockets; one camera's topics stay as they were."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spark3r_core.geometry.sim3 import Sim3
from spark3r_stream.errors import WireError
from spark3r_stream.map.scene_map import SceneMap
from spark3r_stream.pubsub.publisher import Publisher
from spark3r_stream.pubsub.snapshot import SnapshotKeeper
from spark3r_stream.pubsub.subscriber import Subscriber
from spark3r_stream.viewer.feed import SceneFeed
from spark3r_stream.wire import envelope as wire
from spark3r_stream.wire.decode import decode
from spark3r_stream.wire.encode import encode_frame, encode_map_corrections, encode_status
from spark3r_stream.wire.envelope import Message, Sealer, Unsealed
from spark3r_stream.wire.messages import FrameNames, MapCorrection, MapCorrections, SessionState, Status, Transform
from tests.helpers_wire import SESSION, make_output

WAIT_S = 10.0


def sealer(camera: str) -> Sealer:
    return Sealer(SESSION, lambda: 1, camera=camera)


def frame(number: int, camera: str) -> list[Unsealed]:
    return encode_frame(make_output(number), FrameNames.of(camera))


def received(subscriber: Subscriber, count: int) -> list[Message]:
    messages = [subscriber.poll(WAIT_S) for _ in range(count)]
    assert None not in messages
    assert subscriber.poll(0.2) is None
    return [message for message in messages if message is not None]


def test_names_of_topics() -> None:
    assert wire.full_topic(wire.FRAME, "") == "/frame/"
    assert wire.full_topic(wire.FRAME, "left") == "/frame/left/"
    for topic in wire.TOPICS:
        assert wire.split_topic(topic) == (topic, "")
        assert wire.split_topic(f"{topic}cam-1_b/") == (topic, "cam-1_b")


@pytest.mark.parametrize(
    "name", ["", "/", "/frame", "frame/", "/frame//", "/frame/a/b/", "/frame/a", "/frame/a b/", "/nonsense/left/",
             "//frame/", "/frame/../", f"/frame/{'a' * 33}/", "/frame/é/"],
)  # fmt: skip
def test_what_is_no_topic(name: str) -> None:
    with pytest.raises(WireError, match="unknown topic"):
        wire.split_topic(name)
    with pytest.raises(WireError):
        Message.from_parts([name.encode(), sealer("left").seal(frame(0, "left"))[0].parts()[1], b""])


def test_a_session_of_one_camera_sends_what_it_always_sent() -> None:
    one = Sealer(SESSION, lambda: 1).seal(encode_frame(make_output(0)))[0]
    assert one.parts()[0] == b"/frame/"
    assert Message.from_parts(one.parts()) == one
    transforms = [
        decode(m) for m in Sealer(SESSION, lambda: 1).seal(encode_frame(make_output(0))) if m.topic == wire.TF
    ]
    assert {t.parent for t in transforms if isinstance(t, Transform)} == {"map", "submap_3"}


def test_an_envelope_of_another_camera_is_refused() -> None:
    topic, _, payload = sealer("left").seal(frame(0, "left"))[0].parts()
    _, other, _ = sealer("right").seal(frame(0, "right"))[0].parts()
    with pytest.raises(WireError, match="another camera"):
        Message.from_parts([topic, other, payload])


def test_all_cameras_or_one_of_them() -> None:
    left, right = sealer("left"), sealer("right")
    with (
        Publisher("tcp://127.0.0.1:*", SESSION, cameras=("left", "right")) as publisher,
        Subscriber(publisher.endpoint, [wire.FRAME, wire.TF]) as every,
        Subscriber(publisher.endpoint, camera="right") as only,
        Subscriber(publisher.endpoint, ["/frame/left/"]) as topic,
    ):
        for subscriber in (every, only, topic):
            assert subscriber.wait_connected(WAIT_S)
        for number in range(3):
            publisher.send(left.seal(frame(number, "left")))
        publisher.send(right.seal(frame(7, "right")))
        mine = received(only, len(frame(7, "right")))
        assert {message.envelope.camera for message in mine} == {"right"}
        assert [message.topic for message in mine] == [message.topic for message in frame(7, "right")]
        assert [m.envelope.frame_id for m in received(topic, 3)] == [0, 1, 2]
        transforms = [m.topic for m in frame(0, "left")].count(wire.TF)
        got = received(every, 4 * (1 + transforms))
        assert [m.name for m in got if m.topic == wire.FRAME] == ["/frame/left/"] * 3 + ["/frame/right/"]
        assert every.received["/frame/left/"] == 3
        assert every.received["/frame/right/"] == 1
        parents = {t.child for m in got if m.topic == wire.TF and isinstance(t := decode(m), Transform)}
        assert {"left/camera", "right/camera"} <= parents
        assert "camera" not in parents
        assert publisher.subscribed("/frame/left/")


def test_a_loss_is_counted_for_the_camera_it_happened_to() -> None:
    left, right = sealer("left"), sealer("right")
    with (
        Publisher("tcp://127.0.0.1:*", SESSION, cameras=("left", "right")) as publisher,
        Subscriber(publisher.endpoint, [wire.FRAME]) as subscriber,
    ):
        assert subscriber.wait_connected(WAIT_S)
        publisher.send(left.seal(frame(0, "left"))[:1])
        publisher.send(right.seal(frame(0, "right"))[:1])
        left.seal(frame(1, "left"))  # lost on the way
        publisher.send(left.seal(frame(2, "left"))[:1])
        publisher.send(right.seal(frame(1, "right"))[:1])
        received(subscriber, 4)
        assert subscriber.missed["/frame/left/"] == 1
        assert subscriber.missed.get("/frame/right/", 0) == 0


def test_a_stranger_cannot_make_a_subscriber_remember_cameras_without_end() -> None:
    with (
        Publisher("tcp://127.0.0.1:*", SESSION) as publisher,
        Subscriber(publisher.endpoint, [wire.STATUS]) as subscriber,
    ):
        assert subscriber.wait_connected(WAIT_S)
        most = (wire.MOST_CAMERAS + 1) * len(wire.TOPICS)
        for number in range(most + 20):
            publisher.send(sealer(f"c{number}").seal([encode_status(Status(SessionState.RUNNING), 0)]))
            if number < most - 1:  # one name is there from the beginning: what was subscribed to
                assert subscriber.poll(WAIT_S) is not None
        assert subscriber.poll(1.0) is None
        assert len(subscriber.received) == most
        assert subscriber.malformed == 21


def test_who_joins_late_knows_whose_way_is_whose() -> None:
    senders = {name: sealer(name) for name in ("left", "right")}
    with Publisher("tcp://127.0.0.1:*", SESSION, cameras=tuple(senders), snapshot=SnapshotKeeper()) as publisher:
        for number in range(3):
            for name, one in senders.items():
                publisher.send(one.seal(frame(number, name)))
        assert publisher.wait_sent(WAIT_S)
        with Subscriber(publisher.endpoint) as subscriber:
            scene = SceneMap()
            feed = SceneFeed(subscriber, scene)
            assert subscriber.wait_connected(WAIT_S)
            feed.take(0.1)
            assert [len(one) for one in scene.trajectories()] == [3, 3]
            publisher.send(senders["left"].seal(frame(3, "left")))
            publisher.send(senders["left"].seal([encode_status(Status(SessionState.ENDED), 0)]))
            while feed.status is None:
                feed.take(0.1, wait_s=WAIT_S)
            assert [len(one) for one in scene.trajectories()] == [4, 3]
            assert not feed.ended  # the other one goes on
            publisher.send(Sealer(SESSION, lambda: 1).seal([encode_status(Status(SessionState.ENDED), 0)]))
            while not feed.ended:
                assert feed.take(0.1, wait_s=WAIT_S)


def test_corrections_say_which_map_they_are_of() -> None:
    place = MapCorrection(3, 1, Sim3(2.0, np.eye(3), np.arange(3.0)))
    for name in ("map", "right/map"):
        (unsealed,) = encode_map_corrections([place], 0, map_frame=name)
        content = decode(sealer("right").seal([unsealed])[0])
        assert isinstance(content, MapCorrections)
        assert content.map_frame == name
    (hostile,) = encode_map_corrections([place], 0, map_frame="x" * 5000)
    with pytest.raises(WireError, match="corrections in the frame"):
        decode(sealer("right").seal([hostile])[0])
    (plain,) = encode_map_corrections([place], 0)
    assert replace(plain, payload=b"") == replace(encode_map_corrections([place], 0, map_frame="map")[0], payload=b"")
    assert b"map" not in plain.payload  # byte for byte what it was before there were several


def test_wrong_names_of_cameras(tmp_path: Path) -> None:
    with pytest.raises(WireError, match="no name of a camera"):
        Subscriber(f"ipc://{tmp_path}/x", camera="a/b")
