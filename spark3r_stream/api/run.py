"""`spark3r_stream.run`: a source in, a result per frame out."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Generator, Iterator
from types import TracebackType
from typing import Any

from spark3r_stream.api.growing import GrowingMap
from spark3r_stream.api.results import Map, Result, results_of
from spark3r_stream.api.settings import settings
from spark3r_stream.config import RunConfig
from spark3r_stream.running.run import opened_run


class Run:
    """The results of one run, in order; made by `spark3r_stream.run`.

    Iterate once. Leaving the loop early ends the run: what it writes is finished, and its source, processes and files
    are closed. That happens at once when nothing else refers to the run, and in any case by `close` or at the end of a
    `with` block. Not safe for several threads.
    """

    def __init__(self, source: str | os.PathLike[str], keep_map: bool, **given: Any) -> None:
        config = settings(os.fspath(source), given)
        config.check()
        self._map = GrowingMap(config.max_points) if keep_map else None
        self._results = _results(config, self._map)

    def __iter__(self) -> Iterator[Result]:
        return self

    def __next__(self) -> Result:
        return next(self._results)

    def map(self) -> Map:
        """The map so far; after the last result, the final one. Raises ConfigError with keep_map=False."""
        return GrowingMap.taken(self._map)

    def close(self) -> None:
        """End the run. Further calls do nothing."""
        self._results.close()

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _results(config: RunConfig, growing: GrowingMap | None) -> Generator[Result, None, None]:
    """It knows nothing of its `Run`: else the two would wait for the garbage collector to be closed."""
    stop = threading.Event()
    with opened_run(config, stop, lasting=True) as run, contextlib.closing(run.steps()) as steps:
        own_times = run.source.info.has_own_times
        if growing is not None:
            growing.begin(run.source)
            run.add_map(growing)
        for step in steps:
            for result in results_of(step, own_times):
                try:
                    yield result
                except GeneratorExit:  # the caller has enough: as if the command line had been told to stop
                    stop.set()
                    if run.keeps:
                        for _ in steps:
                            pass
                    return


def run(source: str | os.PathLike[str], *, keep_map: bool = True, **options: Any) -> Run:
    """Reconstruct a source, as `spark3r run` does, and hand out a result per frame.

        for result in spark3r_stream.run("video.mp4"):
            print(result.frame_id, result.state.name, result.world_from_camera)

    source: whatever `spark3r run` takes: a video, a folder of images, "webcam:0", a URL, "synthetic:room", a recording.
    options: those of `spark3r run`, with underscores: model, camera, size, out, publish, record, map, max_frames, …
    keep_map: keep what `Run.map` needs: some hundred bytes per frame and the points. False for runs without an end.

    A file waits for the loop; a live source goes on, and frames that the loop is too slow for are lost and counted.
    The run begins with the first result that is asked for. Messages go to `logging`, logger "spark3r_stream".
    Raises a `Spark3rError` that says in one line what was found, what was expected, and what to do.
    """
    return Run(source, keep_map, **options)
