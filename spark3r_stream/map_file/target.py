"""Where a map goes: never over a file that is no map, and over an older one only when that is asked for."""

from __future__ import annotations

import stat
from pathlib import Path

from spark3r_stream.errors import MapFileError
from spark3r_stream.map_file.layout import MAGIC

HEAD_BYTES = 64


def is_map(head: bytes) -> bool:
    """Whether the first bytes of a file are those of a map. head: 64 of them."""
    start = b'{"__metadata__":{"' + MAGIC.encode() + b'":'
    return head[8 : 8 + len(start)] == start


def check_map_target(path: Path, overwrite: bool) -> None:
    """Raises MapFileError if writing a map to `path` would destroy something. overwrite: an older map may go."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise MapFileError(f"cannot write the map {path}: {getattr(error, 'strerror', error)}") from None
    if stat.S_ISLNK(status.st_mode):
        raise MapFileError(f"cannot write the map {path}: it is a symbolic link; name the file itself")
    if not stat.S_ISREG(status.st_mode):
        raise MapFileError(f"cannot write the map {path}: it is a folder or a device; name a file")
    if status.st_size == 0:
        return
    try:
        with path.open("rb") as file:
            is_older = is_map(file.read(HEAD_BYTES))
    except OSError as error:
        raise MapFileError(f"cannot write the map {path}: {error.strerror}") from None
    if not is_older:
        raise MapFileError(f"cannot write the map {path}: it exists and is no map; choose another name")
    if not overwrite:
        raise MapFileError(
            f"cannot write the map {path}: there is a map already, and going on in one is not possible yet;"
            " --overwrite replaces it, or choose another name"
        )
