"""The bytes field `data` of RawImage and PointCloud (number 6 in both), by hand: megabytes with one copy, not three.

Protobuf's Python bindings copy a bytes field into the message and out of it again. Depth maps and clouds are nothing
but such a field with a few numbers around it, so those numbers go through protobuf and the field past it. The bytes on
the wire are the same (tests/stream/test_bulk_field.py compares both ways with protobuf's own).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spark3r_stream.errors import WireError

_NUMBER = 6
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types of protobuf's encoding
_MAX_VARINT_BYTES = 10
_MAX_OTHER_FIELDS = 32
_MAX_REST_BYTES = 16 * 1024
_MAX_FIELDS = 1024  # ours have about twenty; megabytes of empty ones would hold up the reader for seconds


def join(before: bytes, data: NDArray[Any], after: bytes = b"") -> bytes:
    """The message whose other fields, by number below and above `data`, are encoded as `before` and `after`."""
    size = data.nbytes
    if size == 0:
        return before + after
    head = bytearray([_NUMBER << 3 | _BYTES])
    while size > 0x7F:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    head.append(size)
    return b"".join((before, head, data.reshape(-1).view(np.uint8).data, after))


def split(payload: bytes) -> tuple[bytes, memoryview]:
    """The message without `data`, and `data` as a read-only view of `payload`; the last one if there are several.

    Raises WireError for bytes that are no message. Groups, which no schema of ours has, and more than 1,024
    fields are refused.
    """
    view = memoryview(payload)
    data, others, rest = view[:0], [], 0
    for count, (tag, begin, start, end) in enumerate(_fields(payload), 1):
        if count > _MAX_FIELDS:
            raise WireError(f"more than {_MAX_FIELDS} fields, at byte {begin}")
        if tag == _NUMBER << 3 | _BYTES:
            data = view[start:end]
            continue
        others.append(view[begin:end])
        rest += end - begin
        if rest > _MAX_REST_BYTES:  # protobuf makes twenty times as much of a list of empty messages
            raise WireError(f"more than {_MAX_REST_BYTES} bytes beside the data")
    return b"".join(others), data


def check_fields(payload: bytes, limits: Mapping[int, tuple[int, int]]) -> None:
    """Raise WireError unless each field occurs as often, and is as large in bytes, as its number's limits allow.

    Fields without limits may occur some times and be small. To be called before protobuf makes objects of a payload.
    """
    counts: Counter[int] = Counter()
    for tag, begin, start, end in _fields(payload):
        number = tag >> 3
        most, largest = limits.get(number, (_MAX_OTHER_FIELDS, _MAX_REST_BYTES))
        counts[number] += 1
        if counts[number] > most or end - start > largest or len(counts) > _MAX_OTHER_FIELDS:
            raise WireError(f"more than {most} fields, or one of more than {largest} bytes, at byte {begin}")


def _fields(payload: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Tag, first byte, first byte of the content and end of each field. Raises WireError for what is no message."""
    position = 0
    while position < len(payload):
        begin = position
        tag, position = _varint(payload, position)
        kind = tag & 7
        length = 0
        if kind == _VARINT:
            _, position = _varint(payload, position)
        elif kind == _BYTES:
            length, position = _varint(payload, position)
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
        else:
            raise WireError(f"a field of wire type {kind} at byte {begin}")
        end = position + length
        if end > len(payload):
            raise WireError(f"a field of {length} bytes at byte {begin} of {len(payload)}: the message is cut off")
        yield tag, begin, position, end
        position = end


def _varint(payload: bytes, position: int) -> tuple[int, int]:
    """The number at `position` and where it ends."""
    value = 0
    for index, byte in enumerate(payload[position : position + _MAX_VARINT_BYTES]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, position + index + 1
    raise WireError(f"a number without an end at byte {position}")
