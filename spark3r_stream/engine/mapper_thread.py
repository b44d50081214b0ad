"""The thread that maps keyframes beside the tracker: one request at a time, its update picked up when it is due."""

from __future__ import annotations

import logging
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from spark3r_core.stream.mapper import KeyframeRequest, Mapper, MapUpdate

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pending:
    """due: id of the frame before which a file adopts the update; a live stream adopts it when it is there."""

    request: KeyframeRequest
    future: Future[MapUpdate]
    due: int


class MapperThread:
    """Runs `Mapper.map` beside the caller."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="spark3r-mapper")
        self.pending: Pending | None = None

    @property
    def is_free(self) -> bool:
        return self.pending is None

    @property
    def is_ready(self) -> bool:
        """Whether an update waits to be adopted."""
        return self.pending is not None and self.pending.future.done()

    def submit(self, mapper: Mapper, request: KeyframeRequest, due: int) -> None:
        assert self.pending is None, "one request at a time"
        self.pending = Pending(request, self._executor.submit(mapper.map, request), due)

    def take(self) -> tuple[KeyframeRequest, MapUpdate | Exception]:
        """The update, waited for, or what mapping raised: the stream outlives a keyframe."""
        assert self.pending is not None, "nothing was asked for"
        pending, self.pending = self.pending, None
        try:
            return pending.request, pending.future.result()
        except Exception as error:
            log.exception("keyframe %d could not be mapped", pending.request.frame_id)
            return pending.request, error

    def drop(self) -> None:
        """Forget what was asked for; a map that was given up needs it no more."""
        if self.pending is not None:
            self.pending.future.cancel()
            self.pending.future.exception() if not self.pending.future.cancelled() else None
            self.pending = None

    def close(self) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)
