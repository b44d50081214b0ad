"""Several cameras in one process: a run each, in a thread of its own, that share the model and the published stream.

What happens to one is its own: it may end, fail, or never open, and the others go on. They end together only when they
are told to, when the mapping process dies, or when nothing can be published any more.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from spark3r_core.errors import Spark3rError
from spark3r_core.stream.cameras_together import Together
from spark3r_stream.camera_name import inheriting_thread, working_for
from spark3r_stream.clock import SystemClock
from spark3r_stream.config import RunConfig
from spark3r_stream.engine.mapper_host import MapperEnded
from spark3r_stream.engine.sinks import WireSink
from spark3r_stream.errors import StreamError
from spark3r_stream.pubsub.publisher import Publisher
from spark3r_stream.running.among import Among, Placements
from spark3r_stream.running.build import build_shared_mapper
from spark3r_stream.running.cameras import Camera
from spark3r_stream.running.heartbeat import status_of
from spark3r_stream.running.maps_together import joins_of, save_together
from spark3r_stream.running.open_run import OpenRun
from spark3r_stream.running.opening import open_metrics, open_publisher
from spark3r_stream.running.rig import rig_of
from spark3r_stream.running.run import opened_run
from spark3r_stream.wire.envelope import Sealer
from spark3r_stream.wire.messages import SessionState, Status

if TYPE_CHECKING:
    from spark3r_stream.metrics.families import Measured

log = logging.getLogger(__name__)

POLL_S = 0.1
_LAST_S = 10.0  # what a camera that was told to end may take, if it has not even been opened


class CameraRun:
    """One camera's run in its thread.

    run: once its source is open. error: what ended it. stop: set, it ends as a run does. opening: whether its source
    is still being opened. last: where all wait for each other before they end.
    """

    def __init__(
        self, camera: Camera, among: Among, on_open: Callable[[CameraRun, OpenRun], None], last: WaitsForAll
    ) -> None:
        self.name, self.config = camera.name, camera.config
        self.run: OpenRun | None = None
        self.error: BaseException | None = None
        self.stop = threading.Event()
        self._among, self._on_open, self._last = among, on_open, last
        with working_for(self.name):
            self._thread = inheriting_thread(self._live, f"spark3r-{self.name}")

    @property
    def is_over(self) -> bool:
        return self._thread.ident is not None and not self._thread.is_alive()

    @property
    def opening(self) -> bool:
        return self.run is None and not self.is_over

    def start(self) -> None:
        self._thread.start()

    def join(self, timeout_s: float | None = None) -> None:
        self._thread.join(timeout_s)

    def leave(self) -> None:
        """The others need not wait for it."""
        self._last.leave(self._among.number)

    def _live(self) -> None:
        try:
            with opened_run(self.config, self.stop, lasting=True, among=self._among) as run:
                self._on_open(self, run)
                self.run = run
                for _ in run.steps():
                    pass
                self._settle(run, self._last.wait(self._among.number))
        except (Spark3rError, OSError) as error:
            self.error = error
            log.error("%s", error)
        except BaseException as error:  # whatever it is, the others have nothing to do with it
            self.error = error
            log.exception("this camera's run broke off; this is a fault of the program")
        finally:
            self.leave()

    def _settle(self, run: OpenRun, together: Sequence[Together]) -> None:
        """Where this camera's keyframes lie after all cameras were adjusted together, if it is among those; and after
        all have told what they know of metres."""
        assert run.placed is not None, "a run among others"
        number = self._among.number
        for one in together:
            if number in one.places:
                run.placed.settle(self._among.placements.settled(number, one), one.places[number], one.before[number])
                return
        run.placed.refresh()


class WaitsForAll(Protocol):
    """Where runs wait for each other after their last steps. A run calls `wait`, and `leave` in any case: one that has
    failed is not waited for."""

    def wait(self, number: int) -> Sequence[Together]:
        """What all have in common, once it is known; nothing if it could not be done."""
        ...

    def leave(self, number: int) -> None: ...


class LastStep:
    """Runs of one process; what they have in common is done, once, when the last of them waits: see `WaitsForAll`."""

    def __init__(self, count: int, work: Callable[[], list[Together]]) -> None:
        self._missing = set(range(count))
        self._work = work
        self._changed = threading.Condition()
        self._done: list[Together] | None = None

    def wait(self, number: int) -> list[Together]:
        with self._changed:
            self._missing.discard(number)
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._missing)
            if self._done is None:  # the first to wake; the others wait for the lock
                self._done = self._result()
            return self._done

    def leave(self, number: int) -> None:
        with self._changed:
            self._missing.discard(number)
            self._changed.notify_all()

    def _result(self) -> list[Together]:
        try:
            return self._work()
        except MapperEnded:
            raise
        except Exception:  # each has its own map, which is whole
            log.exception("the maps of several cameras could not be adjusted together")
            return []


class Several:
    """Runs that go on beside each other, until `wait` returns."""

    def __init__(self, runs: Sequence[CameraRun], publisher: Publisher | None) -> None:
        self.runs = list(runs)
        self.publisher = publisher
        self.failure: StreamError | None = None  # of what all of them share

    @property
    def failed(self) -> list[CameraRun]:
        return [one for one in self.runs if one.error is not None]

    @property
    def is_live(self) -> bool:
        """Whether no source has an end of its own, of those that could be opened."""
        opened = [one.run for one in self.runs if one.run is not None]
        return bool(opened) and all(run.source.info.is_live for run in opened)

    def end(self) -> None:
        """Tell all of them to end, as a run does that is told to."""
        for one in self.runs:
            one.stop.set()

    def fail(self, error: StreamError) -> None:
        """End all of them for an error that is nobody's own."""
        self.failure = self.failure or error
        log.error("%s", error)
        self.end()

    def wait_opened(self, stop: threading.Event) -> None:
        """Until every source is open or failed, or `stop` is set."""
        while any(one.opening for one in self.runs) and not stop.is_set():
            stop.wait(POLL_S)

    def wait(self, stop: threading.Event) -> None:
        """Until all are over; `stop` ends them. Raises what ended all of them, if there was such a thing."""
        while not all(one.is_over for one in self.runs):
            if stop.is_set():
                self.end()
                for one in self.runs:
                    if one.opening:
                        one.join(_LAST_S)
                        one.leave()
                for one in self.runs:
                    one.join(0 if one.opening else None)
                break
            for one in self.runs:
                one.join(POLL_S / len(self.runs))
            dead = next((one.error for one in self.runs if isinstance(one.error, MapperEnded)), None)
            if dead is not None and self.failure is None:
                self.fail(dead)
        if self.failure is not None:
            raise self.failure


