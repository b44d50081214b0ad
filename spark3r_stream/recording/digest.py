"""What stands in a recording for published payloads that were left out of it: their hashes, to compare with.

`--record-only input` keeps what is small: the input, the decisions, and the messages from which the camera's path is
read. Depth maps and clouds, nine tenths of a recording, can be computed again; by these one sees whether they come out
the same.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from spark3r_stream.errors import WireError
from spark3r_stream.proto import recording_pb2
from spark3r_stream.wire import envelope as wire
from spark3r_stream.wire.envelope import Envelope

DIGEST = "/digest/"
MAX_DIGEST_BYTES = 256
KEPT = (wire.FRAME, wire.DEPTH_CALIB, wire.MAP_CORRECTION, wire.PATH_CORRECTION)  # as they are
HASHED = (wire.DEPTH, wire.CLOUD)  # the rest says again what is in those, or is of no repeated run (/status/)


@dataclass(frozen=True)
class Digest:
    """Which message it was, as its envelope said, and the sha256 of its payload (32 bytes)."""

    topic: str
    frame_id: int
    captured_ns: int
    submap: int
    sha256: bytes


def encode_digest(topic: str, envelope: Envelope, payload: bytes) -> bytes:
    """Payload of /digest/ for a message of `HASHED`."""
    return recording_pb2.Digest(
        topic=topic,
        frame_id=envelope.frame_id,
        captured_ns=envelope.captured_ns,
        submap=envelope.submap,
        sha256=hashlib.sha256(payload).digest(),
    ).SerializeToString()


def decode_digest(payload: bytes) -> Digest:
    """Raises WireError for bytes that are no digest of a message of `HASHED`."""
    if len(payload) > MAX_DIGEST_BYTES:
        raise WireError(f"digest of {len(payload)} bytes; at most {MAX_DIGEST_BYTES} are allowed")
    try:
        m = recording_pb2.Digest.FromString(payload)
    except DecodeError as error:
        raise WireError(f"unreadable payload on {DIGEST}: {error}") from None
    if m.topic not in HASHED or len(m.sha256) != hashlib.sha256().digest_size:
        raise WireError(f"digest of {len(m.sha256)} bytes on {m.topic[:32]!r}; expected 32 on {' or '.join(HASHED)}")
    return Digest(m.topic, m.frame_id, m.captured_ns, m.submap, m.sha256)
