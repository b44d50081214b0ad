"""The map of a run into its file: now and then while it runs, and at the end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from spark3r_core.stream.keyframe_map import KeyframeMap
from spark3r_stream.clock import Clock
from spark3r_stream.engine.results import StepOutput
from spark3r_stream.errors import MapFileError
from spark3r_stream.frame import Frame
from spark3r_stream.map_file.saved_map import MapFacts
from spark3r_stream.map_file.target import check_map_target
from spark3r_stream.map_file.writing import write_map

INTERVAL_NS = 60_000_000_000


class HasMap(Protocol):
    """What has a map that is never changed, only replaced."""

    @property
    def world(self) -> KeyframeMap: ...


class MapSaver:
    """A sink that writes the map every minute, in a thread of its own, and when it is closed.

    A map that is given up for a new one (tracking was lost) is kept until the new one has as many keyframes: a run that
    is lost in its last second still leaves what it had.

    facts_of: what the map was made from, given the time of the first frame. overwrite: an older map may be replaced.
    on_error: gets the MapFileError of a map that could not be written while the run goes on; one at the end is raised.
    Raises MapFileError at once if `path` would be something that is not replaced.
    """

    def __init__(
        self,
        path: Path,
        source: HasMap,
        facts_of: Callable[[int], MapFacts],
        clock: Clock,
        *,
        overwrite: bool,
        on_error: Callable[[MapFileError], None],
        interval_ns: int = INTERVAL_NS,
    ) -> None:
        check_map_target(path, overwrite)
        self._path, self._source, self._facts_of, self._clock = path, source, facts_of, clock
        self._overwrite, self._on_error, self._interval_ns = overwrite, on_error, interval_ns
        self._kept = KeyframeMap()
        self._captured_ns: int | None = None
        self._due_ns = clock.monotonic_ns() + interval_ns
        self._thread: threading.Thread | None = None
        self.written = 0

    def window(self, frames: Sequence[Frame], result: StepOutput) -> None:
        if self._captured_ns is None and frames:
            self._captured_ns = frames[0].captured_ns
        if result.keyframes or result.corrections:
            self._keep(self._source.world)
        if self._clock.monotonic_ns() < self._due_ns or not self._kept.keyframes:
            return
        if self._thread is None or not self._thread.is_alive():
            self._due_ns = self._clock.monotonic_ns() + self._interval_ns
            self._thread = threading.Thread(target=self._write_beside, args=[self._kept], name="spark3r-map-file")
            self._thread.start()

    def close(self) -> None:
        """Write the last map. Nothing is written for a run that had none. Raises MapFileError."""
        if self._thread is not None:
            self._thread.join()
        if self._kept.keyframes:
            self._write(self._kept)

    def _keep(self, world: KeyframeMap) -> None:
        continues = not self._kept.keyframes or self._kept.order[0] in world.keyframes
        if continues or len(world.keyframes) >= len(self._kept.keyframes):
            self._kept = world

    def _write_beside(self, world: KeyframeMap) -> None:
        try:
            self._write(world)
        except MapFileError as error:
            self._on_error(error)

    def _write(self, world: KeyframeMap) -> None:
        mine = self._overwrite or self.written > 0
        write_map(self._path, world, self._facts_of(self._captured_ns or 0), overwrite=mine)
        self.written += 1
