"""A ROS 2 bag (rosbag2, MCAP storage) that `ros2 bag play` plays without anything of ours.

Per keyframe, at its time: /tf (map -> camera_link), /camera_info and /image/compressed of its picture, /points of its
depth in `map`; and at the end /path of all. Axes are those of REP 103. Lengths are in the unit of the map, which is a
metre only if the map's is.
"""

from __future__ import annotations

import numpy as np

from spark3r_stream.errors import OutputError
from spark3r_stream.export.bag import new_bag
from spark3r_stream.export.dense import keyframe_cloud
from spark3r_stream.export.folder import ExportFolder
from spark3r_stream.export.model import ExportModel, time_ns
from spark3r_stream.ros2 import naming
from spark3r_stream.ros2.axes import BODY_FROM_OPTICAL, upright
from spark3r_stream.ros2.messages import Ros2Messages
from spark3r_stream.ros2.naming import Naming
from spark3r_stream.ros2.types import BagTypes


def write_ros2bag(model: ExportModel, folder: ExportFolder, max_points: int) -> None:
    """bag/bag.mcap and bag/metadata.yaml. max_points: of all clouds.

    Raises OutputError if a picture is missing, for times before 1970, or if the disk refuses.
    """
    begin = time_ns(model.keyframes[0])
    if begin < 0:
        raise OutputError("ROS has no times before 1970, and this map begins there")
    types, names, turn = BagTypes(), Naming(), np.eye(4) if model.z_up else upright()
    messages = Ros2Messages(types)
    each = max(1, max_points // len(model.keyframes))
    poses = []
    with new_bag(folder, names, types) as send:
        send(naming.TF_STATIC, begin, messages.transform(begin, BODY_FROM_OPTICAL, names.base, names.camera))
        for slot, keyframe in enumerate(model.keyframes):
            at = time_ns(keyframe)
            pose = np.asarray(turn @ keyframe.world_from_camera @ BODY_FROM_OPTICAL.T, np.float64)
            poses.append((at, pose))
            send(naming.TF, at, messages.transform(at, pose, names.map, names.base))
            info = messages.camera_info(at, model.camera, model.world.picture_hw, names.camera)
            send(naming.CAMERA_INFO, at, info)
            send(naming.IMAGE, at, messages.picture(at, keyframe.picture, names.camera))
            cloud = keyframe_cloud(model, slot, each)
            cloud = cloud._replace(points=(cloud.points @ turn[:3, :3].T).astype(np.float32))
            send(naming.POINTS, at, messages.cloud(at, cloud, names.map))
        send(naming.PATH, poses[-1][0], messages.path(poses, names.map))
