"""A map into its file: the same bytes for the same map, whole or not at all, and never over what is no map."""

from __future__ import annotations

import contextlib
import secrets
from pathlib import Path

from spark3r_core.stream.keyframe_map import KeyframeMap
from spark3r_stream.errors import MapFileError
from spark3r_stream.files import open_new, write_all
from spark3r_stream.map_file.checks import check_values
from spark3r_stream.map_file.header import checked_header, header_json
from spark3r_stream.map_file.layout import COUNTS, MAGIC, MAX_BYTES
from spark3r_stream.map_file.packing import packed
from spark3r_stream.map_file.saved_map import MapFacts
from spark3r_stream.map_file.target import check_map_target


def map_bytes(world: KeyframeMap, facts: MapFacts) -> bytes:
    """The bytes of a map's file. Raises ValueError if it is empty, too large for one, or holds what no map does."""
    from safetensors.numpy import save

    if not world.keyframes:
        raise ValueError("it has no keyframes")
    arrays, counts = packed(world)
    for name, most in COUNTS.items():
        if counts[name] > most:
            raise ValueError(f"it has {counts[name]} {name}; a file holds {most}; a smaller --map-memory keeps fewer")
    size = sum(array.nbytes for array in arrays.values())
    if size > MAX_BYTES - (1 << 20):
        raise ValueError(
            f"it would have {size / 2**20:.0f} MiB; a file holds {MAX_BYTES >> 20}; a smaller --map-memory keeps fewer"
            " keyframes"
        )
    header = header_json(world, facts, counts)
    check_values(checked_header(header), arrays)  # what is written can be read
    return save(arrays, {MAGIC: header})  # type: ignore[arg-type]


def write_map(path: Path, world: KeyframeMap, facts: MapFacts, *, overwrite: bool) -> int:
    """Write beside `path` and rename; what was there stays whole until then. Returns the bytes written.

    Raises MapFileError as `check_map_target` does, for a full disk, and for a map too large for a file.
    """
    check_map_target(path, overwrite)
    try:
        data = map_bytes(world, facts)
    except ValueError as error:
        raise MapFileError(f"cannot write the map {path}: {error}") from None
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    try:
        with open_new(part) as file:
            write_all(file, data)
        part.replace(path)
    except OSError as error:
        raise MapFileError(f"cannot write the map {path}: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink()
    return len(data)
