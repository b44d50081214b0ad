"""The map so far, for those who join late: what the publisher keeps, and what a reply holds.

Bounded: when points or poses exceed their limit every second one goes, and from then on only every second new one is
taken, and so on. What is left is spread evenly over the whole run, however long, at an amortised constant cost.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from spark3r_core.errors import GeometryError
from spark3r_stream.errors import WireError
from spark3r_stream.proto import wire_pb2
from spark3r_stream.thinned import Thinned
from spark3r_stream.wire import envelope as wire
from spark3r_stream.wire.bulk_field import check_fields
from spark3r_stream.wire.decode import correction_from_proto, decode, decode_payload, pose_from_proto, submap_number
from spark3r_stream.wire.encode import correction_to_proto, pose_to_proto
from spark3r_stream.wire.envelope import Message
from spark3r_stream.wire.foxglove import encode_cloud
from spark3r_stream.wire.messages import (
    Cloud,
    FrameResult,
    MapCorrection,
    MapCorrections,
    PathCorrections,
    submap_frame,
)

MAX_REPLY_BYTES = 64 * wire.MIB
MAX_SUBMAPS = 4096
# By field number, how many and how large: protobuf makes thirty times as much of a reply full of empty messages.
_REPLY_FIELDS = {
    5: (2 * (wire.MOST_CAMERAS + 1) * len(wire.TOPICS), 256),  # positions
    6: (100_000, 512),  # trajectory
    7: (MAX_SUBMAPS, 4 * wire.KIB),  # corrections
    8: (MAX_SUBMAPS, MAX_REPLY_BYTES),  # clouds
}
_JOIN_CLOUDS = 256  # frames of a submap that are kept apart before they become one; a list of all would grow for ever


@dataclass(frozen=True, eq=False)
class TrajectoryPose:
    """One frame of the trajectory. world_from_camera: (4, 4) float64, world = the frame of `submap`. camera: its name,
    in a session of several; else empty."""

    frame_id: int
    captured_ns: int
    submap: int
    world_from_camera: NDArray[np.float64]
    camera: str = ""


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The map so far. It holds everything that was published before `positions` (next sequence number by topic, of
    several cameras by `/frame/left/` and the like).

    trajectory: in order, thinned when it grew too long.  corrections: the newest by submap.
    clouds: one by submap, in its frame.  points_left_out: published points that are not in `clouds`.
    """

    session_id: uuid.UUID
    positions: Mapping[str, int]
    trajectory: list[TrajectoryPose]
    corrections: dict[int, MapCorrection]
    clouds: dict[int, Cloud]
    points_left_out: int


