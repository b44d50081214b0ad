"""What the bytes of a ZeroMQ connection will cost the one who takes them in (ZMTP 3, RFC 23), counted from outside.

ZeroMQ limits the size of one part of a message and the number of whole messages, not what lies between: a message of
endless parts. The lengths of the parts are readable on the way in, with and without encryption.
"""

from __future__ import annotations

PER_FRAME_BYTES = 128  # what ZeroMQ needs for a part beside its content, rounded up
CURVE_BYTES = 33  # by how much encryption lengthens a part: command name, nonce, flags, authentication
_GREETING_BYTES = 64
_VERSION_AT = 10
_MORE, _LONG, _COMMAND = 1, 2, 4


def part_cost(content_bytes: int, encrypted: bool) -> int:
    """What `FrameCost` counted for a part whose content, as received, has so many bytes."""
    return content_bytes + PER_FRAME_BYTES + (CURVE_BYTES if encrypted else 0)


class FrameCost:
    """Adds up the cost in bytes of the frames of one direction of one connection."""

    def __init__(self) -> None:
        self._position = 0  # within the greeting
        self._skip = 0
        self._header = bytearray()

    def add(self, chunk: memoryview) -> int:
        """The cost of the frames that begin in `chunk`, the next bytes of the connection.

        Raises ValueError if the peer does not speak ZMTP 3: its bytes cannot be counted.
        """
        cost, at = 0, 0
        while self._position < _GREETING_BYTES and at < len(chunk):
            if self._position == _VERSION_AT and chunk[at] < 3:
                raise ValueError("the peer speaks an old version of ZeroMQ's protocol")
            self._position += 1
            at += 1
        while at < len(chunk):
            if self._skip:
                step = min(self._skip, len(chunk) - at)
                self._skip -= step
                at += step
                continue
            self._header.append(chunk[at])
            at += 1
            flags = self._header[0]
            if len(self._header) == (9 if flags & _LONG else 2):
                self._skip = int.from_bytes(self._header[1:], "big")
                if flags != _COMMAND:  # a heartbeat, which ends in ZeroMQ and never reaches the caller
                    cost += self._skip + PER_FRAME_BYTES
                self._header.clear()
        return cost
