"""A fleet while it runs: its actors, looked after once a second from here.

What is decided here: who is started, who is told what, and when all are done. Ray starts again what died; who does not
answer for long is killed, so that it is.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import ActorDiedError, GetTimeoutError

from spark3r_core.stream.cameras_together import Rooted
from spark3r_stream.camera_name import working_for
from spark3r_stream.config import ConfigError
from spark3r_stream.errors import StreamError
from spark3r_stream.fleet.calls import answers, cause_of
from spark3r_stream.fleet.camera_actor import CameraActor
from spark3r_stream.fleet.cluster import OUTLET, SITE, actor, check_room, mapper_name, quickly
from spark3r_stream.fleet.log_lines import say
from spark3r_stream.fleet.outlet import Address, Outlet, OutletBeat
from spark3r_stream.fleet.plan import CameraPlan, FleetPlan
from spark3r_stream.fleet.pool_mapper import PoolMapper
from spark3r_stream.fleet.site_map import SiteBeat, SiteMap
from spark3r_stream.wire.envelope import MOST_CAMERAS
from spark3r_stream.wire.messages import SessionState, Status

log = logging.getLogger(__name__)

BEAT_S = 1.0
SILENT_S = 30.0  # without an answer, after which an actor is taken for hung
START_S = 120.0  # the same for one that has not answered yet: its machine may have much to load
END_S = 60.0  # that cameras may take to end, once they are told to
FINISH_S = 600.0  # that all maps may take to be made one


@dataclass
class Member:
    """An actor that is looked after. restarts: seen so far. beat: the newest. error: what it cannot be started for."""

    name: str
    handle: Any
    restarts: int = 0
    beat: Any = None
    error: str = ""
    heard_s: float = field(default_factory=time.monotonic)
    asked: Any = None  # a beat that was not answered yet

    def answered(self, beat: Any) -> bool:
        """Whether it is another incarnation than before."""
        is_new = self.beat is not None and beat.pid != self.beat.pid
        self.beat, self.heard_s, self.asked, self.error = beat, time.monotonic(), None, ""
        self.restarts += is_new
        return is_new

    @property
    def is_silent(self) -> bool:
        return time.monotonic() - self.heard_s > (START_S if self.beat is None else SILENT_S)


@dataclass
class FleetCamera(Member):
    """number: of its topics and submaps among all, never given twice. mapper: which one maps for it."""

    plan: CameraPlan = None  # type: ignore[assignment]
    number: int = 0
    mapper: int = 0
    is_told_to_end: bool = False

    @property
    def is_over(self) -> bool:
        return bool(self.error) or (self.beat is not None and self.beat.is_over)

    @property
    def waits(self) -> bool:
        return self.beat is not None and self.beat.waits


class Fleet:
    """Started by `started_fleet`. `look` is called again and again until `is_over`; all by one thread."""

    def __init__(self, plan: FleetPlan, folder: Path, log_level: int) -> None:
        self.plan = plan
        self.cameras: dict[str, FleetCamera] = {}
        self._log_level = log_level
        self._numbers: dict[str, int] = {one.name: number for number, one in enumerate(plan.cameras)}
        self._rooted: Mapping[int, Rooted] = {}
        self._ends_s: float | None = None  # when cameras that were told to end are not waited for any more
        self._finishing: Any = None
        self._finish_until_s = 0.0
        self.is_over = False
        self.begun_s = time.monotonic()
        settings, names = plan.settings, list(self._numbers)
        self.outlet = Member(
            "outlet", actor(Outlet, settings, names, log_level, name=OUTLET, cpus=0, here=True, restarts=False)
        )
        self.address: Address = self._first(self.outlet, "address")
        self.site = Member(
            "map", actor(SiteMap, folder, settings.model, settings.loops == "on", self.names, log_level,
                         name=SITE, cpus=0, here=True),
        )  # fmt: skip
        self._first(self.site, "rooted")
        self.mappers = [
            Member(
                mapper_name(number),
                actor(PoolMapper, settings, log_level, name=mapper_name(number), cpus=plan.mappers.cpus,
                      gpus=plan.mappers.gpus, place=plan.mappers.place),
            )
            for number in range(1, plan.mappers.count + 1)
        ]  # fmt: skip
        self._first(self.mappers[0], "facts")
        for camera in plan.cameras:
            self._start(camera)

    @property
    def names(self) -> dict[int, str]:
        return {number: name for name, number in self._numbers.items()}

    def look(self) -> None:
        """Ask all how they do and see to what follows from it. Raises StreamError where the fleet cannot go on."""
        self._beats()
        outlet: OutletBeat | None = self.outlet.beat
        if outlet is not None and outlet.error:
            raise StreamError(outlet.error)
        if self.outlet.error:
            raise StreamError(f"the outlet is gone, nothing can be published any more: {self.outlet.error}")
        broken = [one for one in (self.site, *self.mappers) if one.error]
        if broken:
            raise StreamError(f"the {broken[0].name} actor cannot be started: {broken[0].error}")
        site: SiteBeat | None = self.site.beat
        if site is not None:
            self._rooted = site.rooted or self._rooted
        self._see_to_the_end()

    def end(self) -> None:
        """Tell all cameras to end, as a run ends that is told to."""
        if self._ends_s is None:
            self._ends_s = time.monotonic() + END_S
            for camera in self.cameras.values():
                camera.is_told_to_end = True
                quickly(camera.handle.stop).remote()

    def add(self, name: str, value: object) -> None:
        """One more camera, as it would stand in the file. Raises ConfigError."""
        if name in self.cameras:
            raise ConfigError(f"there is a camera {name} already; remove it first")
        camera = self.plan.added(name, value)
        if name not in self._numbers and len(self._numbers) >= MOST_CAMERAS:
            raise ConfigError(
                f"this fleet has had {MOST_CAMERAS} cameras, as many as a session has numbers; start another"
            )
        free = ray.available_resources().get("CPU", 0.0)
        if camera.cpus > free:
            raise ConfigError(f"the camera asks for {camera.cpus:g} CPUs and Ray has {free:g} left")
        self._numbers.setdefault(name, len(self._numbers))
        ray.get([self.outlet.handle.add.remote(name), self.site.handle.add.remote(self._numbers[name], name)])
        self._start(camera)
        with working_for(name):
            log.info("added")

    def remove(self, name: str) -> None:
        """End a camera; its map stays. Raises ConfigError."""
        if name not in self.cameras:
            raise ConfigError(f"there is no camera {name}; expected one of {', '.join(self.cameras) or 'none'}")
        camera = self.cameras.pop(name)
        quickly(camera.handle.stop).remote()
        quickly(camera.handle.settle).remote([])
        threading.Thread(target=self._let_go, args=(camera,), name="spark3r-let-go", daemon=True).start()
        with working_for(name):
            log.info("removed")

    def close(self, failure: str = "") -> None:
        """Say that all is over, write what was not written, and let the actors go."""
        beats = [one.beat.status for one in self.cameras.values() if one.beat is not None and one.beat.status]
        has_failed = bool(failure) or (bool(self.cameras) and all(one.error for one in self.cameras.values()))
        last = Status(
            SessionState.FAILED if has_failed else SessionState.ENDED,
            frames_in=sum(one.frames_in for one in beats),
            frames_processed=sum(one.frames_processed for one in beats),
            frames_failed=sum(one.frames_failed for one in beats),
            last_error=failure,
        )
        for ref in (quickly(self.site.handle.save).remote(), self.outlet.handle.close.remote(last)):
            with contextlib.suppress(Exception):  # each as far as it is there
                ray.get(ref, timeout=END_S)

    def _start(self, plan: CameraPlan) -> None:
        load = [sum(one.mapper == number for one in self.cameras.values()) for number in range(len(self.mappers))]
        mapper = load.index(min(load))
        number = self._numbers[plan.name]
        handle = actor(
            CameraActor, plan, number, self.names, self.mappers[mapper].name, self._log_level,
            cpus=plan.cpus, place=plan.place,
        )  # fmt: skip
        self.cameras[plan.name] = FleetCamera(plan.name, handle, plan=plan, number=number, mapper=mapper)

    def _let_go(self, camera: FleetCamera) -> None:
        """Of a camera that was told to end: once it has, or does not."""
        until_s = time.monotonic() + END_S
        with contextlib.suppress(Exception):
            while time.monotonic() < until_s:
                if ray.get(quickly(camera.handle.beat).remote(self.names, {}), timeout=END_S).is_over:
                    break
                time.sleep(BEAT_S)
        ray.kill(camera.handle)
        self.mappers[camera.mapper].handle.forget.remote(camera.number)

    def _first(self, member: Member, method: str) -> Any:
        """The first answer of an actor: what it cannot be started for is raised here."""
        try:
            return ray.get(getattr(member.handle, method).remote())
        except ActorDiedError as error:
            raise StreamError(_why_not_started(error)) from None

    def _beats(self) -> None:
        """Ask all, and take what has come."""
        members: list[Member] = [self.outlet, self.site, *self.mappers, *self.cameras.values()]
        for one in members:
            if one.asked is None:
                more = (self.names, self._rooted) if isinstance(one, FleetCamera) else ()
                one.asked = quickly(one.handle.beat).remote(*more)
        for one, answer in zip(members, answers([one.asked for one in members], BEAT_S), strict=True):
            if isinstance(answer, ActorDiedError):
                one.error, one.asked = _why_not_started(answer), None
            elif isinstance(answer, GetTimeoutError):
                if one.is_silent and one is not self.outlet:
                    log.error("%s does not answer, and is started again", _said(one))
                    one.asked, one.heard_s = None, time.monotonic()
                    ray.kill(one.handle, no_restart=False)
            elif isinstance(answer, Exception):
                one.asked = None  # it comes back
            else:
                if one.answered(answer):
                    log.warning("%s was started again, for the %d. time", _said(one), one.restarts)
                    self._follow(one)
                say(answer.lines)

    def _follow(self, member: Member) -> None:
        """What an actor that took the place of another has to be told."""
        if member is self.site:
            for number, name in self.names.items():
                self.site.handle.add.remote(number, name)
            for one in self.mappers:
                one.handle.send_all.remote()
            for camera in self.cameras.values():
                quickly(camera.handle.tell_about).remote()
        if isinstance(member, FleetCamera) and member.is_told_to_end:
            quickly(member.handle.stop).remote()

    def _see_to_the_end(self) -> None:
        """When all cameras are done, what they have in common is; then they end."""
        if self._finishing is not None:
            self._settle_when_finished()
            return
        gave_up = self._ends_s is not None and time.monotonic() > self._ends_s
        cameras = self.cameras.values()
        if not all(one.waits or one.is_over for one in cameras) and not gave_up:
            return
        if not self.cameras and self._ends_s is None:
            return  # some may be added
        if all(one.is_over for one in cameras) or gave_up:
            self.is_over = True
            return
        unsent = any(one.beat is None or one.beat.unsent for one in self.mappers)
        if not unsent:
            self._finishing = self.site.handle.finish_together.remote()
            self._finish_until_s = time.monotonic() + FINISH_S

    def _settle_when_finished(self) -> None:
        if not ray.wait([self._finishing], timeout=0)[0] and time.monotonic() < self._finish_until_s:
            return
        together: list[Any] = []
        try:
            together = ray.get(self._finishing, timeout=0)
        except Exception as error:  # each has its own map, which is whole
            log.error("the maps of several cameras could not be adjusted together: %s", cause_of(error))
        for camera in self.cameras.values():
            quickly(camera.handle.settle).remote(together)
        if all(one.is_over for one in self.cameras.values()):
            self.is_over = True


@contextlib.contextmanager
def started_fleet(plan: FleetPlan, log_level: int) -> Iterator[Fleet]:
    """A fleet with all of its actors, which end with the block. Inside `connected`.

    Raises what the plan, maps that are there, the address and the model give cause for.
    """
    check_room(plan)
    folder = plan.maps
    with contextlib.ExitStack() as closing:
        if folder is None:
            folder = Path(tempfile.mkdtemp(prefix="spark3r-fleet-"))
            closing.callback(shutil.rmtree, folder, ignore_errors=True)
        fleet = Fleet(plan, folder, log_level)
        try:
            yield fleet
        except BaseException as error:
            with contextlib.suppress(Exception):  # what is to be closed may be gone already, with its Ray
                fleet.close(str(error) or type(error).__name__)
            raise
        fleet.close()


def _said(member: Member) -> str:
    return f"{'camera' if isinstance(member, FleetCamera) else 'actor'} {member.name}"


def _why_not_started(error: Exception) -> str:
    """The line of a traceback that says what was raised, or what Ray says."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    raised = [line for line in lines if ".errors." in line or "Error:" in line]
    return raised[-1].partition(": ")[2][:500] if raised else cause_of(error)
