"""A ROS 2 bag (rosbag2, MCAP storage) that `ros2 bag play` plays without anything of ours.

Per keyframe, at its time: /tf (map -> camera), /camera_info and /image/compressed of its picture, /points of its depth
in `map`; and at the end /path of all. `map` has z up (REP 103), `camera` is an optical frame (z ahead). Lengths are in
the unit of the map, which is a metre only if the map's is.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from spark3r_core.geometry import se3
from spark3r_core.stream.keyframe_map import Array
from spark3r_stream.errors import OutputError
from spark3r_stream.export.dense import keyframe_cloud
from spark3r_stream.export.folder import ExportFolder
from spark3r_stream.export.model import Z_UP, ExportModel, time_ns
from spark3r_stream.map.cloud import PointCloud

MAP, CAMERA = "map", "camera"
RGB_POINT = np.dtype([("xyz", "<f4", 3), ("rgb", "<u4"), ("confidence", "<f4")])
TOPICS = {
    "/tf": "tf2_msgs/msg/TFMessage",
    "/camera_info": "sensor_msgs/msg/CameraInfo",
    "/image/compressed": "sensor_msgs/msg/CompressedImage",
    "/points": "sensor_msgs/msg/PointCloud2",
    "/path": "nav_msgs/msg/Path",
}


def write_ros2bag(model: ExportModel, folder: ExportFolder, max_points: int) -> None:
    """bag/bag.mcap and bag/metadata.yaml. max_points: of all clouds.

    Raises OutputError if a picture is missing, for times before 1970, or if the disk refuses.
    """
    from rosbags.rosbag2 import StoragePlugin, Writer

    if time_ns(model.keyframes[0]) < 0:
        raise OutputError("ROS has no times before 1970, and this map begins there")
    target = folder.path / "bag"
    if target.exists() or target.is_symlink():
        raise OutputError(f"{target} exists and a bag is not written over; remove it, or give another folder")
    messages = _Messages()
    each = max(1, max_points // len(model.keyframes))
    try:
        with Writer(target, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
            channels = {
                topic: writer.add_connection(topic, kind, typestore=messages.types) for topic, kind in TOPICS.items()
            }

            def send(topic: str, time: int, message: Any) -> None:
                writer.write(channels[topic], time, messages.types.serialize_cdr(message, TOPICS[topic]))

            poses = []
            for slot, keyframe in enumerate(model.keyframes):
                at = time_ns(keyframe)
                pose = np.asarray(Z_UP @ keyframe.world_from_camera, np.float64)
                poses.append((at, pose))
                send("/tf", at, messages.transform(at, pose))
                send("/camera_info", at, messages.camera_info(at, model.camera, model.world.picture_hw))
                send("/image/compressed", at, messages.picture(at, keyframe.picture))
                send("/points", at, messages.cloud(at, keyframe_cloud(model, slot, each)))
            send("/path", poses[-1][0], messages.path(poses))
    except OSError as error:
        raise OutputError(f"cannot write the bag {target}: {error.strerror}") from None


class _Messages:
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

    def transform(self, time: int, map_from_camera: Array) -> Any:
        (x, y, z), turn = self._parts(map_from_camera)
        shift = self.make("geometry_msgs/msg/Vector3", x=x, y=y, z=z)
        rigid = self.make("geometry_msgs/msg/Transform", translation=shift, rotation=turn)
        stamped = self.make(
            "geometry_msgs/msg/TransformStamped", header=self.header(time, MAP), child_frame_id=CAMERA, transform=rigid
        )
        return self.make("tf2_msgs/msg/TFMessage", transforms=[stamped])

    def path(self, poses: list[tuple[int, Array]]) -> Any:
        stamped = []
        for time, map_from_camera in poses:
            (x, y, z), turn = self._parts(map_from_camera)
            point = self.make("geometry_msgs/msg/Point", x=x, y=y, z=z)
            pose = self.make("geometry_msgs/msg/Pose", position=point, orientation=turn)
            stamped.append(self.make("geometry_msgs/msg/PoseStamped", header=self.header(time, MAP), pose=pose))
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
