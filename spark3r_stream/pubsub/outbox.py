"""Messages between whoever publishes and the publisher's thread: bounded, counted, never waited for."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable

from spark3r_stream.wire.envelope import Message


class Outbox:
    """A queue of at most `most` messages. Safe for several threads; `take`, `sent` and `fail` are for one.

    wake: tells that thread that something is here; called once until it has taken it, never at the same time twice.
    dropped: messages that found the queue full, or nobody to send them. closed: nothing is put any more.
    """

    def __init__(self, most: int, wake: Callable[[], None]) -> None:
        self.closed = False
        self.dropped = 0
        self._most = most
        self._wake = wake
        self._queue: deque[Message] = deque()
        self._unsent = 0
        self._failed = False
        self._signalled = False
        self._lock = threading.Lock()
        self._all_sent = threading.Condition(self._lock)

    def put(self, messages: Iterable[Message]) -> bool:
        """Never blocks. False if it is closed."""
        with self._lock:
            if self.closed:
                return False
            for message in messages:
                if not self._failed and len(self._queue) < self._most:
                    self._queue.append(message)
                    self._unsent += 1
                else:
                    self.dropped += 1
            self._signal()
            return True

    def close(self, *, wake: bool) -> None:
        """Nothing more comes. wake: whether the thread is there to be told."""
        with self._lock:
            self.closed = True
            if wake:
                self._signal()

    def take(self) -> deque[Message]:
        """All that is there; to be followed by `sent`."""
        with self._lock:
            messages, self._queue = self._queue, deque()
            self._signalled = False
            return messages

    def sent(self, count: int) -> None:
        with self._lock:
            self._unsent -= count
            self._all_sent.notify_all()

    def fail(self) -> None:
        """Nobody sends any more: what waits is dropped, and so is all that comes."""
        with self._lock:
            self._failed = True
            self.dropped += self._unsent
            self._unsent = 0
            self._queue.clear()
            self._all_sent.notify_all()

    def wait_sent(self, timeout_s: float) -> bool:
        """Wait until all that was put is sent; False after `timeout_s`."""
        with self._lock:
            return self._all_sent.wait_for(lambda: self._unsent == 0, timeout_s)

    @property
    def finished(self) -> bool:
        """Closed, and nothing left to take."""
        with self._lock:
            return self.closed and not self._queue and not self._signalled

    def _signal(self) -> None:
        """One signal is enough, however many messages wait."""
        if not self._signalled:
            self._signalled = True
            self._wake()
