"""A finite source read at its own speed, as if it were live."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

from spark3r_stream.clock import Clock
from spark3r_stream.errors import EndOfStream
from spark3r_stream.frame import Frame
from spark3r_stream.sources.base import Source, SourceInfo, SourceState


class PacedSource:
    """Hands out each frame of `inner` when its pts_ns has passed since the first one was asked for.

    `info.is_live` is True, so the frame buffer keeps the newest frame and whoever is slow loses frames, as with a
    camera. captured_ns becomes Unix time (latency is then meaningful), pts_ns stays. Frames that are already late are
    handed out at once: dropping is the buffer's decision, and is counted there.
    """

    def __init__(self, inner: Source, clock: Clock) -> None:
        self._inner = inner
        self._clock = clock
        self._closed = threading.Event()
        self._start_ns: int | None = None
        self.drops = inner.drops

    @property
    def ground_truth(self) -> Any:
        """That of a synthetic source; None for everything filmed."""
        return getattr(self._inner, "ground_truth", None)

    @property
    def info(self) -> SourceInfo:
        return replace(self._inner.info, is_live=True)

    @property
    def state(self) -> SourceState:
        return self._inner.state

    def read(self) -> Frame:
        """Waits for the frame's time. Raises EndOfStream at the end or when closed while waiting."""
        frame = self._inner.read()
        if frame.pts_ns is None:
            raise ValueError("only sources with presentation times can be paced")
        now_ns = self._clock.monotonic_ns()
        if self._start_ns is None:
            self._start_ns = now_ns - frame.pts_ns
        ahead_ns = self._start_ns + frame.pts_ns - now_ns
        if (ahead_ns > 0 and self._clock.wait(self._closed, ahead_ns / 1e9)) or self._closed.is_set():
            raise EndOfStream(f"{frame.source_id} was closed")
        return replace(frame, captured_ns=self._clock.unix_ns())

    def close(self) -> None:
        self._closed.set()
        self._inner.close()
