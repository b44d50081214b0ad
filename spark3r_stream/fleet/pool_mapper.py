"""An actor that maps: one model, the maps of several cameras, one call at a time, in the order in which they come.

What it has mapped is sent on to the site's map beside that, newest first: when this process dies, the next incarnation
opens what was sent.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import psutil
import ray

from spark3r_core.models.facts import ModelFacts
from spark3r_core.models.interface import Backbone
from spark3r_core.stream.keyframe_map import KeyframeMap
from spark3r_core.stream.map_budget import without
from spark3r_stream.config import RunConfig
from spark3r_stream.engine.local_mapper import LocalMapper
from spark3r_stream.engine.shared_mapper import FollowedMapper
from spark3r_stream.fleet.calls import GONE, insistent
from spark3r_stream.fleet.cluster import SITE, found
from spark3r_stream.fleet.log_lines import LogLine, LogLines
from spark3r_stream.fleet.mapper_answers import Mapped, NotOpen, Opened
from spark3r_stream.fleet.replica import Sent
from spark3r_stream.running.build import device_of, dtype_of, map_options_of, memory_of, model_of

log = logging.getLogger(__name__)

CHANGES = frozenset({"map", "finish", "begin"})  # calls after which the map may be another one
_AGAIN_S = 1.0


@dataclass(frozen=True)
class MapperBeat:
    """What the fleet is told each second. unsent: cameras of whose maps not all was sent on yet."""

    pid: int
    node: str
    memory_bytes: int
    cameras: tuple[int, ...]
    mapped: int
    busy_s: float
    sent_bytes: int
    unsent: tuple[int, ...]
    lines: list[LogLine]


@dataclass
class _Camera:
    mapper: FollowedMapper
    sent: Sent = field(default_factory=Sent)


class PoolMapper:
    """config: model and settings of mapping, for all cameras."""

    def __init__(self, config: RunConfig, log_level: int) -> None:
        self._lines = LogLines(log_level)
        device = device_of(config.device)
        self._memory, self._options = memory_of(config, 1), map_options_of(config)
        self._model: Backbone = model_of(config, device, dtype_of(config.dtype, device))
        self._site = found(SITE)
        self._cameras: dict[int, _Camera] = {}
        self._unsent: dict[int, None] = {}  # cameras in the order in which they changed
        self._changed = threading.Condition()
        self._mapped, self._busy_s, self._sent_bytes = 0, 0.0, 0
        self._never = threading.Event()
        threading.Thread(target=self._send_changes, name="spark3r-sending", daemon=True).start()

    def facts(self) -> ModelFacts:
        return self._model.facts

    def open_camera(self, number: int, known: Collection[int] | None) -> Opened:
        """Go on in this camera's map, or begin one: that which is here, or what the site has of it.

        known: keyframes that the camera has heard of; others are left out. None: it begins, and takes all.
        """
        before = self._cameras.get(number)
        if before is not None:
            world: KeyframeMap | None = before.mapper.host.map_to_save()
        else:
            world = insistent(lambda: self._site.world.remote(number), self._never)
        lost = 0
        if known is not None:
            order = [] if world is None else world.order
            unheard = [frame_id for frame_id in order if frame_id not in known]
            lost = len(unheard) + len(set(known) - set(order))
            world = None if world is None else without(world, unheard)
        mapper = FollowedMapper(LocalMapper(self._model, self._memory, self._options))
        if world is not None and world.keyframes:
            mapper.open(world, gave_up=before is not None and before.mapper.gave_up)
        self._cameras[number] = _Camera(mapper)
        self._tell(number)
        return Opened(frozenset(() if world is None else world.keyframes), lost)

    def world(self, number: int) -> KeyframeMap | None:
        """The map of a camera that was opened; None while it has no keyframes."""
        world = self._camera(number).mapper.host.map_to_save()
        return world if world.keyframes else None

    def send_all(self) -> None:
        """The site has begun anew."""
        for number, camera in self._cameras.items():
            camera.sent.forget()
            self._tell(number)

    def forget(self, number: int) -> None:
        """The camera was removed."""
        self._cameras.pop(number, None)

    def call(self, number: int, name: str, *arguments: Any) -> Mapped:
        """A method of the camera's `MapperHost`. Raises NotOpen, or what it raised."""
        camera = self._camera(number)
        begun_s = time.monotonic()
        answer = camera.mapper.call(name, *arguments)
        seconds = time.monotonic() - begun_s
        self._busy_s += seconds
        self._mapped += name == "map"
        if name in CHANGES:
            self._tell(number)
        return Mapped(answer, seconds)

    def beat(self) -> MapperBeat:
        with self._changed:
            unsent = tuple(self._unsent)
        return MapperBeat(
            os.getpid(), ray.util.get_node_ip_address(), psutil.Process().memory_info().rss, tuple(self._cameras),
            self._mapped, self._busy_s, self._sent_bytes, unsent, self._lines.take(),
        )  # fmt: skip

    def _camera(self, number: int) -> _Camera:
        if number not in self._cameras:
            raise NotOpen(f"camera {number} is not open in this mapper")
        return self._cameras[number]

    def _tell(self, number: int) -> None:
        with self._changed:
            self._unsent[number] = None
            self._changed.notify()

    def _send_changes(self) -> None:
        """For as long as the process lives: one change at a time, each from what the site has to the newest map."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._unsent)
                number = next(iter(self._unsent))
            try:
                is_sent = self._send(number)
            except GONE:  # it comes back, with what it has in its files
                for camera in list(self._cameras.values()):
                    camera.sent.forget()
                is_sent = False
            except Exception:
                log.exception("what was mapped could not be sent on")
                is_sent = False
            if not is_sent:
                time.sleep(_AGAIN_S)

    def _send(self, number: int) -> bool:
        """Whether the site has the newest map now, as far as is known."""
        with self._changed:
            del self._unsent[number]  # what comes from now on is told again
        camera = self._cameras.get(number)
        if camera is None:
            return True
        try:
            host = camera.mapper.host
            world, gave_up = host.map_to_save(), camera.mapper.gave_up
            change = camera.sent.change_to(world, gave_up)
            if not world.keyframes or ray.get(self._site.take.remote(number, change)):
                camera.sent.confirmed(world, change)
                self._sent_bytes += change.nbytes
                return True
            camera.sent.forget()
        except BaseException:
            self._tell(number)
            raise
        self._tell(number)
        return True
