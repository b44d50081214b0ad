"""What a subscriber has of several cameras when a session is over: the path of each, in the map as it was said last."""

from __future__ import annotations

import threading
from collections import defaultdict

from spark3r_stream.evaluation.paths import SaidPath
from spark3r_stream.map.trajectory import Trajectory
from spark3r_stream.pubsub.subscriber import Subscriber
from spark3r_stream.wire.decode import decode
from spark3r_stream.wire.envelope import STATUS, Message
from spark3r_stream.wire.messages import MapCorrections, SessionState, Status


class Followed:
    """Subscribes in a thread, until the session says that it is over."""

    def __init__(self, endpoint: str) -> None:
        self.map_frames: dict[str, str] = {}  # by camera, of its newest submap
        self.missed = 0
        self._endpoint = endpoint
        self._paths: dict[str, SaidPath] = defaultdict(lambda: SaidPath(own_times=True))
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def paths(self, timeout_s: float = 60.0) -> dict[str, Trajectory]:
        """By camera; waits for the end of the session."""
        self._thread.join(timeout_s)
        return {name: path.final() for name, path in self._paths.items() if not path.is_empty}

    def _follow(self) -> None:
        with Subscriber(self._endpoint, [*SaidPath.TOPICS, STATUS]) as subscriber:
            is_over = False
            while not is_over:
                message = subscriber.poll(0.25)
                is_over = message is not None and self._take(message)
            self.missed = sum(subscriber.missed.values())

    def _take(self, message: Message) -> bool:
        """Whether that was the last one."""
        camera, content = message.envelope.camera, decode(message)
        self._paths[camera].take(message, content)
        if isinstance(content, MapCorrections):
            self.map_frames[camera] = content.map_frame
        return isinstance(content, Status) and not camera and content.state in (SessionState.ENDED, SessionState.FAILED)
