"""How a signal ends a command: in order, with its results kept; a second signal ends it at once."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator


class Interrupted(BaseException):
    """A signal came while something waited that looks at no event."""


class Stop:
    """SIGINT and SIGTERM set the event once; a second one ends the program at once."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self._signal: int | None = None
        self._interrupting = False

    @contextlib.contextmanager
    def interrupting(self) -> Iterator[None]:
        """Inside, a signal raises Interrupted: loading a model or waiting for a camera may take a minute."""
        self._interrupting = True
        try:
            if self.event.is_set():
                raise Interrupted
            yield
        finally:
            self._interrupting = False

    @contextlib.contextmanager
    def on_signals(self) -> Iterator[None]:
        def handle(number: int, frame: object) -> None:
            if self._signal is not None:
                raise KeyboardInterrupt
            self._signal = number
            self.event.set()
            if self._interrupting:
                raise Interrupted

        if threading.current_thread() is not threading.main_thread():
            yield  # embedded in a program that has its own signals
            return
        before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def exit_code(self, is_live: bool) -> int:
        return 0 if self._signal is None or is_live else 128 + self._signal
