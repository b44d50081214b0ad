"""A recording as a ROS 2 bag: what was published, when it was published, in ROS's messages.

/tf (map -> odom -> camera), /pose and /camera_info per frame, /points per keyframe in `map`, where each lay by then.
Points and poses that a later correction moved are not sent again. Axes and unit: as in ros2.py. The bag's clock is that
of the frames, so that stamps and `ros2 bag play --clock` agree.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from spark3r_core.geometry.sim3 import Sim3
from spark3r_stream.errors import OutputError
from spark3r_stream.export.bag import new_bag
from spark3r_stream.export.folder import ExportFolder
from spark3r_stream.export.model import Z_UP
from spark3r_stream.export.ros2_messages import CAMERA, MAP, ODOM, Ros2Messages
from spark3r_stream.map.cloud import PointCloud
from spark3r_stream.recording.reader import Recording
from spark3r_stream.wire import envelope as wire
from spark3r_stream.wire.decode import decode
from spark3r_stream.wire.messages import Calibration, Cloud, FrameResult, MapCorrections, Transform, submap_frame

TOPICS = {
    "/tf": "tf2_msgs/msg/TFMessage",
    "/pose": "geometry_msgs/msg/PoseStamped",
    "/camera_info": "sensor_msgs/msg/CameraInfo",
    "/points": "sensor_msgs/msg/PointCloud2",
}
_READ = (wire.MAP_CORRECTION, wire.FRAME, wire.TF, wire.CALIB, wire.CLOUD)


def write_recording_bag(path: Path, folder: ExportFolder) -> int:
    """bag/bag.mcap and bag/metadata.yaml; the messages written. Raises OutputError, RecordingError or WireError."""
    converter = _Converter()
    count = 0
    with new_bag(folder, TOPICS, converter.messages) as send:
        for message in Recording(path).messages(_READ):
            for topic, content in converter.of(decode(message), message.envelope.captured_ns):
                send(topic, converter.now_ns, content)
                count += 1
    if not count:
        raise OutputError(f"{path} holds nothing for a bag; was it recorded by `run --record`?")
    return count


class _Converter:
    """now_ns: capture time of the newest frame so far: the bag's clock."""

    def __init__(self) -> None:
        self.messages = Ros2Messages()
        self.now_ns = 0
        self._placed: dict[str, Sim3] = {}  # by the name of the submap's frame

    def of(self, content: Any, captured_ns: int) -> list[tuple[str, Any]]:
        """What one message becomes."""
        if captured_ns < 0:
            raise OutputError("ROS has no times before 1970, and this recording has")
        if isinstance(content, MapCorrections):
            for correction in content.corrections:
                self._placed[submap_frame(correction.submap)] = correction.map_from_submap
            return []
        if isinstance(content, Cloud):
            return [("/points", self._cloud(content))]
        self.now_ns = max(self.now_ns, captured_ns)
        if isinstance(content, Transform) and (content.parent, content.child) in ((MAP, ODOM), (ODOM, CAMERA)):
            turned = Z_UP if content.parent == MAP else np.eye(4)
            pose = np.asarray(turned @ content.parent_from_child, np.float64)
            return [("/tf", self.messages.transform(captured_ns, pose, content.parent, content.child))]
        if isinstance(content, Calibration) and content.frame_name == CAMERA:
            camera = content.camera
            hw = (camera.height, camera.width)
            return [("/camera_info", self.messages.camera_info(captured_ns, camera.matrix, hw))]
        if isinstance(content, FrameResult) and content.valid and content.world_from_camera is not None:
            placed = self._placed.get(content.frame_name, Sim3())
            pose = placed.apply_to_poses(content.world_from_camera)
            return [("/pose", self.messages.pose(captured_ns, np.asarray(Z_UP @ pose, np.float64)))]
        return []

    def _cloud(self, cloud: Cloud) -> Any:
        placed = self._placed.get(cloud.frame_name, Sim3())
        points = placed.apply_to_points(cloud.points.astype(np.float64)).astype(np.float32)
        colours = np.ascontiguousarray(cloud.colours[:, :3])
        return self.messages.cloud(cloud.captured_ns, PointCloud(points, colours, np.asarray(cloud.confidence)))
