"""The thread that carries frames from a source into a frame buffer, and its end.

End protocol: the source ends → the buffer is closed; the source or this thread fails → the reader gets that error;
`stop` → stop flag, buffer closed (wakes a blocked put), source closed (wakes a blocked read), bounded join.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from spark3r_stream.camera_name import inheriting_thread
from spark3r_stream.engine.frame_buffer import FrameBuffer
from spark3r_stream.errors import EndOfStream
from spark3r_stream.frame import Frame
from spark3r_stream.sources.base import Source
from spark3r_stream.stats import DropCause


class Producer:
    """Reads `source` until its end in a thread of its own. The thread is a daemon: one that is stuck in a driver
    cannot keep the program alive."""

    def __init__(
        self,
        source: Source,
        buffer: FrameBuffer,
        prepare: Callable[[Frame], Frame] = lambda frame: frame,
        since_ns: int | None = None,
    ) -> None:
        """prepare: work on a picture that needs nothing of those before it, done here beside the reader's. since_ns:
        frames captured before are left out and counted as SUPERSEDED; None: every frame is handed on."""
        self._source = source
        self._prepare = prepare
        self._buffer = buffer
        self._since_ns = since_ns
        self._stop = threading.Event()
        self._thread = inheriting_thread(self._run, "spark3r-producer")

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> bool:
        """End the stream from the reader's side. True when the thread has ended within `timeout_s`. Idempotent."""
        self._stop.set()
        self._buffer.close()
        self._source.close()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def __enter__(self) -> Producer:
        self.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                frame = self._source.read()
                # before the frame, so that a loss is reported with the first frame after it
                self._buffer.drops.add_all(self._source.drops.take())
                if self._since_ns is not None and frame.captured_ns < self._since_ns:
                    self._buffer.drops.add(DropCause.SUPERSEDED)
                    continue
                if not self._buffer.put(self._prepare(frame)):
                    return
        except EndOfStream:
            self._buffer.drops.add_all(self._source.drops.take())
            self._buffer.close()
        except BaseException as error:  # whatever it is, the reader must not wait for ever
            self._buffer.drops.add_all(self._source.drops.take())
            self._buffer.fail(error)
        finally:
            self._source.close()
