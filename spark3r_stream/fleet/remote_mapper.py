"""The way of a camera to its mapper, which is an actor elsewhere: it may die and come back while frames are tracked.

Then it opens what the site has of the map. Where the keyframe that frames are tracked on is in that, nothing else has
happened. Where it is lost, the next one is denied: the camera is doubted and looked for in that map, by what it sees,
as after any other doubt.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ray.exceptions import ActorDiedError

from spark3r_core.memory.config import MemoryConfig
from spark3r_core.models.facts import ModelFacts
from spark3r_core.stream.keyframe_map import KeyframeMap
from spark3r_core.stream.map_update import KeyframeRequest, MapOptions, MapUpdate
from spark3r_stream.engine.mapper_host import CalledMapper, MapperEnded
from spark3r_stream.errors import MapFileError
from spark3r_stream.fleet.calls import GONE, answer_of, cause_of, insistent
from spark3r_stream.fleet.mapper_answers import NotOpen, Opened
from spark3r_stream.map_file.saved_map import MapFacts

log = logging.getLogger(__name__)

LATE_S = 0.25  # a request that waited longer for its turn was late
LOST = "the mapper was started again and has lost the keyframe that this is tracked on"


class RemoteMapper(CalledMapper):
    """The `MapperHost` of one camera.

    mapper: handle of the actor. known: keyframes that it has and subscribers have heard of. late, waited_s: requests
    that had to wait for their turn, and how long all of them did. restarts: of the mapper, while this camera needed it.
    keyframes_lost: that were mapped and are in no map any more.
    """

    def __init__(
        self,
        mapper: Any,
        number: int,
        memory: MemoryConfig,
        options: MapOptions,
        facts: ModelFacts,
        known: Iterable[int],
    ) -> None:
        self.memory, self.options = memory, options
        self.late, self.waited_s, self.asked, self.mapping_s = 0, 0.0, 0, 0.0
        self.restarts = self.keyframes_lost = 0
        self._mapper, self._number, self._facts = mapper, number, facts
        self._known = set(known)
        self._closed = threading.Event()

    @property
    def facts(self) -> ModelFacts:
        return self._facts

    def open(self, world: KeyframeMap, is_fixed: bool) -> None:
        """It is open there: that is where the camera has it from."""

    def save_map(self, path: Path, facts: MapFacts, overwrite: bool) -> int:
        raise MapFileError("maps of a fleet are written by its map actor")

    def check(self) -> None:
        pass

    def close(self) -> None:
        """End what is under way; the mapper goes on for others. Further calls do nothing."""
        self._closed.set()

    def _call(self, name: str, *arguments: Any) -> Any:
        begun_s = time.monotonic()
        while True:
            if name == "map" and not self._has_keyframe_of(arguments[0]):
                return _denied(arguments[0])
            try:
                done = answer_of(self._mapper.call.remote(self._number, name, *arguments), self._closed)
                break
            except ActorDiedError as error:
                raise MapperEnded(f"the mapper cannot be started again: {cause_of(error)}") from None
            except (GONE, NotOpen):
                self._open_again()
                if name == "refine":
                    return {}
                if name == "map" and arguments[0].tracked is None and not arguments[0].lost:
                    self._call("begin")  # a map begins, and what was opened is another one
        waited_s = max(0.0, time.monotonic() - begun_s - done.seconds)
        if name == "map":
            self.asked += 1
            self.mapping_s += done.seconds
            self.waited_s += waited_s
            self.late += waited_s > LATE_S
        if isinstance(done.answer, MapUpdate):
            if done.answer.keyframe is not None:
                self._known.add(done.answer.frame_id)
            self._known.difference_update(done.answer.dropped)
        return done.answer

    def _open_again(self) -> None:
        log.warning("the mapper is gone; frames are tracked on what is known until it is back")
        known = frozenset(self._known)
        opened: Opened = insistent(lambda: self._mapper.open_camera.remote(self._number, known), self._closed)
        self.restarts += 1
        self.keyframes_lost += opened.lost
        self._known = set(opened.keyframes)
        log.warning("the mapper is back, with %d keyframes; %d were lost", len(opened.keyframes), opened.lost)

    def _has_keyframe_of(self, request: KeyframeRequest) -> bool:
        """Whether the mapper has what a frame was tracked on."""
        return request.tracked is None or request.tracked.keyframe_id in self._known


def _denied(request: KeyframeRequest) -> MapUpdate:
    return MapUpdate(request.frame_id, None, None, {}, None, 0.0, math.inf, LOST, denied=True)
