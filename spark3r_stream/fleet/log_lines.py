"""What an actor logs, kept until the fleet's own process takes it, and says it with the camera that it is about."""

from __future__ import annotations

import logging
import threading
import traceback
from collections import deque
from typing import NamedTuple

from spark3r_stream.camera_name import camera_now, working_for

MOST_LINES = 200  # that wait; older ones are left out, and that is said
PACKAGES = ("spark3r_core", "spark3r_stream")

log = logging.getLogger(__name__)


class LogLine(NamedTuple):
    level: int
    camera: str
    text: str


class LogLines(logging.Handler):
    """Takes what the packages log in this process, from a level on, in place of what took it before.

    camera: that it is about where nothing else is said.
    """

    def __init__(self, least: int, camera: str = "") -> None:
        super().__init__()
        self._camera = camera
        self._waiting: deque[LogLine] = deque(maxlen=MOST_LINES)
        self._left_out = 0
        self._guard = threading.Lock()
        for name in PACKAGES:
            logger = logging.getLogger(name)
            logger.setLevel(least)
            logger.handlers = [self]
            logger.propagate = False

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.exc_info is not None and record.exc_info[0] is not None:
            text += "\n" + "".join(traceback.format_exception(*record.exc_info))
        with self._guard:
            self._left_out += len(self._waiting) == MOST_LINES
            self._waiting.append(LogLine(record.levelno, camera_now() or self._camera, text))

    def take(self) -> list[LogLine]:
        """What has come since the last time."""
        with self._guard:
            lines, left_out = list(self._waiting), self._left_out
            self._waiting.clear()
            self._left_out = 0
        if left_out:
            lines.insert(0, LogLine(logging.WARNING, "", f"{left_out} earlier lines were left out"))
        return lines


def say(lines: list[LogLine]) -> None:
    """In the fleet's process, as if it had happened here."""
    for line in lines:
        with working_for(line.camera):
            for text in line.text.splitlines():
                log.log(line.level, "%s", text)
