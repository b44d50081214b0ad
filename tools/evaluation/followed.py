"""What a subscriber has of several cameras when a session is over: the path of each, in the map as it was said last."""

from __future__ import annotations

import threading
from collections import defaultdict

from spark3r_core.geometry.sim3 import Sim3
from spark3r_stream.map.final_path import FinalPath
from spark3r_stream.map.trajectory import Trajectory
from spark3r_stream.pubsub.subscriber import Subscriber
from spark3r_stream.wire.decode import decode
from spark3r_stream.wire.envelope import DEPTH_CALIB, FRAME, MAP_CORRECTION, STATUS, Message
from spark3r_stream.wire.messages import Calibration, FrameResult, MapCorrections, SessionState, Status, submap_frame


class Followed:
    """Subscribes in a thread, until the session says that it is over."""

    def __init__(self, endpoint: str) -> None:
        self.map_frames: dict[str, str] = {}  # by camera, of its newest submap
        self.missed = 0
        self._endpoint = endpoint
        self._paths: dict[str, FinalPath] = defaultdict(FinalPath)
        self._submap_of: dict[tuple[str, int], int] = {}  # of a frame
        self._begun: dict[int, tuple[str, int]] = {}  # a submap's keyframe
        self._lies: dict[int, tuple[int, Sim3]] = {}  # by submap: revision, and where
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def paths(self, timeout_s: float = 60.0) -> dict[str, Trajectory]:
        """By camera; waits for the end of the session."""
        self._thread.join(timeout_s)
        for submap, (camera, frame_id) in self._begun.items():
            tracked = self._submap_of.get((camera, frame_id))
            self._paths[camera].begin(submap, frame_id, None if tracked == submap else tracked)
        return {name: path.final(lambda submap: self._lies[submap][1]) for name, path in self._paths.items()}

    def _follow(self) -> None:
        with Subscriber(self._endpoint, [FRAME, DEPTH_CALIB, MAP_CORRECTION, STATUS]) as subscriber:
            is_over = False
            while not is_over:
                message = subscriber.poll(0.25)
                is_over = message is not None and self._take(message)
            self.missed = sum(subscriber.missed.values())

    def _take(self, message: Message) -> bool:
        """Whether that was the last one."""
        camera, content = message.envelope.camera, decode(message)
        if isinstance(content, FrameResult) and content.valid and content.world_from_camera is not None:
            time_ns = content.captured_ns if content.pts_ns is None else content.pts_ns
            self._paths[camera].add(content.submap, time_ns, content.world_from_camera, content.frame_id)
            self._submap_of[camera, content.frame_id] = content.submap
        elif isinstance(content, MapCorrections):
            self.map_frames[camera] = content.map_frame
            for one in content.corrections:
                if one.revision >= self._lies.get(one.submap, (0, Sim3()))[0]:
                    self._lies[one.submap] = one.revision, one.map_from_submap
        elif isinstance(content, Calibration) and content.frame_name == submap_frame(message.envelope.submap):
            self._begun[message.envelope.submap] = camera, message.envelope.frame_id
        return isinstance(content, Status) and not camera and content.state in (SessionState.ENDED, SessionState.FAILED)
