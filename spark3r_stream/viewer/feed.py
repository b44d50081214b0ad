"""From messages to a scene: what a page and an offscreen picture have in common. A viewer is only a subscriber."""

from __future__ import annotations

import sys
import time
import uuid
from typing import Protocol

import numpy as np

from spark3r_stream.errors import VersionMismatch, WireError
from spark3r_stream.map.scene_map import SceneMap
from spark3r_stream.plain_text import cleaned
from spark3r_stream.pubsub.snapshot import Snapshot
from spark3r_stream.pubsub.subscriber import Subscriber
from spark3r_stream.viewer.keyframe_picture import KeyframePicture, picture_of_points
from spark3r_stream.wire.decode import decode, submap_number
from spark3r_stream.wire.envelope import DEPTH_CALIB, Message
from spark3r_stream.wire.messages import (
    Calibration,
    CameraView,
    Cloud,
    FrameResult,
    MapCorrections,
    SessionState,
    Status,
)

_JOIN_S = 15.0
_CLOUD_PARTS = 32


class MessageSource(Protocol):
    """A `Subscriber`, or a recording that is played."""

    def poll(self, timeout_s: float | None = 0.0) -> Message | None:
        """The next message, or None when nothing came in time."""
        ...


class SceneFeed:
    """Fills a SceneMap from a message source; from a Subscriber, beginning with the map so far at every connection.

    ended: the publisher said that its session is over. frame, status: the newest of this session. picture: of its
    newest keyframe. sessions: begun so far. malformed: messages that could not be decoded and were skipped.
    """

    def __init__(self, source: MessageSource, scene: SceneMap) -> None:
        self.scene = scene
        self.ended = False
        self.frame: FrameResult | None = None
        self.status: Status | None = None
        self.picture: KeyframePicture | None = None
        self.sessions = 0
        self.malformed = 0
        self._source = source
        self._session_id: uuid.UUID | None = None
        self._only = source.camera if isinstance(source, Subscriber) else ""
        self._depth_camera: tuple[tuple[str, int], CameraView] | None = None  # with camera and frame it belongs to
        self._joined_connection = 0

    def take(self, budget_s: float, wait_s: float = 0.0) -> int:
        """Take waiting messages for at most `budget_s`, waiting up to `wait_s` for the first. Returns their number."""
        self._join()
        deadline, taken = time.monotonic() + budget_s, 0
        message = self._source.poll(wait_s)
        while message is not None:
            self._handle(message)
            taken += 1
            if time.monotonic() >= deadline:
                break
            message = self._source.poll(0.0)
        return taken

    def _join(self) -> None:
        """Once per connection: what was published while there was none is in the publisher's map, if it keeps one."""
        source = self._source
        if not isinstance(source, Subscriber) or not source.connected or source.connections == self._joined_connection:
            return
        self._joined_connection = source.connections
        if not source.offers_snapshot:
            return
        try:
            self._start_with(source.join(_JOIN_S, self.scene.max_points))
        except VersionMismatch:
            raise
        except WireError as error:
            print(f"spark3r: showing only what comes from now on: {cleaned(error)}", file=sys.stderr)

    def _start_with(self, snapshot: Snapshot) -> None:
        if snapshot.session_id != self._session_id:
            self._begin(snapshot.session_id)
        self.scene.clear()
        for pose in snapshot.trajectory:
            self.scene.add_pose(
                pose.world_from_camera, pose.captured_ns, pose.submap, camera=pose.camera, frame_id=pose.frame_id
            )
        self.scene.add(MapCorrections(tuple(snapshot.corrections.values())))
        # In parts, because the scene takes its finest detail from the extent of the first cloud it gets: that of some
        # frames, as in a stream, not of all of them. Where there are many submaps, each holds a frame or few.
        parts = max(1, _CLOUD_PARTS // max(1, len(snapshot.clouds)))
        for submap, cloud in snapshot.clouds.items():
            self.scene.note_cloud_time(submap, cloud.captured_ns)
            columns = [np.array_split(c, parts) for c in (cloud.points, cloud.colours, cloud.confidence)]
            for points, colours, confidence in zip(*columns, strict=True):
                self.scene.add_cloud(points, colours, confidence, submap)

    def _begin(self, session_id: uuid.UUID) -> None:
        if self._session_id is not None:
            self.scene.clear()
        self._session_id, self.ended = session_id, False
        self.frame, self.status, self.picture, self._depth_camera = None, None, None, None
        self.sessions += 1

    def _handle(self, message: Message) -> None:
        if message.envelope.session_id != self._session_id:
            self._begin(message.envelope.session_id)
        try:
            content = decode(message)
        except WireError:
            self.malformed += 1
            return
        if isinstance(content, Status):
            self.status = content
            is_over = content.state in (SessionState.ENDED, SessionState.FAILED)
            self.ended = is_over and message.envelope.camera in ("", self._only)
        elif isinstance(content, FrameResult):
            self.frame = content
        elif isinstance(content, Calibration) and message.topic == DEPTH_CALIB:
            self._depth_camera = ((message.envelope.camera, message.envelope.frame_id), content.camera)
        elif isinstance(content, Cloud):
            self._picture_of(content, message.envelope.camera, message.envelope.frame_id)
        self.scene.add(content, message.envelope.camera)

    def _picture_of(self, cloud: Cloud, camera_name: str, frame_id: int) -> None:
        if self._depth_camera is None or self._depth_camera[0] != (camera_name, frame_id):
            return
        pose, frame = np.eye(4), self.frame  # a keyframe is the origin of its submap
        if frame is not None and frame.keyframe_id is None and frame.frame_id == frame_id:  # windows of every frame
            pose = pose if frame.world_from_camera is None else frame.world_from_camera
        camera = self._depth_camera[1]
        image = picture_of_points(cloud.points, cloud.colours, camera, pose)
        if image is not None:
            submap = submap_number(cloud.frame_name)
            self.picture = KeyframePicture(frame_id, cloud.captured_ns, submap, pose, camera, image)
