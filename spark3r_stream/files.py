"""A file in place of whatever has its name: a symbolic link there is replaced and never followed."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable
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


def write_all(file: IO[bytes], data: bytes) -> None:
    """All of it, to a file without a buffer, which may take less at a time. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def why_not_replaced(
    path: Path, kind: str, head_bytes: int, is_kind: Callable[[bytes], bool], *, older: str | None
) -> str | None:
    """Why a file may not be written at `path`: it would follow a link or destroy what is no older file of its kind.

    None where there is nothing, or an empty file. kind: what is written, in words. is_kind: tells it from the first
    `head_bytes` bytes. older: why one of its kind is not replaced; None: it may be, the user said so.
    """
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        return str(getattr(error, "strerror", error))
    if stat.S_ISLNK(status.st_mode):
        return "it is a symbolic link; name the file itself"
    if not stat.S_ISREG(status.st_mode):
        return "it is a folder or a device; name a file"
    if status.st_size == 0:
        return None
    try:
        with path.open("rb") as file:
            is_older = is_kind(file.read(head_bytes))
    except OSError as error:
        return str(error.strerror)
    return older if is_older else f"it exists and is no {kind}; choose another name"


def write_whole(path: Path, data: bytes) -> None:
    """Write through a file beside `path`, so that an older one stays whole until the new one is. Raises OSError."""
    part = path.with_name(path.name + ".part")
    try:
        with open_new(part) as file:
            write_all(file, data)
        part.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink()
        raise
