"""A replay held and let go from the keyboard, or by a program that writes lines."""

from __future__ import annotations

import threading
from typing import TextIO


class PausedByLines:
    """`paused` is set at first; each line on `lines` clears it, or sets it again.

    is_stuck: the lines came to their end while it was set, so nothing would ever let it go.
    """

    def __init__(self, lines: TextIO) -> None:
        self.paused = threading.Event()
        self.paused.set()
        self.is_stuck = False
        self._lines = lines
        # no end of its own: nothing ends a read of the keyboard but the end of the program
        threading.Thread(target=self._read, name="spark3r-pausing", daemon=True).start()

    def _read(self) -> None:
        for _ in self._lines:
            if self.paused.is_set():
                self.paused.clear()
            else:
                self.paused.set()
        self.is_stuck = self.paused.is_set()
