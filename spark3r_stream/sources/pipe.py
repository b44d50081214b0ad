"""Messages between a decoding child and its parent: a JSON header and raw bytes, never pickle."""

from __future__ import annotations

import json
import struct
from typing import IO, Any

_HEAD = struct.Struct("<II")  # bytes of header, bytes of payload
MAX_HEADER_BYTES = 1 << 16
MAX_PAYLOAD_BYTES = 1 << 28


def send(pipe: IO[bytes], header: dict[str, Any], payload: bytes = b"") -> None:
    """Write one message and flush. Raises OSError when the other side is gone."""
    encoded = json.dumps(header).encode()
    pipe.write(_HEAD.pack(len(encoded), len(payload)) + encoded)
    if payload:
        pipe.write(payload)
    pipe.flush()


def receive(pipe: IO[bytes]) -> tuple[dict[str, Any], bytes] | None:
    """The next message, None when the other side has closed (also in the middle of a message)."""
    head = _read_exactly(pipe, _HEAD.size)
    if head is None:
        return None
    header_bytes, payload_bytes = _HEAD.unpack(head)
    if header_bytes > MAX_HEADER_BYTES or payload_bytes > MAX_PAYLOAD_BYTES:
        return None  # something else wrote into our pipe; the same as a broken one
    header, payload = _read_exactly(pipe, header_bytes), _read_exactly(pipe, payload_bytes)
    if header is None or payload is None:
        return None
    return json.loads(header), payload


def _read_exactly(pipe: IO[bytes], size: int) -> bytes | None:
    parts: list[bytes] = []
    while size > 0:
        part = pipe.read(size)
        if not part:
            return None
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
