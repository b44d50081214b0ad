"""`spark3r_stream.Mapper`: pictures that a program has itself, one call per frame."""

from __future__ import annotations

import contextlib
import threading
from types import TracebackType
from typing import Any

import numpy as np

from spark3r_stream.api.growing import GrowingMap
from spark3r_stream.api.results import Map, Result, results_of
from spark3r_stream.api.settings import settings
from spark3r_stream.config import ConfigError
from spark3r_stream.engine.loop import EngineStep, Window
from spark3r_stream.packets import PacketHook
from spark3r_stream.running.run import opened_run
from spark3r_stream.sources.pushed import PUSHED, PushedSource

FPS = 30.0  # of frames that come without a time
_OF_SOURCES = ("pace", "rtsp_transport", "max_restarts", "max_frames", "track", "window", "refine")


class Mapper:
    """Tracks every picture it is given, and maps keyframes, as `spark3r run` does.

        with spark3r_stream.Mapper(camera="calibration.yaml") as mapper:
            for image, time in my_camera():
                result = mapper.process(image, time)

    model: backbone, see `spark3r models`. live: never wait for a keyframe to be mapped; times are Unix time then.
    Otherwise results do not depend on the machine's speed, and `process` waits where it must.
    keep_map: see `spark3r_stream.run`. options: those of `spark3r run` that say nothing of how a source is read.

    Loading the model takes a second or two. Close it, or use `with`: a process of its own maps the keyframes, and
    files are whole only then. Not safe for several threads. Raises a `Spark3rError`, as `spark3r_stream.run`.
    """

    def __init__(self, model: str = "bundled", *, live: bool = False, keep_map: bool = True, **options: Any) -> None:
        for name in _OF_SOURCES:
            if name in options:
                raise ConfigError(f"{name!r} means nothing to Mapper, which is handed its frames; leave it away")
        fps = options.pop("fps", None)
        self._config = settings(PUSHED, {**options, "model": model, "live": live})
        self._period_ns = round(1e9 / (fps or FPS))
        self._map = GrowingMap(self._config.max_points) if keep_map else None
        self._source: PushedSource | None = None
        self._is_finished = False
        self._closing = contextlib.ExitStack()
        self._run = self._closing.enter_context(opened_run(self._config, threading.Event(), pushed=self._pushed))
        if self._map is not None:
            self._map.begin(self._run.source)
            self._run.add_map(self._map)

    def process(self, image: np.ndarray, time: float | None = None) -> Result:
        """Track the next frame. image: (H, W, 3) uint8 RGB. time: seconds, later than before; with live=True Unix
        time. None: now with live=True, else a frame every 1/30 s (`fps`).

        A frame that cannot be tracked has a result that says so. Raises SourceError for a picture that is none, a time
        that goes back, and after `finish` or `close`.
        """
        assert self._source is not None
        time_ns = self._next_ns() if time is None else round(time * 1e9)
        frame = self._source.frame(image, time_ns)
        (step,) = self._ending_on_error(Window([frame]))
        (result,) = results_of(step, not self._config.live)
        return result

    def finish(self) -> Map | None:
        """After the last frame: adjust all keyframes together once, and give the final map (None with keep_map=False).

        It may take some seconds. Further calls give the map again.
        """
        if not self._is_finished:
            self._is_finished = True
            assert self._source is not None
            self._source.close()
            for _ in self._run.finish():
                pass
        return None if self._map is None else GrowingMap.taken(self._map)

    def map(self) -> Map:
        """The map so far. Raises ConfigError with keep_map=False."""
        return GrowingMap.taken(self._map)

    def close(self) -> None:
        """Write and close everything. Without `finish` before, keyframes are not adjusted once more, except where
        results are written or sent. Further calls do nothing."""
        try:
            if self._run.keeps and self._run.stats.frames_in:
                self.finish()
        finally:
            self._is_finished = True
            self._closing.close()

    def __enter__(self) -> Mapper:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _pushed(self, on_packet: PacketHook | None) -> PushedSource:
        self._source = PushedSource(self._config.live, on_packet)
        return self._source

    def _next_ns(self) -> int:
        assert self._source is not None
        return self._run.clock.unix_ns() if self._config.live else self._source.next_id * self._period_ns

    def _ending_on_error(self, window: Window) -> list[EngineStep]:
        """A run that breaks off has failed, and tells its subscribers so."""
        try:
            return list(self._run.window(window))
        except BaseException as error:
            self._is_finished = True
            self._closing.__exit__(type(error), error, error.__traceback__)
            raise
