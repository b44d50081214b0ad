"""Where a map goes: never over a file that is no map, and over an older one only when that is asked for."""

from __future__ import annotations

from pathlib import Path

from spark3r_stream.errors import MapFileError
from spark3r_stream.files import why_not_replaced
from spark3r_stream.map_file.layout import MAGIC

HEAD_BYTES = 64
OLDER_MAP = "there is a map already; --overwrite replaces it, or choose another name"


def is_map(head: bytes) -> bool:
    """Whether the first bytes of a file are those of a map. head: 64 of them."""
    start = b'{"__metadata__":{"' + MAGIC.encode() + b'":'
    return head[8 : 8 + len(start)] == start


def check_map_target(path: Path, overwrite: bool) -> None:
    """Raises MapFileError if writing a map to `path` would destroy something. overwrite: an older map may go."""
    why = why_not_replaced(path, "map", HEAD_BYTES, is_map, older=None if overwrite else OLDER_MAP)
    if why is not None:
        raise MapFileError(f"cannot write the map {path}: {why}")