class SnapshotKeeper:
    """Accumulates published messages. max_points, max_poses: the bounds. Belongs to the publisher's thread."""

    def __init__(self, max_points: int = 500_000, max_poses: int = 20_000) -> None:
        self._max_points = max_points
        self._max_poses = max_poses
        self.clear()

    def clear(self) -> None:
        """Begin a new session."""
        self._poses: Thinned[TrajectoryPose] = Thinned(self._max_poses)
        self._corrections: dict[int, MapCorrection] = {}
        self._clouds: dict[int, list[Cloud]] = {}
        self._points = 0
        self._points_seen = 0
        self._newest_points: dict[int, int] = {}  # of the newest cloud of a submap, as it was published
        self._point_stride = 1

    def add(self, message: Message) -> None:
        """Take what belongs to the map from a message; nothing from an unreadable one (of a damaged recording)."""
        if message.topic not in (wire.FRAME, wire.CLOUD, wire.MAP_CORRECTION, wire.PATH_CORRECTION):
            return
        try:
            content = decode(message)
        except WireError:
            return
        if isinstance(content, FrameResult) and content.world_from_camera is not None:
            self._add_pose(content, content.world_from_camera, message.envelope.camera)
        elif isinstance(content, Cloud):
            self._add_cloud(message.envelope.submap, content)
        elif isinstance(content, MapCorrections):
            self._corrections.update({correction.submap: correction for correction in content.corrections})
            while len(self._corrections) > MAX_SUBMAPS:
                del self._corrections[min(self._corrections)]
        elif isinstance(content, PathCorrections):
            self._correct_path(content, message.envelope.camera)

    def reply(self, request: bytes, session_id: uuid.UUID, positions: Mapping[str, int]) -> bytes:
        """The answer to a request from anyone; a malformed one gets an answer that says so."""
        reply = wire_pb2.SnapshotReply(
            schema_major=wire.SCHEMA_MAJOR, schema_minor=wire.SCHEMA_MINOR, session_id=session_id.bytes
        )
        try:
            asked = wire_pb2.SnapshotRequest.FromString(request)
        except DecodeError:
            reply.error = "not a SnapshotRequest"
            return reply.SerializeToString()
        reply.request_id = asked.request_id[:16]
        if asked.schema_major != wire.SCHEMA_MAJOR:
            found = f"{asked.schema_major}.{asked.schema_minor}"
            reply.error = f"request of schema version {found}; this publisher speaks {wire.SCHEMA_MAJOR}.x"
            return reply.SerializeToString()
        reply.positions.extend(
            wire_pb2.TopicPosition(topic=topic, next_sequence=number) for topic, number in positions.items()
        )
        reply.trajectory.extend(
            wire_pb2.TrajectoryPose(
                frame_id=pose.frame_id,
                captured_ns=pose.captured_ns,
                submap=pose.submap,
                world_from_camera=pose_to_proto(pose.world_from_camera),
                camera=pose.camera,
            )
            for pose in self._poses.items()
        )
        reply.corrections.extend(correction_to_proto(correction) for correction in self._corrections.values())
        limit = min(asked.max_points or self._max_points, self._max_points)
        stride = max(1, -(-self._points // limit))
        sent = 0
        for submap, clouds in self._clouds.items():
            cloud = _merged(clouds, stride)
            sent += len(cloud.points)
            reply.clouds.append(
                encode_cloud(cloud.captured_ns, submap_frame(submap), cloud.points, cloud.colours, cloud.confidence)
            )
        reply.points_left_out = self._points_seen - sent
        return reply.SerializeToString()

    def _add_pose(self, result: FrameResult, world_from_camera: NDArray[np.float64], camera: str) -> None:
        self._poses.add(TrajectoryPose(result.frame_id, result.captured_ns, result.submap, world_from_camera, camera))

    def _correct_path(self, content: PathCorrections, camera: str) -> None:
        corrected = {one.frame_id: one.submap_from_camera for one in content.frames}

        def where_it_lies(pose: TrajectoryPose) -> TrajectoryPose:
            lies = corrected.get(pose.frame_id) if pose.camera == camera else None
            return pose if lies is None else replace(pose, world_from_camera=lies)

        self._poses.change(where_it_lies)

    def _add_cloud(self, submap: int, cloud: Cloud) -> None:
        self._points_seen += len(cloud.points)
        kept = _thinned(cloud, self._point_stride)
        if len(self._clouds) >= MAX_SUBMAPS and submap not in self._clouds:
            return
        clouds = self._clouds.setdefault(submap, [])
        if clouds and clouds[-1].captured_ns == cloud.captured_ns:  # the same keyframe with better depth
            self._points -= len(clouds.pop().points)
            self._points_seen -= self._newest_points[submap]
        self._newest_points[submap] = len(cloud.points)
        clouds.append(kept)
        if len(clouds) >= _JOIN_CLOUDS:
            clouds[:] = [_merged(clouds)]
        self._points += len(kept.points)
        while self._points > max(self._max_points, len(self._clouds)):
            self._point_stride *= 2
            # over the whole submap: every second point of each frame would leave one of each for ever
            self._clouds = {key: [_merged(clouds, stride=2)] for key, clouds in self._clouds.items()}
            self._points = sum(len(c.points) for clouds in self._clouds.values() for c in clouds)


def parse_reply(data: bytes) -> Snapshot:
    """A reply from anyone. Raises WireError for a malformed one or a refusal, VersionMismatch for another version."""
    if len(data) > MAX_REPLY_BYTES:
        raise WireError(f"snapshot of {len(data)} bytes; at most {MAX_REPLY_BYTES} are allowed")
    try:
        check_fields(data, _REPLY_FIELDS)
        reply = wire_pb2.SnapshotReply.FromString(data)
        if len(reply.session_id) == 16:
            wire.check_major("the publisher", reply.schema_major, reply.schema_minor)
        if reply.error:
            raise WireError(f"the publisher refused a snapshot: {reply.error[:200]}")
        clouds = {}
        for payload in reply.clouds:
            cloud = decode_payload(wire.CLOUD, payload)
            assert isinstance(cloud, Cloud)
            clouds[submap_number(cloud.frame_name)] = cloud
        with np.errstate(all="ignore"):  # a hostile 1e300 is refused, without a warning on the way
            corrections = {m.submap: correction_from_proto(m) for m in reply.corrections}
            trajectory = [
                TrajectoryPose(m.frame_id, m.captured_ns, m.submap, pose_from_proto(m.world_from_camera), m.camera)
                for m in reply.trajectory
            ]
    except (DecodeError, GeometryError) as error:
        raise WireError(f"unreadable snapshot: {error}") from None
    if any(pose.camera and not wire.is_camera_name(pose.camera) for pose in trajectory):
        raise WireError("a snapshot with a camera whose name is none")
    return Snapshot(
        session_id=wire.session_from_bytes(reply.session_id),
        positions={p.topic: p.next_sequence for p in reply.positions if wire.is_topic(p.topic)},
        trajectory=trajectory,
        corrections=corrections,
        clouds=clouds,
        points_left_out=reply.points_left_out,
    )


def _thinned(cloud: Cloud, stride: int) -> Cloud:
    """Every stride-th point, as copies: a view would keep the whole payload alive."""
    return Cloud(
        cloud.captured_ns,
        cloud.frame_name,
        cloud.points[::stride].copy(),
        cloud.colours[::stride].copy(),
        cloud.confidence[::stride].copy(),
    )


def _merged(clouds: list[Cloud], stride: int = 1) -> Cloud:
    """One cloud of every stride-th point of all of them, in order; its time is the newest one's."""
    both = Cloud(
        clouds[-1].captured_ns,
        clouds[-1].frame_name,
        np.concatenate([c.points for c in clouds]),
        np.concatenate([c.colours for c in clouds]),
        np.concatenate([c.confidence for c in clouds]),
    )
    return both if stride == 1 else _thinned(both, stride)
