"""A running stream, republished in ROS 2 by `rclpy`: a subscriber whose messages the converter turns into ROS's."""

from __future__ import annotations

import importlib
import sys
import threading
from typing import Any

from spark3r_stream.errors import StreamError, WireError
from spark3r_stream.plain_text import cleaned
from spark3r_stream.pubsub.subscriber import Subscriber
from spark3r_stream.ros2.converter import Converter, Outgoing
from spark3r_stream.ros2.naming import Delivery, Naming, Topic
from spark3r_stream.ros2.types import RosTypes

POLL_S = 0.25
JOIN_S = 15.0
_DEPTHS = {Delivery.SENSOR: 5, Delivery.RELIABLE: 100, Delivery.LATCHED: 1}
NO_ROS = (
    "rclpy is not there; source a ROS 2 workspace first (source /opt/ros/<distribution>/setup.bash), with the Python it"
    " was built for, and run this command in it"
)


class RosOutput:
    """Publishers of one node, made when their topic is first used. Raises StreamError without ROS 2."""

    def __init__(self, names: Naming, types: RosTypes, node_name: str = "spark3r_bridge") -> None:
        try:
            self._rclpy: Any = importlib.import_module("rclpy")
            self._qos: Any = importlib.import_module("rclpy.qos")
            signals: Any = importlib.import_module("rclpy.signals")
        except ModuleNotFoundError:
            raise StreamError(NO_ROS) from None
        self._rclpy.init(signal_handler_options=signals.SignalHandlerOptions.NO)  # the command has its own
        self._node = self._rclpy.create_node(node_name)
        self._names, self._types = names, types
        self._publishers: dict[Topic, Any] = {}

    def send(self, messages: list[Outgoing]) -> None:
        for topic, message in messages:
            if topic not in self._publishers:
                kind, name = self._types.of(topic.kind), self._names.topic(topic)
                self._publishers[topic] = self._node.create_publisher(kind, name, self._profile(topic.delivery))
            self._publishers[topic].publish(message)

    def now_ns(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)

    def close(self) -> None:
        self._node.destroy_node()
        self._rclpy.try_shutdown()

    def _profile(self, delivery: Delivery) -> Any:
        qos = self._qos
        best_effort = delivery is Delivery.SENSOR
        latched = delivery is Delivery.LATCHED
        return qos.QoSProfile(
            history=qos.HistoryPolicy.KEEP_LAST,
            depth=_DEPTHS[delivery],
            reliability=qos.ReliabilityPolicy.BEST_EFFORT if best_effort else qos.ReliabilityPolicy.RELIABLE,
            durability=qos.DurabilityPolicy.TRANSIENT_LOCAL if latched else qos.DurabilityPolicy.VOLATILE,
        )


def bridge(subscriber: Subscriber, converter: Converter, output: RosOutput, stop: threading.Event) -> None:
    """Republish until `stop` is set. The publisher may come later, go and come back; each time it is asked for its map
    so far. Messages that cannot be decoded are skipped and told on stderr."""
    output.send(converter.fixed(output.now_ns()))
    joined = 0
    while not stop.is_set():
        if subscriber.connected and subscriber.connections != joined:
            joined = subscriber.connections
            _join(subscriber, converter, output)
        message = subscriber.poll(POLL_S)
        if message is None:
            continue
        if message.envelope.camera and not subscriber.camera:
            raise StreamError(
                f"{subscriber.endpoint} has several cameras; choose one with --camera and --prefix, e.g."
                f" --camera {message.envelope.camera}"
            )
        try:
            outgoing = converter.of(message)
        except WireError as error:
            print(f"spark3r: skipped a message: {cleaned(error)}", file=sys.stderr, flush=True)
            continue
        output.send(outgoing)


def _join(subscriber: Subscriber, converter: Converter, output: RosOutput) -> None:
    if not subscriber.offers_snapshot:
        return
    try:
        snapshot = subscriber.join(JOIN_S)
    except WireError as error:
        print(f"spark3r: only what comes from now on: {cleaned(error)}", file=sys.stderr, flush=True)
        return
    output.send(converter.so_far(snapshot.session_id, snapshot.corrections.values(), snapshot.clouds.values()))
