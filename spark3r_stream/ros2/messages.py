"""ROS 2 messages of plain values, by `rosbags`: nothing of ROS is installed for it."""

from __future__ import annotations

from typing import Any

import numpy as np

from spark3r_core.geometry import se3
from spark3r_core.geometry.rotation import Array
from spark3r_stream.export.model import Z_UP
from spark3r_stream.map.cloud import PointCloud

MAP, ODOM, CAMERA = "map", "odom", "camera"
RGB_POINT = np.dtype([("xyz", "<f4", 3), ("rgb", "<u4"), ("confidence", "<f4")])


class Ros2Messages:
    """ROS 2 messages of plain values, by the definitions of ROS 2 Humble, which later releases share."""

    def __init__(self) -> None:
        from rosbags.typesys import Stores, get_typestore

        self.types = get_typestore(Stores.ROS2_HUMBLE)
        self._of = self.types.types

    def make(self, kind: str, **fields: Any) -> Any:
        return self._of[kind](**fields)

    def header(self, time: int, frame: str) -> Any:
        seconds, nanoseconds = divmod(time, 1_000_000_000)
        stamp = self.make("builtin_interfaces/msg/Time", sec=seconds, nanosec=nanoseconds)
        return self.make("std_msgs/msg/Header", stamp=stamp, frame_id=frame)

    def transform(self, time: int, parent_from_child: Array, parent: str = MAP, child: str = CAMERA) -> Any:
        (x, y, z), turn = self._parts(parent_from_child)
        shift = self.make("geometry_msgs/msg/Vector3", x=x, y=y, z=z)
        rigid = self.make("geometry_msgs/msg/Transform", translation=shift, rotation=turn)
        stamped = self.make(
            "geometry_msgs/msg/TransformStamped",
            header=self.header(time, parent),
            child_frame_id=child,
            transform=rigid,
        )
        return self.make("tf2_msgs/msg/TFMessage", transforms=[stamped])

    def pose(self, time: int, map_from_camera: Array) -> Any:
        (x, y, z), turn = self._parts(map_from_camera)
        point = self.make("geometry_msgs/msg/Point", x=x, y=y, z=z)
        pose = self.make("geometry_msgs/msg/Pose", position=point, orientation=turn)
        return self.make("geometry_msgs/msg/PoseStamped", header=self.header(time, MAP), pose=pose)

    def path(self, poses: list[tuple[int, Array]]) -> Any:
        stamped = [self.pose(time, map_from_camera) for time, map_from_camera in poses]
        return self.make("nav_msgs/msg/Path", header=self.header(poses[-1][0], MAP), poses=stamped)

    def camera_info(self, time: int, camera: Array, picture_hw: tuple[int, int]) -> Any:
        """ROS puts pixel centres at integers."""
        k = camera.copy()
        k[:2, 2] -= 0.5
        roi = self.make("sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
        return self.make(
            "sensor_msgs/msg/CameraInfo",
            header=self.header(time, CAMERA),
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

    def picture(self, time: int, jpeg: bytes) -> Any:
        data = np.frombuffer(jpeg, np.uint8)
        return self.make("sensor_msgs/msg/CompressedImage", header=self.header(time, CAMERA), format="jpeg", data=data)

    def cloud(self, time: int, cloud: PointCloud) -> Any:
        table = np.empty(len(cloud.points), RGB_POINT)
        table["xyz"] = cloud.points @ Z_UP[:3, :3].T
        red, green, blue = cloud.colours.astype(np.uint32).T
        table["rgb"] = red << 16 | green << 8 | blue
        table["confidence"] = cloud.confidence
        floats = 7  # PointField.FLOAT32; `rgb` is a float by custom, with the bytes of a colour in it
        fields = [
            self.make("sensor_msgs/msg/PointField", name=name, offset=offset, datatype=floats, count=1)
            for name, offset in (("x", 0), ("y", 4), ("z", 8), ("rgb", 12), ("confidence", 16))
        ]
        return self.make(
            "sensor_msgs/msg/PointCloud2",
            header=self.header(time, MAP),
            height=1,
            width=len(table),
            fields=fields,
            is_bigendian=False,
            point_step=table.itemsize,
            row_step=table.nbytes,
            data=np.frombuffer(table.tobytes(), np.uint8),
            is_dense=True,
        )

    def _parts(self, pose: Array) -> tuple[list[float], Any]:
        translation, quaternion = se3.to_quat_xyzw(pose)
        x, y, z, w = map(float, quaternion)
        return [float(value) for value in translation], self.make("geometry_msgs/msg/Quaternion", x=x, y=y, z=z, w=w)
