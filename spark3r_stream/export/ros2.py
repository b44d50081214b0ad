"""A ROS 2 bag (rosbag2, MCAP storage) that `ros2 bag play` plays without anything of ours.

Per keyframe, at its time: /tf (map -> camera), /camera_info and /image/compressed of its picture, /points of its depth
in `map`; and at the end /path of all. `map` has z up (REP 103), `camera` is an optical frame (z ahead). Lengths are in
the unit of the map, which is a metre only if the map's is.
"""

from __future__ import annotations

import numpy as np

from spark3r_stream.errors import OutputError
from spark3r_stream.export.bag import new_bag
from spark3r_stream.export.dense import keyframe_cloud
from spark3r_stream.export.folder import ExportFolder
from spark3r_stream.export.model import Z_UP, ExportModel, time_ns
from spark3r_stream.export.ros2_messages import Ros2Messages

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
    if time_ns(model.keyframes[0]) < 0:
        raise OutputError("ROS has no times before 1970, and this map begins there")
    messages = Ros2Messages()
    each = max(1, max_points // len(model.keyframes))
    poses = []
    with new_bag(folder, TOPICS, messages) as send:
        for slot, keyframe in enumerate(model.keyframes):
            at = time_ns(keyframe)
            pose = np.asarray(Z_UP @ keyframe.world_from_camera, np.float64)
            poses.append((at, pose))
            send("/tf", at, messages.transform(at, pose))
            send("/camera_info", at, messages.camera_info(at, model.camera, model.world.picture_hw))
            send("/image/compressed", at, messages.picture(at, keyframe.picture))
            send("/points", at, messages.cloud(at, keyframe_cloud(model, slot, each)))
        send("/path", poses[-1][0], messages.path(poses))
