"""The way of a camera's messages to the outlet: never waited for, bounded, and what does not fit is counted.

Beside the messages go notes of what they say of the camera's map, see `outlet.Notes`.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import RayError

from spark3r_stream.engine.results import StepOutput
from spark3r_stream.fleet.outlet import Notes
from spark3r_stream.frame import Frame
from spark3r_stream.wire.envelope import Message

MOST_UNDER_WAY = 64  # calls that the outlet has not answered: four seconds of a camera


class OutletLink:
    """A publisher to the camera's run, and a sink that is told of each step before its messages come.

    outlet: handle of the actor. dropped: messages that were given up because too much was under way.
    """

    def __init__(self, outlet: Any, name: str, endpoint: str) -> None:
        self.endpoint = endpoint
        self.subscribers = 0
        self.dropped = 0
        self._outlet, self._name = outlet, name
        self._under_way: deque[Any] = deque()
        self._notes = Notes()
        self._guard = threading.Lock()

    def window(self, frames: Sequence[Frame], result: StepOutput) -> None:
        last = frames[-1] if frames else None
        with self._guard:
            before = self._notes
            self._notes = Notes(
                before.frame_id if last is None else last.frame_id,
                before.epoch if last is None else last.epoch,
                {**before.submaps, **{one.frame_id: one.submap for one in result.keyframes}},
                {**before.revisions, **{one.submap: one.revision for one in result.corrections}},
            )

    def send(self, messages: list[Message]) -> None:
        with self._guard:
            self._settle()
            if len(self._under_way) >= MOST_UNDER_WAY:
                self.dropped += len(messages)  # the notes wait for the next ones
                return
            self._under_way.append(self._outlet.take.remote(self._name, messages, self._notes))
            self._notes = Notes()

    def flush(self, timeout_s: float) -> None:
        """Wait until all is published, so long at most."""
        with self._guard:
            if self._under_way:
                ray.wait(list(self._under_way), num_returns=len(self._under_way), timeout=timeout_s)

    def _settle(self) -> None:
        """Forget what is answered."""
        while self._under_way and ray.wait([self._under_way[0]], timeout=0)[0]:
            try:
                self.subscribers = ray.get(self._under_way.popleft())
            except RayError:  # the fleet ends without an outlet
                self.dropped += 1
