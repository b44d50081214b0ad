"""Binary little-endian PLY point clouds: x y z float32, red green blue uint8, confidence float32 (19 bytes a point)."""

from __future__ import annotations

import io
import re
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np
from numpy.typing import ArrayLike

from spark3r_stream.errors import OutputError
from spark3r_stream.files import open_new
from spark3r_stream.map.cloud import PointCloud

_VERTEX = np.dtype([("xyz", "<f4", 3), ("rgb", "u1", 3), ("confidence", "<f4")])
_HEADER_BYTES = 320
MODEL_UNITS = "lengths in model units, OpenCV axes of the first camera"
_READ_TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "<i2", "int16": "<i2", "ushort": "<u2",
    "uint16": "<u2", "int": "<i4", "int32": "<i4", "uint": "<u4", "uint32": "<u4", "float": "<f4", "float32": "<f4",
    "double": "<f8", "float64": "<f8",
}  # fmt: skip


class PlyWriter:
    """Streams points to a file of any length; the vertex count in the header is brought up to date by every append."""

    def __init__(self, path: str | Path, comment: str = MODEL_UNITS) -> None:
        """comment: in the header, of at most 80 ASCII characters."""
        self.path = Path(path)
        self.count, self._comment = 0, comment
        try:
            self._file: IO[bytes] = io.BufferedWriter(open_new(self.path))  # type: ignore[arg-type]
            self._file.write(_header(0, comment))
        except OSError as error:
            raise OutputError(f"cannot write {self.path}: {error.strerror}") from error

    def append(self, points: ArrayLike, colours: ArrayLike, confidence: ArrayLike) -> None:
        """Points (n, 3), colours (n, 3) uint8 RGB, confidence (n,)."""
        points, colours, confidence = np.asarray(points), np.asarray(colours), np.asarray(confidence)
        n = len(points)
        if points.shape != (n, 3) or colours.shape != (n, 3) or confidence.shape != (n,) or colours.dtype != np.uint8:
            raise OutputError(
                f"cloud of shapes {points.shape}, {colours.shape} {colours.dtype}, {confidence.shape}; "
                "expected (n, 3), (n, 3) uint8, (n,)"
            )
        block = np.empty(n, _VERTEX)
        block["xyz"], block["rgb"], block["confidence"] = points, colours, confidence
        try:
            self._file.write(block.tobytes())
            self.count += n
            self._file.seek(0)
            self._file.write(_header(self.count, self._comment))
            self._file.seek(0, 2)
            self._file.flush()
        except OSError as error:
            raise OutputError(f"cannot write {self.path}: {error.strerror}") from error

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> PlyWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def write_ply(path: str | Path, cloud: PointCloud, comment: str = MODEL_UNITS) -> None:
    """Write beside `path` and rename, so that an older file stays whole until the new one is."""
    path = Path(path)
    part = path.with_name(path.name + ".part")
    with PlyWriter(part, comment) as writer:
        for start in range(0, len(cloud.points), 1_000_000):  # bounds the packed copy
            writer.append(*cloud.take(slice(start, start + 1_000_000)))
    try:
        part.replace(path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error


def read_ply(path: str | Path) -> PointCloud:
    """Read a binary little-endian PLY whose vertices are scalars. Missing colours become grey, missing confidence 1.

    Raises OutputError for other kinds of PLY and for files that are cut short.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise OutputError(f"cannot read {path}: {error.strerror}") from error
    end = data.find(b"end_header\n")
    if not data.startswith(b"ply\n") or end < 0:
        raise OutputError(f"{path} is not a PLY file")
    header = data[:end].decode("ascii", "replace")
    element = re.search(r"element vertex (\d+)\s*\n((?:(?:property|comment) .*\n)*)", header)
    if "format binary_little_endian 1.0" not in header or not element or "element" in header[: element.start()]:
        raise OutputError(f"{path}: expected binary little-endian PLY that begins with vertices")
    properties = re.findall(r"property (\w+) (\w+)", element[2])
    if any(kind not in _READ_TYPES for kind, _ in properties) or not {"x", "y", "z"} <= {
        name for _, name in properties
    }:
        raise OutputError(f"{path}: vertex properties {properties} are not scalars with x, y and z")
    dtype = np.dtype([(name, _READ_TYPES[kind]) for kind, name in properties])
    count, start = int(element[1]), end + len(b"end_header\n")
    if len(data) - start < count * dtype.itemsize:
        raise OutputError(
            f"{path} is cut short: {len(data) - start} bytes of points, expected {count * dtype.itemsize}"
        )
    table = np.frombuffer(data, dtype, count, start)
    names = dtype.names or ()
    colours = (
        np.stack([table[name] for name in ("red", "green", "blue")], -1)
        if {"red", "green", "blue"} <= set(names)
        else np.full((count, 3), 128)
    )
    confidence = table["confidence"] if "confidence" in names else np.ones(count)
    points = np.stack([table[axis] for axis in "xyz"], -1).astype(np.float32)
    return PointCloud(points, colours.astype(np.uint8), confidence.astype(np.float32))


def _header(count: int, comment: str) -> bytes:
    lines = (
        f"ply\nformat binary_little_endian 1.0\ncomment {comment}\n"
        f"element vertex {count}\nproperty float x\nproperty float y\nproperty float z\nproperty uchar red\n"
        "property uchar green\nproperty uchar blue\nproperty float confidence\n"
    )
    # A comment of spaces keeps the length constant, so that the count can be replaced in place.
    padding = _HEADER_BYTES - len(lines) - len("comment \nend_header\n")
    return f"{lines}comment {' ' * padding}\nend_header\n".encode("ascii")
