"""ROS 2 messages of plain values: pure functions of numbers and names, whichever library the classes come from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry import se3
from spark3r_core.geometry.rotation import Array
from spark3r_stream.map.cloud import PointCloud
from spark3r_stream.ros2.types import MessageTypes

RGB_POINT = np.dtype([("xyz", "<f4", 3), ("rgb", "<u4"), ("confidence", "<f4")])
_FLOAT32 = 7  # of PointField; `rgb` is a float by custom, with the bytes of a colour in it


class Ros2Messages:
    """time: nanoseconds. frame: the full name of a frame of reference. Poses (4, 4) parent_from_child."""

    def __init__(self, types: MessageTypes) -> None:
        self._make = types.make

    def time(self, time: int) -> Any:
        seconds, nanoseconds = divmod(time, 1_000_000_000)
        return self._make("builtin_interfaces/msg/Time", sec=seconds, nanosec=nanoseconds)

    def header(self, time: int, frame: str) -> Any:
        return self._make("std_msgs/msg/Header", stamp=self.time(time), frame_id=frame)

    def clock(self, time: int) -> Any:
        return self._make("rosgraph_msgs/msg/Clock", clock=self.time(time))

    def transform(self, time: int, parent_from_child: Array, parent: str, child: str) -> Any:
        shift, turn = self._parts(parent_from_child, "geometry_msgs/msg/Vector3")
        stamped = self._make(
            "geometry_msgs/msg/TransformStamped",
            header=self.header(time, parent),
            child_frame_id=child,
            transform=self._make("geometry_msgs/msg/Transform", translation=shift, rotation=turn),
        )
        return self._make("tf2_msgs/msg/TFMessage", transforms=[stamped])

    def pose(self, time: int, pose: Array, frame: str) -> Any:
        return self._make("geometry_msgs/msg/PoseStamped", header=self.header(time, frame), pose=self._pose(pose))

    def path(self, poses: list[tuple[int, Array]], frame: str) -> Any:
        stamped = [self.pose(time, pose, frame) for time, pose in poses]
        return self._make("nav_msgs/msg/Path", header=self.header(poses[-1][0], frame), poses=stamped)

    def odometry(
        self, time: int, pose: Array, covariance: Array, twist: Array, twist_covariance: Array, frame: str, child: str
    ) -> Any:
        """covariance: (6, 6) x y z and rotations about the axes of `frame`. twist: (6,) linear, angular, with its
        (6, 6), in the axes of `child`."""
        vector = [self._xyz("geometry_msgs/msg/Vector3", part) for part in (twist[:3], twist[3:])]
        return self._make(
            "nav_msgs/msg/Odometry",
            header=self.header(time, frame),
            child_frame_id=child,
            pose=self._make(
                "geometry_msgs/msg/PoseWithCovariance", pose=self._pose(pose), covariance=covariance.reshape(36)
            ),
            twist=self._make(
                "geometry_msgs/msg/TwistWithCovariance",
                twist=self._make("geometry_msgs/msg/Twist", linear=vector[0], angular=vector[1]),
                covariance=twist_covariance.reshape(36),
            ),
        )

    def camera_info(self, time: int, camera: Array, picture_hw: tuple[int, int], frame: str) -> Any:
        """camera: (3, 3), pixel centres at integer + 0.5; ROS puts them at integers."""
        k = camera.copy()
        k[:2, 2] -= 0.5
        roi = self._make(
            "sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False
        )
        return self._make(
            "sensor_msgs/msg/CameraInfo",
            header=self.header(time, frame),
            height=picture_hw[0],
            width=picture_hw[1],
            distortion_model="plumb_bob",
            d=np.zeros(5),
            k=k.ravel(),
            r=np.eye(3).ravel(),
            p=np.concatenate([k, np.zeros((3, 1))], 1).ravel(),
            binning_x=0,
            binning_y=0,
            roi=roi,
        )

    def picture(self, time: int, jpeg: bytes, frame: str) -> Any:
        data = np.frombuffer(jpeg, np.uint8)
        header = self.header(time, frame)
        return self._make("sensor_msgs/msg/CompressedImage", header=header, format="jpeg", data=data)

    def depth(self, time: int, depth: NDArray[np.float32], frame: str) -> Any:
        """depth: (h, w), z in the camera, in metres."""
        height, width = depth.shape
        return self._make(
            "sensor_msgs/msg/Image",
            header=self.header(time, frame),
            height=height,
            width=width,
            encoding="32FC1",
            is_bigendian=0,
            step=4 * width,
            data=np.frombuffer(np.ascontiguousarray(depth, "<f4").tobytes(), np.uint8),
        )

    def cloud(self, time: int, cloud: PointCloud, frame: str) -> Any:
        table = np.empty(len(cloud.points), RGB_POINT)
        table["xyz"] = cloud.points
        red, green, blue = cloud.colours.astype(np.uint32).T
        table["rgb"] = red << 16 | green << 8 | blue
        table["confidence"] = cloud.confidence
        fields = [
            self._make("sensor_msgs/msg/PointField", name=name, offset=offset, datatype=_FLOAT32, count=1)
            for name, offset in (("x", 0), ("y", 4), ("z", 8), ("rgb", 12), ("confidence", 16))
        ]
        return self._make(
            "sensor_msgs/msg/PointCloud2",
            header=self.header(time, frame),
            height=1,
            width=len(table),
            fields=fields,
            is_bigendian=False,
            point_step=table.itemsize,
            row_step=table.nbytes,
            data=np.frombuffer(table.tobytes(), np.uint8),
            is_dense=bool(np.isfinite(table["xyz"]).all()),
        )

    def diagnostics(self, time: int, name: str, level: int, message: str, values: Mapping[str, object]) -> Any:
        """level: 0 OK, 1 WARN, 2 ERROR."""
        pairs = [self._make("diagnostic_msgs/msg/KeyValue", key=key, value=str(value)) for key, value in values.items()]
        status = self._make(
            "diagnostic_msgs/msg/DiagnosticStatus",
            level=level,
            name=name,
            message=message,
            hardware_id="",
            values=pairs,
        )
        return self._make("diagnostic_msgs/msg/DiagnosticArray", header=self.header(time, ""), status=[status])

    def _pose(self, pose: Array) -> Any:
        point, turn = self._parts(pose, "geometry_msgs/msg/Point")
        return self._make("geometry_msgs/msg/Pose", position=point, orientation=turn)

    def _parts(self, pose: Array, kind: str) -> tuple[Any, Any]:
        translation, quaternion = se3.to_quat_xyzw(pose)
        x, y, z, w = map(float, quaternion)
        return self._xyz(kind, translation), self._make("geometry_msgs/msg/Quaternion", x=x, y=y, z=z, w=w)

    def _xyz(self, kind: str, values: Array) -> Any:
        x, y, z = map(float, values)
        return self._make(kind, x=x, y=y, z=z)
