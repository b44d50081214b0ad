"""What the packages say through `logging`, on stderr: a line each, with the name of the program before complaints."""

from __future__ import annotations

import logging
import sys
import traceback

from spark3r_stream.camera_name import camera_now
from spark3r_stream.plain_text import cleaned


class _Stderr(logging.Handler):
    """Writes to what is `sys.stderr` at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        prefix = "spark3r: " if record.levelno >= logging.WARNING else ""
        prefix += f"{camera}: " if (camera := camera_now()) else ""
        print(f"{prefix}{cleaned(record.getMessage(), 4000)}", file=sys.stderr)
        if record.exc_info is not None and record.exc_info[0] is not None:  # a fault of the program
            traceback.print_exception(*record.exc_info, file=sys.stderr)


def show_messages(least: int = logging.INFO) -> None:
    """Show messages of at least this level; a further call changes the level."""
    for name in ("spark3r_core", "spark3r_stream"):
        logger = logging.getLogger(name)
        logger.setLevel(least)
        logger.handlers = [_Stderr()]
