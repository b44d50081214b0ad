"""Names of frames of reference and topics in ROS 2, and how each topic is offered."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from spark3r_stream.errors import StreamError

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*(/[A-Za-z][A-Za-z0-9_]*)*")


class Delivery(Enum):
    """Quality of service of a topic."""

    SENSOR = "best effort, keep last 5, volatile"
    RELIABLE = "reliable, keep last 100, volatile"
    LATCHED = "reliable, keep last 1, transient local"


@dataclass(frozen=True)
class Topic:
    """name: below the prefix; one that begins with / is never prefixed, as tf and diagnostics are everybody's."""

    name: str
    kind: str
    delivery: Delivery


TF = Topic("/tf", "tf2_msgs/msg/TFMessage", Delivery.RELIABLE)
TF_STATIC = Topic("/tf_static", "tf2_msgs/msg/TFMessage", Delivery.LATCHED)
CLOCK = Topic("/clock", "rosgraph_msgs/msg/Clock", Delivery.SENSOR)
DIAGNOSTICS = Topic("/diagnostics", "diagnostic_msgs/msg/DiagnosticArray", Delivery.RELIABLE)
ODOMETRY = Topic("odom", "nav_msgs/msg/Odometry", Delivery.RELIABLE)
POSE = Topic("pose", "geometry_msgs/msg/PoseStamped", Delivery.RELIABLE)
PATH = Topic("path", "nav_msgs/msg/Path", Delivery.LATCHED)
IMAGE = Topic("image/compressed", "sensor_msgs/msg/CompressedImage", Delivery.SENSOR)
CAMERA_INFO = Topic("camera_info", "sensor_msgs/msg/CameraInfo", Delivery.SENSOR)
DEPTH = Topic("depth/image_rect", "sensor_msgs/msg/Image", Delivery.SENSOR)
DEPTH_INFO = Topic("depth/camera_info", "sensor_msgs/msg/CameraInfo", Delivery.SENSOR)
POINTS = Topic("points", "sensor_msgs/msg/PointCloud2", Delivery.RELIABLE)
CAMERA_POINTS = Topic("camera_points", "sensor_msgs/msg/PointCloud2", Delivery.SENSOR)


@dataclass(frozen=True)
class Naming:
    """map, odom: REP 105's. base: what moves; by default the camera's body frame. camera: its optical frame.

    prefix: before the names of frames and topics, for several cameras in one system; empty for none. Raises StreamError
    for what ROS takes for no name.
    """

    prefix: str = ""
    map: str = "map"
    odom: str = "odom"
    base: str = "camera_link"
    camera: str = "camera_optical_frame"

    def __post_init__(self) -> None:
        for what, name in vars(self).items():
            if not _NAME.fullmatch(name) and (what != "prefix" or name):
                raise StreamError(f"{what} {name!r} is no name in ROS; expected letters, digits, _: camera_link")
        if len({self.map, self.odom, self.base, self.camera}) < 4:
            raise StreamError("map, odom, base and camera frame need four different names")

    def frame(self, name: str) -> str:
        """The full name of one of the frames."""
        return f"{self.prefix}/{name}" if self.prefix else name

    def topic(self, topic: Topic) -> str:
        """The full name of a topic."""
        if topic.name.startswith("/"):
            return topic.name
        return f"/{self.prefix}/{topic.name}" if self.prefix else f"/{topic.name}"
