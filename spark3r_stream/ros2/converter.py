"""What one message of the stream becomes in ROS 2: pure, the same for a bag and for the bridge.

Frames of reference are REP 105's: map → odom → base, in the axes of REP 103, and base → camera, the optical frame,
which does not move. While tracking is lost nothing of pose is said, and tf grows old.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from spark3r_core.geometry import se3
from spark3r_core.geometry.rotation import Array
from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.metric.steady_odometry import SteadyOdometry
from spark3r_stream.map.cloud import PointCloud
from spark3r_stream.ros2 import naming
from spark3r_stream.ros2.axes import BODY_FROM_OPTICAL, upright
from spark3r_stream.ros2.messages import Ros2Messages
from spark3r_stream.ros2.naming import Naming, Topic
from spark3r_stream.ros2.odometry import OdometryCovariance, Velocity, turned
from spark3r_stream.wire import envelope as wire
from spark3r_stream.wire.decode import decode
from spark3r_stream.wire.envelope import Envelope, Message
from spark3r_stream.wire.messages import (
    MAP_FRAME,
    ODOM_FRAME,
    Calibration,
    Cloud,
    DepthImage,
    FrameResult,
    LengthUnit,
    MapCorrection,
    MapCorrections,
    Picture,
    SessionState,
    Status,
    TrackingState,
    Transform,
    submap_frame,
)

TOPICS = (
    wire.FRAME, wire.TF, wire.CALIB, wire.IMAGE, wire.DEPTH_CALIB, wire.DEPTH, wire.CLOUD, wire.MAP_CORRECTION,
    wire.STATUS,
)  # fmt: skip
OK, WARN, ERROR = 0, 1, 2
_LEVELS = {SessionState.STALLED: WARN, SessionState.RECONNECTING: WARN, SessionState.FAILED: ERROR}
_KEPT_POSES = 64  # of windows of every frame, whose clouds follow them


class Outgoing(NamedTuple):
    """A message of ROS 2 and where it goes."""

    topic: Topic
    message: object


class Converter:
    """Of one stream; begins anew with each session.

    scale: metres per unit of the stream, while that does not say itself that it is a metre. gravity: (3,) down in the
    axes of the first camera, where the stream does not say which way is up. with_tf: whether tf is
    made. with_clock: whether /clock is made of the stamps, for files and recordings (`use_sim_time`).
    """

    def __init__(
        self,
        messages: Ros2Messages,
        names: Naming,
        scale: float = 1.0,
        gravity: tuple[float, float, float] = (0.0, 1.0, 0.0),
        *,
        with_tf: bool = True,
        with_clock: bool = False,
    ) -> None:
        self.now_ns = 0  # capture time of the newest frame
        self._messages, self._names = messages, names
        self._upright = upright(gravity)
        self._with_tf, self._with_clock = with_tf, with_clock
        self._given_scale = scale
        self._session_id: uuid.UUID | None = None
        self._map, self._odom = names.frame(names.map), names.frame(names.odom)
        self._base, self._camera = names.frame(names.base), names.frame(names.camera)
        self._begin()

    def _begin(self) -> None:
        self.now_ns = 0
        self._placed: dict[str, Sim3] = {}  # by the name of the submap's frame
        self._map_from_odom = np.eye(4)
        self._tracked_id = -1  # newest frame whose pose means something
        self._camera_seen: set[int] = set()  # keyframes whose points are out in the camera's frame
        self._poses: dict[int, Array] = {}  # by frame id, with windows of every frame
        self._covariance, self._velocity = OdometryCovariance(), Velocity()
        self._odometry_steps = SteadyOdometry()
        self._know_unit(LengthUnit.MODEL, False)

    def fixed(self, time_ns: int) -> list[Outgoing]:
        """What is said once: base → camera."""
        if not self._with_tf:
            return []
        message = self._messages.transform(time_ns, BODY_FROM_OPTICAL, self._base, self._camera)
        return [Outgoing(naming.TF_STATIC, message)]

    def so_far(
        self, session_id: uuid.UUID, corrections: Iterable[MapCorrection], clouds: Iterable[Cloud]
    ) -> list[Outgoing]:
        """What a late joiner is told of the map."""
        self._enter(session_id)
        self._place(corrections)
        return [Outgoing(naming.POINTS, self._map_points(cloud)) for cloud in clouds]

    def of(self, message: Message) -> list[Outgoing]:
        """What one message becomes, in order. Raises WireError for one that cannot be decoded."""
        content, envelope = decode(message), message.envelope
        self._enter(envelope.session_id)
        match content:
            case MapCorrections():
                self._place(content.corrections)
            case FrameResult():
                return self._frame(content)
            case Transform() if (content.parent, content.child) == (MAP_FRAME, ODOM_FRAME):
                if self._with_tf and envelope.frame_id == self._tracked_id:
                    return [self._tf(content.captured_ns, self._map_from_odom, self._map, self._odom)]
            case Calibration():
                camera = content.camera
                topic = naming.CAMERA_INFO if message.topic == wire.CALIB else naming.DEPTH_INFO
                info = self._messages.camera_info(
                    content.captured_ns, camera.matrix, (camera.height, camera.width), self._camera
                )
                return [Outgoing(topic, info)]
            case Picture():
                picture = self._messages.picture(content.captured_ns, content.jpeg, self._camera)
                return [Outgoing(naming.IMAGE, picture)]
            case DepthImage():
                depth = np.asarray(content.depth * np.float32(self._length_in(content.frame_name)), np.float32)
                return [Outgoing(naming.DEPTH, self._messages.depth(content.captured_ns, depth, self._camera))]
            case Cloud():
                return self._cloud(content, envelope)
            case Status():
                return [Outgoing(naming.DIAGNOSTICS, self._status(content))]
        return []

    def _enter(self, session_id: uuid.UUID) -> None:
        if session_id != self._session_id:
            self._session_id = session_id
            self._begin()

    def _place(self, corrections: Iterable[MapCorrection]) -> None:
        for correction in corrections:
            self._placed[submap_frame(correction.submap)] = correction.map_from_submap
            self._know_unit(correction.unit, correction.map_z_up)

    def _frame(self, frame: FrameResult) -> list[Outgoing]:
        made = []
        self.now_ns = max(self.now_ns, frame.captured_ns)
        if self._with_clock:
            made.append(Outgoing(naming.CLOCK, self._messages.clock(self.now_ns)))
        if not frame.valid or frame.world_from_camera is None:
            return made
        self._know_unit(frame.unit, frame.map_z_up)
        covariance = self._covariance.of(frame)  # of lost frames, too: it goes on from keyframe to keyframe
        if frame.state is TrackingState.LOST:
            return made
        self._tracked_id = frame.frame_id
        in_map = self._placed.get(frame.frame_name, Sim3()).apply_to_poses(frame.world_from_camera)
        base = self._of_base(in_map)
        made.append(Outgoing(naming.POSE, self._messages.pose(frame.captured_ns, base, self._map)))
        if frame.odom_from_camera is None:  # windows of every frame
            self._poses[frame.frame_id] = frame.world_from_camera
            if len(self._poses) > _KEPT_POSES:
                del self._poses[next(iter(self._poses))]
            return [*made, self._tf(frame.captured_ns, base, self._map, self._base)] if self._with_tf else made
        odom_from_camera = self._odometry_steps.published(frame.odom_from_camera, self._scale)
        moved = np.asarray(self._upright @ odom_from_camera @ BODY_FROM_OPTICAL.T, np.float64)
        self._map_from_odom = np.asarray(se3.require_se3(se3.compose(base, se3.invert(moved))), np.float64)
        if self._with_tf:
            made.append(self._tf(frame.captured_ns, moved, self._odom, self._base))
        if covariance is not None and frame.covariance is not None:
            length = self._length_in(frame.frame_name)
            odometry = self._odometry(frame.captured_ns, moved, covariance, frame.covariance, length)
            made.append(Outgoing(naming.ODOMETRY, odometry))
        return made

    def _odometry(
        self, time_ns: int, odom_from_base: Array, covariance: Array, to_keyframe: Array, length: float
    ) -> object:
        """covariance, to_keyframe: (6, 6) of the camera in its own axes, in odometry and to its keyframe; length:
        metres per unit of both."""
        body = BODY_FROM_OPTICAL[:3, :3]
        in_odom = turned(covariance, odom_from_base[:3, :3] @ body, length)
        in_base = turned(to_keyframe, body, length)
        twist, twist_covariance = self._velocity.of(time_ns, odom_from_base, in_base)
        return self._messages.odometry(
            time_ns, odom_from_base, in_odom, twist, twist_covariance, self._odom, self._base
        )

    def _cloud(self, cloud: Cloud, envelope: Envelope) -> list[Outgoing]:
        """In the map; and, the first time, as the camera saw it. Better points that come later are old by then."""
        made = [Outgoing(naming.POINTS, self._map_points(cloud))]
        if envelope.frame_id not in self._camera_seen:
            self._camera_seen = {*sorted(self._camera_seen)[-_KEPT_POSES:], envelope.frame_id}
            points = cloud.points.astype(np.float64)
            if envelope.frame_id in self._poses:
                points = se3.transform_points(se3.invert(self._poses[envelope.frame_id]), points)
            length = self._length_in(cloud.frame_name)
            message = self._messages.cloud(cloud.captured_ns, _coloured(cloud, length * points), self._camera)
            made.append(Outgoing(naming.CAMERA_POINTS, message))
        return made

    def _map_points(self, cloud: Cloud) -> object:
        placed = self._placed.get(cloud.frame_name, Sim3())
        points = self._scale * placed.apply_to_points(cloud.points.astype(np.float64)) @ self._map_axes[:3, :3].T
        return self._messages.cloud(cloud.captured_ns, _coloured(cloud, points), self._map)

    def _status(self, status: Status) -> object:
        values = {
            "frames per second": f"{status.frames_per_second:.1f}",
            "latency p95 ms": f"{status.latency_p95_ms:.0f}",
            "frames processed": status.frames_processed,
            "frames failed": status.frames_failed,
            "frames lost": sum(status.drops.values()),
            "tracking": "" if status.tracking is None else status.tracking.name,
        }
        lost = status.state is SessionState.RUNNING and status.tracking is TrackingState.LOST
        level = WARN if lost else _LEVELS.get(status.state, OK)
        message = status.last_error or ("tracking is lost" if lost else status.state.name)
        name = self._names.frame("spark3r")
        return self._messages.diagnostics(self.now_ns, name, level, message, values)

    def _know_unit(self, unit: LengthUnit, map_z_up: bool) -> None:
        """Once the stream says so, lengths in the map are metres and its z is up: nothing is to be done then."""
        self._is_metric = unit is LengthUnit.METRE
        self._scale = 1.0 if self._is_metric else self._given_scale
        self._map_axes = np.eye(4) if map_z_up else self._upright

    def _length_in(self, frame_name: str) -> float:
        """Metres per unit of what is given in a submap."""
        return self._placed.get(frame_name, Sim3()).scale if self._is_metric else self._scale

    def _of_base(self, world_from_camera: Array) -> Array:
        """A camera in the stream's axes as the base in ROS's."""
        scaled = np.array(world_from_camera, np.float64)
        scaled[:3, 3] *= self._scale
        return np.asarray(self._map_axes @ scaled @ BODY_FROM_OPTICAL.T, np.float64)

    def _tf(self, time_ns: int, pose: Array, parent: str, child: str) -> Outgoing:
        return Outgoing(naming.TF, self._messages.transform(time_ns, pose, parent, child))


def _coloured(cloud: Cloud, points: Array) -> PointCloud:
    colours = np.ascontiguousarray(cloud.colours[:, :3])
    return PointCloud(points.astype(np.float32), colours, np.asarray(cloud.confidence))
