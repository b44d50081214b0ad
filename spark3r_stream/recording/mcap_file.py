"""The records of an MCAP file from anyone, one by one: no length is believed, and nothing is unpacked beyond a bound.

The mcap package's own reader trusts lengths, takes a stump for the whole, lists all records of a chunk before it gives
the first, and unpacks whatever lz4 claims. Its parsers of single records are used; what calls them is here.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import IO

import lz4.frame
import zstandard
from mcap.data_stream import ReadDataStream
from mcap.exceptions import EndOfFile
from mcap.opcode import Opcode
from mcap.records import Channel, Chunk, Footer, Message, Metadata, Schema
from mcap.stream_reader import CRCValidationError

from spark3r_stream.recording.target import MAGIC

KIB, MIB = 1024, 1024 * 1024
MAX_RECORD_BYTES = 256 * MIB
# A few bytes can unpack to gigabytes. What a file may unpack to, and how many messages it may hold, grows with its
# size; real recordings stay far below: messages shrink to a half or a tenth, and none to less than some ten bytes.
FREE_BYTES, MAX_EXPANSION = 64 * MIB, 100
FREE_RECORDS, MIN_RECORD_BYTES = 200_000, 4
# Records that are parsed, and what they may weigh; all others are skipped unread.
_MAX_BYTES: dict[int, int] = {
    Opcode.SCHEMA: MIB,
    Opcode.CHANNEL: 64 * KIB,
    Opcode.METADATA: MIB,
    Opcode.FOOTER: KIB,
    Opcode.MESSAGE: MAX_RECORD_BYTES,
    Opcode.CHUNK: MAX_RECORD_BYTES,
}
_DECLARATIONS: dict[int, type] = {Opcode.SCHEMA: Schema, Opcode.CHANNEL: Channel}
_HEAD = struct.Struct("<BQ")  # opcode, length
_MESSAGE = struct.Struct("<HIQQ")  # channel, sequence, log time, publish time
Record = Schema | Channel | Message | Metadata | Footer


class StrictFile:
    """A file, or bytes, that refuses to read beyond its end instead of giving what is left."""

    def __init__(self, file: IO[bytes], size: int | None = None) -> None:
        self._file = file
        self.size = os.fstat(file.fileno()).st_size if size is None else size

    def read(self, size: int = -1) -> bytes:
        if size > self.size - self._file.tell():
            raise EndOfFile
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def skip(self, size: int) -> None:
        if size > self.size - self._file.tell():
            raise EndOfFile
        self._file.seek(size, 1)

    def tell(self) -> int:
        return self._file.tell()


def read_records(raw: IO[bytes], *, at_start: bool = True, messages: bool = True) -> Iterator[Record]:
    """Schemas, channels, messages, metadata and the footer in the order of the file, those inside of chunks too.

    raw: open at the magic (at_start) or at a record. messages: False skips chunks and messages.
    Raises EndOfFile at a cut, ValueError, struct.error or a library's error at damage and beyond the bounds. The
    footer comes only when the file is closed properly after it.
    """
    file = StrictFile(raw)
    budget = _Budget(file.size)
    if at_start and file.read(len(MAGIC)) != MAGIC:
        raise ValueError("not MCAP")
    while True:
        opcode, length = _HEAD.unpack(file.read(_HEAD.size))
        if opcode not in _MAX_BYTES or (not messages and opcode in (Opcode.MESSAGE, Opcode.CHUNK)):
            file.skip(length)
            continue
        if length > _MAX_BYTES[opcode]:
            raise ValueError(f"record of {length} bytes; at most {_MAX_BYTES[opcode]} are allowed")
        data = file.read(length)
        if opcode == Opcode.CHUNK:
            yield from _records_of(_parse(Chunk, data), budget)
        elif opcode == Opcode.MESSAGE:
            budget.take_record()
            yield _message(memoryview(data))
        elif opcode in _DECLARATIONS:
            yield _parse(_DECLARATIONS[opcode], data)
        elif opcode == Opcode.METADATA:
            yield _parse(Metadata, data)
        else:
            footer = _parse(Footer, data)
            if file.read(len(MAGIC)) != MAGIC:
                raise ValueError("no magic at the end")
            yield footer
            return


class _Budget:
    """What is left of what the file may unpack to."""

    def __init__(self, file_bytes: int) -> None:
        self.bytes = FREE_BYTES + MAX_EXPANSION * file_bytes
        self._records = FREE_RECORDS + file_bytes // MIN_RECORD_BYTES

    def take_record(self) -> None:
        self._records -= 1
        if self._records < 0:
            raise ValueError("more messages than a file of this size can hold")

    def take_bytes(self, count: int) -> None:
        limit = min(MAX_RECORD_BYTES, self.bytes)
        if count > limit:
            raise ValueError(f"chunk of {count} bytes; at most {limit} are allowed here")
        self.bytes -= count


def _records_of(chunk: Chunk, budget: _Budget) -> Iterator[Record]:
    data = memoryview(unpacked(chunk, budget))
    position = 0
    while position < len(data):
        if position + _HEAD.size > len(data):
            raise ValueError("a chunk ends in the middle of a record")
        opcode, length = _HEAD.unpack_from(data, position)
        start, position = position + _HEAD.size, position + _HEAD.size + length
        if position > len(data):
            raise ValueError("a record is longer than its chunk")
        budget.take_record()
        if opcode == Opcode.MESSAGE:
            yield _message(data[start:position])
        elif opcode in _DECLARATIONS:
            if length > _MAX_BYTES[opcode]:
                raise ValueError(f"{_DECLARATIONS[opcode].__name__.lower()} of {length} bytes")
            yield _parse(_DECLARATIONS[opcode], bytes(data[start:position]))


def unpacked(chunk: Chunk, budget: _Budget) -> bytes:
    """The records of a chunk. Raises ValueError before more is allocated than the chunk claims or the budget allows."""
    claimed = chunk.uncompressed_size
    budget.take_bytes(claimed)
    if chunk.compression == "zstd":
        frame_bytes = zstandard.get_frame_parameters(chunk.data).content_size
        if frame_bytes not in (claimed, zstandard.CONTENTSIZE_UNKNOWN):
            raise ValueError(f"chunk of {claimed} bytes whose zstd frame claims {frame_bytes}")
        data = zstandard.ZstdDecompressor().decompress(chunk.data, max_output_size=claimed) if claimed else b""
    elif chunk.compression == "lz4":
        data = lz4.frame.LZ4FrameDecompressor().decompress(chunk.data, max_length=claimed + 1)
    elif not chunk.compression:
        data = chunk.data
    else:
        raise ValueError(f"unknown compression {chunk.compression[:32]!r}")
    if len(data) != claimed:
        raise ValueError(f"chunk of {len(data)} bytes or more; it claims {claimed}")
    calculated = zlib.crc32(data)
    if chunk.uncompressed_crc not in (0, calculated):
        raise CRCValidationError(chunk.uncompressed_crc, calculated, chunk)
    return data


def _parse(kind: type, data: bytes):  # type: ignore[no-untyped-def]
    """One record by mcap's own parser."""
    return kind.read(ReadDataStream(StrictFile(BytesIO(data), len(data))))  # type: ignore[arg-type, attr-defined]


def _message(data: memoryview) -> Message:
    channel_id, sequence, log_time, publish_time = _MESSAGE.unpack_from(data)
    return Message(channel_id, log_time, bytes(data[_MESSAGE.size :]), publish_time, sequence)
