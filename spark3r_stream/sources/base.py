"""What every source is: an info, a state, frames one at a time, and a close that works from any thread."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from spark3r_stream.frame import Frame
from spark3r_stream.stats import DropCounter


class SourceKind(Enum):
    """Where frames come from."""

    VIDEO = "video"  # a container file, local or over HTTP
    IMAGES = "images"
    CAMERA = "camera"
    NETWORK = "network"  # a live stream
    SYNTHETIC = "synthetic"
    RECORDING = "recording"  # of an earlier run, whatever that read


class SourceState(Enum):
    """Files only ever open, stream and end (or fail); stalls and reconnects belong to live sources."""

    OPENING = "opening"
    STREAMING = "streaming"
    STALLED = "stalled"  # connected, but no frame for longer than expected
    RECONNECTING = "reconnecting"
    ENDED = "ended"
    FAILED = "failed"


LEGAL_TRANSITIONS: dict[SourceState, frozenset[SourceState]] = {
    SourceState.OPENING: frozenset({SourceState.STREAMING, SourceState.ENDED, SourceState.FAILED}),
    SourceState.STREAMING: frozenset(
        {SourceState.STALLED, SourceState.RECONNECTING, SourceState.ENDED, SourceState.FAILED}
    ),
    SourceState.STALLED: frozenset(
        {SourceState.STREAMING, SourceState.RECONNECTING, SourceState.ENDED, SourceState.FAILED}
    ),
    SourceState.RECONNECTING: frozenset({SourceState.STREAMING, SourceState.ENDED, SourceState.FAILED}),
    SourceState.ENDED: frozenset(),
    SourceState.FAILED: frozenset(),
}


class SourceStateBox:
    """The current state; `to` refuses an illegal transition with RuntimeError (a bug of the source, not the user)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._state = SourceState.OPENING

    @property
    def state(self) -> SourceState:
        with self._lock:
            return self._state

    def to(self, new: SourceState) -> None:
        """Move to `new`; staying is allowed, leaving ENDED or FAILED is not."""
        with self._lock:
            if new is self._state:
                return
            if new not in LEGAL_TRANSITIONS[self._state]:
                raise RuntimeError(f"a source cannot go from {self._state.value} to {new.value}")
            self._state = new

    def finish(self, final: SourceState) -> None:
        """ENDED or FAILED, unless the source has finished already: `close` races with the end of the stream."""
        with self._lock:
            if LEGAL_TRANSITIONS[self._state]:
                self._state = final


@dataclass(frozen=True)
class SourceInfo:
    """What is known once a source is open.

    name: the URI without credentials. size: (width, height) of the upright first frame in pixels; later frames may
    differ. nominal_fps: what the container or device claims, None if it claims nothing. frame_count: exact for folders
    and synthetic sequences, the container's claim for videos, None where there is no end. is_live: time does not wait
    for the reader, so the newest frame is kept and captured_ns is Unix time. notes: one line each, things the user
    should know (a timestamps.txt that does not fit, for example). recorded_live: a recording of a live source.
    """

    kind: SourceKind
    name: str
    is_live: bool
    size: tuple[int, int]
    nominal_fps: float | None
    frame_count: int | None
    notes: tuple[str, ...] = ()
    recorded_live: bool = False

    @property
    def captured_is_unix(self) -> bool:
        """Whether captured_ns is Unix time, and not the file's own."""
        return self.is_live or self.recorded_live

    @property
    def has_own_times(self) -> bool:
        """Whether pts_ns says when in a finite sequence a frame comes, however fast it is played."""
        return self.kind in (SourceKind.VIDEO, SourceKind.IMAGES, SourceKind.SYNTHETIC)


class Source(Protocol):
    """An open source. `read` belongs to one thread; everything else may be called from any thread.

    state, info, drops: `drops` counts what was lost inside the source (undecodable packets, full slots).
    """

    drops: DropCounter

    @property
    def info(self) -> SourceInfo: ...

    @property
    def state(self) -> SourceState: ...

    def read(self) -> Frame:
        """The next frame; blocks. Raises EndOfStream after the last one or after `close`, SourceError when it fails."""
        ...

    def close(self) -> None:
        """Release everything and wake a blocked `read`. Idempotent."""
        ...
