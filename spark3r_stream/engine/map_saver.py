"""When the map of a run is written to its file: now and then while it runs, and at the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Protocol

from spark3r_stream.clock import Clock
from spark3r_stream.engine.results import StepOutput
from spark3r_stream.errors import MapFileError
from spark3r_stream.frame import Frame
from spark3r_stream.map_file.saved_map import MapFacts
from spark3r_stream.map_file.target import check_map_target

INTERVAL_NS = 60_000_000_000


class SavesMap(Protocol):
    """What has a map and writes it beside the caller, see `MapperHost.save_map`."""

    def save_map(self, path: Path, facts: MapFacts, overwrite: bool) -> Future[int]: ...


class MapSaver:
    """A sink that has the map written every minute, and when it is closed.

    The map is packed where it lives, between two keyframes: about 4 ms per keyframe that it has.

    facts_of: what the map was made from, given the time of the first frame. overwrite: an older map may be replaced.
    on_error: gets the MapFileError of a map that could not be written while the run goes on; one at the end is raised.
    Raises MapFileError at once if `path` would be something that is not replaced.
    """

    def __init__(
        self,
        path: Path,
        source: SavesMap,
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
        self._captured_ns: int | None = None
        self._due_ns = clock.monotonic_ns() + interval_ns
        self._writing: Future[int] | None = None

    def window(self, frames: Sequence[Frame], result: StepOutput) -> None:
        if self._captured_ns is None and frames:
            self._captured_ns = frames[0].captured_ns
        if self._writing is not None and self._writing.done():
            self._finish_writing()
        if self._writing is None and self._clock.monotonic_ns() >= self._due_ns:
            self._due_ns = self._clock.monotonic_ns() + self._interval_ns
            self._writing = self._write()

    def close(self) -> None:
        """Write the last map. Nothing is written for a run that had none. Raises MapFileError."""
        if self._writing is not None:
            self._finish_writing()
        self._overwrite = self._write().result() > 0 or self._overwrite

    def _write(self) -> Future[int]:
        return self._source.save_map(self._path, self._facts_of(self._captured_ns or 0), self._overwrite)

    def _finish_writing(self) -> None:
        writing, self._writing = self._writing, None
        assert writing is not None
        try:
            self._overwrite = writing.result() > 0 or self._overwrite  # from now on what is there is ours
        except MapFileError as error:
            self._on_error(error)
