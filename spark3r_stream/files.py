"""A file in place of whatever has its name: a symbolic link there is replaced and never followed."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import IO


def open_new(path: Path) -> IO[bytes]:
    """A new empty file named `path`, without a buffer; a file or symbolic link that had the name is removed first.

    A link's target and the other names of a hard link stay as they are. Raises OSError, for a folder or device too.
    """
    with contextlib.suppress(FileNotFoundError):
        mode = path.lstat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
            raise OSError(errno.EEXIST, "a folder or a device has this name", str(path))
        path.unlink()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    return open(os.open(path, flags, 0o666), "wb", buffering=0)


def write_whole(path: Path, data: bytes) -> None:
    """Write through a file beside `path`, so that an older one stays whole until the new one is. Raises OSError."""
    part = path.with_name(path.name + ".part")
    try:
        with open_new(part) as file:
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]
        part.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink()
        raise
