"""`spark3r ros2-bridge` against a real publisher and a stand-in for ROS 2: what it sends is what ROS's classes take."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from spark3r_stream.errors import StreamError
from spark3r_stream.pubsub.publisher import Publisher
from spark3r_stream.pubsub.snapshot import SnapshotKeeper
from spark3r_stream.pubsub.subscriber import Subscriber
from spark3r_stream.ros2.bridge import RosOutput, bridge
from spark3r_stream.ros2.converter import TOPICS, Converter
from spark3r_stream.ros2.messages import Ros2Messages
from spark3r_stream.ros2.naming import Naming
from spark3r_stream.ros2.types import RosTypes
from spark3r_stream.wire.encode import encode_keyframe, encode_map_corrections
from tests import helpers_ros
from tests.helpers import spark3r
from tests.helpers_wire import SESSION, every_kind, make_correction, make_keyframe, make_sealer

WAIT_S = 20.0


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with Publisher("tcp://127.0.0.1:*", SESSION, snapshot=SnapshotKeeper()) as publisher:
        yield publisher


def test_every_message_is_what_ros_takes(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    node = helpers_ros.install(monkeypatch)
    names, types, stop = Naming(prefix="robot"), RosTypes(), threading.Event()
    sealer = make_sealer()
    publisher.send(sealer.seal([*encode_map_corrections([make_correction()], 1), *encode_keyframe(make_keyframe())]))
    output = RosOutput(names, types)
    converter = Converter(Ros2Messages(types), names)
    with Subscriber(publisher.endpoint, TOPICS) as subscriber:
        thread = threading.Thread(target=bridge, args=(subscriber, converter, output, stop))
        thread.start()
        wait_for(lambda: "/robot/points" in node.publishers, "what came before it")
        publisher.send(sealer.seal(every_kind()))
        wait_for(lambda: "/diagnostics" in node.publishers, "the status, which comes last")
        stop.set()
        thread.join(WAIT_S)
    output.close()
    assert set(node.publishers) == {
        "/tf", "/tf_static", "/diagnostics",
        *(f"/robot/{name}" for name in ("pose", "odom", "camera_info", "image/compressed", "points", "camera_points",
                                        "depth/image_rect", "depth/camera_info")),
    }  # fmt: skip
    for found in node.publishers.values():
        for message in found.sent:
            helpers_ros.STORE.serialize_cdr(helpers_ros.as_bag_message(message), message._kind)
    assert node.publishers["/tf_static"].qos.durability == "transient local"
    assert node.publishers["/robot/camera_points"].qos.reliability == "best effort"
    assert node.publishers["/robot/odom"].qos.reliability == "reliable"


def test_without_ros_one_line_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "rclpy", None)
    assert spark3r(monkeypatch, "ros2-bridge", "tcp://127.0.0.1:5999") == 1
    error = capfd.readouterr().err
    assert error.count("\n") == 1
    assert "rclpy is not there; source a ROS 2 workspace first" in error
    with pytest.raises(StreamError):
        RosOutput(Naming(), RosTypes())


@pytest.mark.parametrize(
    ("option", "value", "complaint"),
    [
        ("--scale", ("0",), "more than 0"),
        ("--gravity", ("0", "0", "0"), "expected three numbers"),
        ("--prefix", ("a b",), "no name in ROS"),
    ],
)
def test_bad_options_are_one_line(
    option: str, value: tuple, complaint: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert spark3r(monkeypatch, "ros2-bridge", "tcp://127.0.0.1:5999", option, *value) == 1
    error = capfd.readouterr().err
    assert (error.count("\n"), complaint in error) == (1, True), error


def wait_for(condition: object, what: str) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline_s, f"nothing came of {what}"
        time.sleep(0.01)
