"""The actor of one camera: it decodes and tracks where it is, maps by a mapper elsewhere, and hands on what it says.

Its run is the one that a camera of several has in one process (`running/several.py`). A live run that breaks off is
begun again after a pause, and a process that takes this one's place goes on in the same way: with the next frame
number, in the map that the mapper has, in which the camera is looked for before anything is said of where it is.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version

import psutil
import ray

from spark3r_core.models.facts import ModelFacts
from spark3r_core.stream.cameras_together import Rooted, Together
from spark3r_stream.camera_name import working_for
from spark3r_stream.config import ConfigError
from spark3r_stream.engine.reopening import Reopening
from spark3r_stream.fleet.calls import Ended, cause_of, insistent
from spark3r_stream.fleet.cluster import OUTLET, SITE, found
from spark3r_stream.fleet.log_lines import LogLine, LogLines
from spark3r_stream.fleet.mapper_answers import Opened
from spark3r_stream.fleet.outlet import Address
from spark3r_stream.fleet.outlet_link import OutletLink
from spark3r_stream.fleet.plan import CameraPlan
from spark3r_stream.fleet.remote_mapper import RemoteMapper
from spark3r_stream.map_file.saved_map import MapFacts, SavedMap
from spark3r_stream.plain_text import unicode_text
from spark3r_stream.running.among import Among, Placements
from spark3r_stream.running.build import is_file, map_options_of, memory_of
from spark3r_stream.running.cameras import Camera
from spark3r_stream.running.heartbeat import status_of
from spark3r_stream.running.open_run import OpenRun
from spark3r_stream.running.several import CameraRun
from spark3r_stream.sources.redact import redact_uri
from spark3r_stream.stats import LatencyHistogram
from spark3r_stream.wire.envelope import MOST_CAMERAS
from spark3r_stream.wire.messages import Status

log = logging.getLogger(__name__)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 2.0, 60.0  # before a run that broke off is begun again
STEADY_S = 60.0  # of a run after which the next pause is short again
_FLUSH_S = 5.0


@dataclass(frozen=True)
class CameraBeat:
    """What the fleet is told each second. status: of its run; None while there is none. waits: it is done, and waits
    for the others. breaks: runs that broke off in this process. error: of the last one. keyframes, latency: of its
    present run. late, waited_s, asked, mapping_s, mapper_restarts, keyframes_lost: see `RemoteMapper`. dropped: see
    `OutletLink`. cpu_s: of this process."""

    pid: int
    node: str
    memory_bytes: int
    cpu_s: float
    status: Status | None
    keyframes: int
    latency: LatencyHistogram | None
    is_over: bool
    waits: bool
    breaks: int
    error: str
    map_frame: str
    late: int
    waited_s: float
    asked: int
    mapping_s: float
    mapper_restarts: int
    keyframes_lost: int
    dropped: int
    lines: list[LogLine]


@dataclass
class _Told:
    """What the fleet says of all. names: of cameras. rooted: see `KnowsPlaces`."""

    names: dict[int, str]
    rooted: Mapping[int, Rooted] = field(default_factory=dict)


class _Settling:
    """Where the run waits for the others, which are elsewhere; see `WaitsForAll`."""

    def __init__(self) -> None:
        self.waits = False
        self._done = threading.Event()
        self._together: Sequence[Together] = ()

    def wait(self, number: int) -> Sequence[Together]:
        self.waits = True
        self._done.wait()
        return self._together

    def leave(self, number: int) -> None:
        self.waits = False

    def settle(self, together: Sequence[Together]) -> None:
        self._together = together
        self._done.set()


class CameraActor:
    """plan: of the camera. number: of its own among all. names: of all cameras, by number. mapper: its name."""

    def __init__(self, plan: CameraPlan, number: int, names: Mapping[int, str], mapper: str, log_level: int) -> None:
        self._lines = LogLines(log_level, plan.name)
        self._plan, self._number = plan, number
        self._outlet, self._site, self._pool = found(OUTLET), found(SITE), found(mapper)
        self._told = _Told(dict(names))
        self._stop = threading.Event()
        self._settling = _Settling()
        self._run: CameraRun | None = None
        self._link: OutletLink | None = None
        self._mapper: RemoteMapper | None = None
        self._facts: MapFacts | None = None
        self._breaks, self._error, self._is_over = 0, "", False
        self._lost_before = self._restarts_before = self._dropped_before = 0  # of runs that broke off
        threading.Thread(target=self._live, name=f"spark3r-fleet-{plan.name}", daemon=True).start()

    def beat(self, names: Mapping[int, str], rooted: Mapping[int, Rooted]) -> CameraBeat:
        """Told of the others, it says how it does."""
        self._told.names.update(names)
        self._told.rooted = rooted or self._told.rooted
        run, mapper, link = self._run, self._mapper, self._link
        opened = None if run is None else run.run
        process = psutil.Process()
        times = process.cpu_times()
        return CameraBeat(
            os.getpid(), ray.util.get_node_ip_address(), process.memory_info().rss, times.user + times.system,
            None if opened is None else status_of(opened.stats, opened.source, link, None),
            0 if opened is None else opened.stats.keyframes,
            None if opened is None else opened.stats.latency,
            self._is_over, self._settling.waits, self._breaks, self._error,
            "" if opened is None or opened.placed is None else opened.placed.map_frame,
            0 if mapper is None else mapper.late,
            0.0 if mapper is None else mapper.waited_s,
            0 if mapper is None else mapper.asked,
            0.0 if mapper is None else mapper.mapping_s,
            self._restarts_before + (0 if mapper is None else mapper.restarts),
            self._lost_before + (0 if mapper is None else mapper.keyframes_lost),
            self._dropped_before + (0 if link is None else link.dropped),
            self._lines.take(),
        )  # fmt: skip

    def tell_about(self) -> None:
        """The site has begun anew: say once more what the map is made from."""
        if self._facts is not None:
            self._site.about.remote(self._number, self._facts)

    def stop(self) -> None:
        """End as a run does, with what comes at the end."""
        self._stop.set()
        if (run := self._run) is not None:
            run.stop.set()

    def settle(self, together: Sequence[Together]) -> None:
        """All are done: where keyframes lie after all were adjusted together."""
        self._settling.settle(together)

    def _live(self) -> None:
        pause_s = FIRST_PAUSE_S
        with working_for(self._plan.name):
            while not self._stop.is_set():
                begun_s = time.monotonic()
                error = self._one_run()
                if error is None or isinstance(error, (ConfigError, Ended)) or self._stop.is_set():
                    break
                if is_file(self._plan.config):  # from its beginning again it would come to the same end
                    break
                self._breaks += 1
                pause_s = FIRST_PAUSE_S if time.monotonic() - begun_s > STEADY_S else pause_s
                log.warning("this camera is begun again in %.0f s", pause_s)
                self._stop.wait(pause_s)
                pause_s = min(LONGEST_PAUSE_S, 2 * pause_s)
        self._is_over = True

    def _one_run(self) -> BaseException | None:
        """One run from its beginning to its end; what it broke off with."""
        try:
            among, link, mapper = self._among()
        except Exception as error:
            self._error = cause_of(error)
            if not isinstance(error, Ended):
                log.error("%s", self._error)
            return error
        if self._mapper is not None and self._link is not None:
            self._restarts_before += self._mapper.restarts
            self._lost_before += self._mapper.keyframes_lost
            self._dropped_before += self._link.dropped
        self._link, self._mapper, self._error = link, mapper, ""
        self._run = run = CameraRun(Camera(self._plan.name, self._plan.config), among, self._on_open, self._settling)
        run.start()
        if self._stop.is_set():
            run.stop.set()
        run.join()
        link.flush(_FLUSH_S)
        self._error = "" if run.error is None else str(run.error)
        return run.error

    def _among(self) -> tuple[Among, OutletLink, RemoteMapper]:
        """What a run shares with the others: where the last one of this camera broke off, if there was one."""
        name, number, config = self._plan.name, self._number, self._plan.config
        address: Address = insistent(lambda: self._outlet.address.remote(), self._stop)
        resumption = insistent(lambda: self._outlet.resume.remote(name), self._stop)
        facts: ModelFacts = insistent(lambda: self._pool.facts.remote(), self._stop)
        opened: Opened = insistent(lambda: self._pool.open_camera.remote(number, None), self._stop)
        self._told.rooted = insistent(lambda: self._site.rooted.remote(), self._stop)
        reopening = None
        world = insistent(lambda: self._pool.world.remote(number), self._stop) if opened.keyframes else None
        if world is not None:
            log.info("goes on in a map with %d keyframes", len(opened.keyframes))
            # of what the map was made from nothing but metres matters to a run, and there are none with several cameras
            made = self._facts or MapFacts("", "", None, 0, "unix", config.model, version("spark3r-stream"))
            reopening = Reopening.of(SavedMap(world, made, ""), name, resumption=resumption)
        mapper = RemoteMapper(
            self._pool, number, memory_of(config, 1), map_options_of(config), facts,
            () if world is None else world.keyframes,
        )  # fmt: skip
        link = OutletLink(self._outlet, name, address.endpoint)
        among = Among(
            name, number, MOST_CAMERAS, mapper, address.session_id, link, Placements(self._told.names, self._told),
            resumption, reopening, link,
        )  # fmt: skip
        return among, link, mapper

    def _on_open(self, run: CameraRun, opened: OpenRun) -> None:
        info, model = opened.source.info, self._plan.config.model
        captured_ns, clock = (opened.clock.unix_ns(), "unix") if info.captured_is_unix else (0, "source")
        self._facts = MapFacts(
            unicode_text(redact_uri(self._plan.config.source)), info.kind.value, info.nominal_fps,
            captured_ns, clock, model, version("spark3r-stream"),
        )  # fmt: skip
        self.tell_about()
