"""The thread that waits for the mapper, so that the tracker need not: one request at a time, its update picked up when
it is due."""

from __future__ import annotations

import logging
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from spark3r_core.metric.gps import KnownPlaces
from spark3r_core.stream.dense_depth import DenseDepth
from spark3r_core.stream.map_update import KeyframeRequest, MapUpdate
from spark3r_stream.engine.mapper_host import MapperEnded, MapperHost
from spark3r_stream.map_file.saved_map import MapFacts

log = logging.getLogger(__name__)

Facts = TypeVar("Facts")


@dataclass(frozen=True)
class Pending(Generic[Facts]):
    """facts: the caller's own, kept for it. due: id of the frame before which a file adopts the update; a live stream
    adopts it when it is there."""

    request: KeyframeRequest
    facts: Facts
    future: Future[MapUpdate]
    due: int


class MapperThread(Generic[Facts]):
    """Calls a mapper beside the caller, in order."""

    def __init__(self, host: MapperHost) -> None:
        self._host = host
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="spark3r-mapper")
        self.pending: Pending[Facts] | None = None
        self._refining: list[Future[dict[int, DenseDepth]]] = []  # until they are taken

    @property
    def is_free(self) -> bool:
        return self.pending is None

    @property
    def is_ready(self) -> bool:
        """Whether an update waits to be adopted."""
        return self.pending is not None and self.pending.future.done()

    def submit(self, request: KeyframeRequest, facts: Facts, due: int) -> None:
        assert self.pending is None, "one request at a time"
        self.pending = Pending(request, facts, self._executor.submit(self._host.map, request), due)

    def refine(self) -> None:
        """Have depth read off several views, after what is under way."""
        self._refining.append(self._executor.submit(self._host.refine))

    def take_refined(self) -> dict[int, DenseDepth]:
        """What `refine` gave, waited for. Nothing is waited for before a keyframe is taken that was asked for later."""
        taken, self._refining = self._refining, []
        refined: dict[int, DenseDepth] = {}
        for future in taken:
            try:
                refined.update(future.result())
            except MapperEnded:
                raise
            except Exception:
                log.exception("depth could not be read off several views")
        return refined

    def take(self) -> tuple[Pending[Facts], MapUpdate | Exception]:
        """The update, waited for, or what mapping raised: the stream outlives a keyframe, but not its mapper."""
        assert self.pending is not None, "nothing was asked for"
        pending, self.pending = self.pending, None
        try:
            return pending, pending.future.result()
        except MapperEnded:
            raise
        except Exception as error:
            log.exception("keyframe %d could not be mapped", pending.request.frame_id)
            return pending, error

    def map_now(self, request: KeyframeRequest) -> MapUpdate:
        """Map while the caller waits; raises what mapping raised."""
        return self._executor.submit(self._host.map, request).result()

    def begin(self) -> None:
        """Forget what was asked for, and have another map begun, without waiting for what is under way."""
        if self.pending is not None:
            self.pending.future.cancel()
            self.pending = None
        for future in self._refining:
            future.cancel()
        self._refining = []
        self._executor.submit(self._host.begin)

    def finish(self, refine_all: bool, known: KnownPlaces | None = None) -> MapUpdate | None:
        return self._executor.submit(self._host.finish, refine_all, known).result()

    def save_map(self, path: Path, facts: MapFacts, overwrite: bool) -> Future[int]:
        return self._executor.submit(self._host.save_map, path, facts, overwrite)

    def close(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._host.close()  # which ends what a mapper elsewhere is doing
        self._executor.shutdown(wait=True)