@contextlib.contextmanager
def opened_several(
    config: RunConfig,
    cameras: Sequence[Camera],
    interrupting: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
    on_open: Callable[[CameraRun, OpenRun], None] = lambda camera, run: None,
) -> Iterator[Several]:
    """The runs of these cameras, started. config: the settings that all of them have. on_open: called in a camera's
    thread when its run is open, before its first step.

    Raises what the settings, the model and the published address give cause for; what a camera's own source and files
    do is the camera's.
    """
    from spark3r_stream.engine.mapper_process import MapperProcess  # imports torch

    process = MapperProcess() if config.device in ("auto", "cpu") else None
    with contextlib.ExitStack() as closing:
        if process is not None:
            closing.callback(process.close)
        session_id = uuid.uuid4()
        several = Several([], None)
        names = [camera.name for camera in cameras]
        publisher = open_publisher(config, session_id, closing, several.fail, names)
        metrics = open_metrics(config, closing)
        with interrupting():
            mapper = build_shared_mapper(config, len(cameras), process)
        closing.callback(mapper.close)
        numbered = dict(enumerate(names))
        mapper.go_on_with(joins_of(config, cameras))
        rig = rig_of(config, names, mapper.relate)

        def finish_together() -> list[Together]:
            if rig is not None:
                rig.finish()
            return [] if config.localise else mapper.finish_together()

        last = LastStep(len(cameras), finish_together)
        placements = Placements(numbered, mapper, config.tag_origin)
        for number, camera in enumerate(cameras):
            on_rig = None if rig is None or number not in rig.numbers else rig.sink(number)
            among = Among(
                camera.name, number, len(cameras), mapper.stream(number), session_id, publisher, placements, rig=on_rig
            )
            several.runs.append(CameraRun(camera, among, on_open, last))
        several.publisher = publisher
        if metrics is not None:
            from spark3r_stream.metrics.families import families

            metrics.serve(lambda: families(_measured(several)))
        for one in several.runs:
            one.start()
        try:
            yield several
        finally:
            several.end()
            for one in several.runs:
                one.join(_LAST_S)
            if several.failure is None and not config.localise:
                save_together(config, cameras, mapper)
            if publisher is not None:
                _say_that_all_ended(several, publisher, session_id)


def _measured(several: Several) -> list[Measured]:
    from spark3r_stream.metrics.families import Measured

    return [
        Measured(
            one.name, status_of(run.stats, run.source, several.publisher, run.recorder), run.stats.keyframes,
            run.stats.latency,
        )
        for one in several.runs
        if (run := one.run) is not None
    ]  # fmt: skip


def _say_that_all_ended(several: Several, publisher: Publisher, session_id: uuid.UUID) -> None:
    """The last message of the session: a status of no camera, with the sums of all."""
    stats = [one.run.stats for one in several.runs if one.run is not None]
    errors = [str(error) for error in (several.failure, *(one.error for one in several.failed)) if error is not None]
    has_failed = several.failure is not None or len(several.failed) == len(several.runs)
    status = Status(
        SessionState.FAILED if has_failed else SessionState.ENDED,
        frames_in=sum(one.frames_in for one in stats),
        frames_processed=sum(one.processed_frames for one in stats),
        frames_failed=sum(one.failed for one in stats),
        last_error=errors[0] if errors else "",
        subscribers=publisher.subscribers,
        messages_dropped=publisher.dropped,
    )
    newest_ns = max((one.captured_ns for one in stats), default=0)
    with contextlib.suppress(StreamError):  # it is what failed
        WireSink(Sealer(session_id, SystemClock().unix_ns), [publisher]).status(status, newest_ns)
