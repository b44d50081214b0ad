"""The bounded hand-over between the thread that reads a source and the thread that runs the network."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from spark3r_stream.errors import EndOfStream
from spark3r_stream.frame import Frame
from spark3r_stream.stats import DropCause, DropCounter


class DropPolicy(Enum):
    """What a full buffer does with one more frame."""

    LOSSLESS = "lossless"  # `put` waits: a file is never ahead of the network by more than the capacity
    NEWEST = "newest"  # the oldest waiting frame is dropped, counted as SUPERSEDED: a camera never lags

    @staticmethod
    def for_source(is_live: bool) -> DropPolicy:
        return DropPolicy.NEWEST if is_live else DropPolicy.LOSSLESS


@dataclass(frozen=True)
class FrameBatch:
    """What one `get` returns.

    frames: oldest first; empty only when the timeout passed.
    drops: frames lost since the previous `get`, by cause (in the buffer and before it); each is reported exactly once.
    waiting: frames still in the buffer, which is how far the reader lags.
    """

    frames: tuple[Frame, ...]
    drops: Mapping[DropCause, int]
    waiting: int


class FrameBuffer:
    """A queue for one producer and one reader with a stated end.

    The producer ends it with `close()` (no more frames) or `fail(error)`; the reader ends it with `close()`. Either
    side being blocked is woken. Frames put before the end are still delivered; then `get` raises EndOfStream or, after
    `fail`, that error, every time it is called.
    """

    def __init__(self, capacity: int, policy: DropPolicy) -> None:
        if capacity < 1:
            raise ValueError(f"frame buffer capacity must be at least 1, got {capacity}")
        self.capacity = capacity
        self.policy = policy
        self.drops = DropCounter()
        self._waiting: deque[Frame] = deque()
        self._closed = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()

    def put(self, frame: Frame) -> bool:
        """Hand over one frame; LOSSLESS blocks while full. False when the buffer has ended: the frame was not taken."""
        with self._changed:
            if self.policy is DropPolicy.LOSSLESS:
                self._changed.wait_for(lambda: self._closed or len(self._waiting) < self.capacity)
            if self._closed:
                return False
            if len(self._waiting) >= self.capacity:
                self._waiting.popleft()
                self.drops.add(DropCause.SUPERSEDED)
            self._waiting.append(frame)
            self._changed.notify_all()
            return True

    def get(self, max_frames: int, timeout_s: float | None = None) -> FrameBatch:
        """Wait for a frame and take up to `max_frames` of those there, oldest first.

        timeout_s: None waits for ever; after the timeout the batch has no frames (but may have drops).
        Raises EndOfStream when the buffer was closed and is empty, or the producer's own error after `fail`.
        """
        if max_frames < 1:
            raise ValueError(f"max_frames must be at least 1, got {max_frames}")
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._waiting, timeout_s)
            if not self._waiting and self._closed:
                if self._error is not None:
                    raise self._error
                raise EndOfStream("no more frames")
            frames = tuple(self._waiting.popleft() for _ in range(min(max_frames, len(self._waiting))))
            batch = FrameBatch(frames, self.drops.take(), len(self._waiting))
            self._changed.notify_all()
            return batch

    def close(self) -> None:
        """End the stream and wake both sides. Idempotent; keeps an earlier error."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def fail(self, error: BaseException) -> None:
        """End the stream with `error`, which the reader gets after the frames put before. The first end wins."""
        with self._changed:
            if not self._closed:
                self._error = error
                self._closed = True
            self._changed.notify_all()

    @property
    def ended(self) -> bool:
        """True when nothing more can be put (frames may still be waiting)."""
        with self._changed:
            return self._closed

    def __len__(self) -> int:
        with self._changed:
            return len(self._waiting)
