"""Messages that no publisher of ours sends: each field of each at its extremes, and what is no message at all."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from spark3r_stream.proto import wire_pb2
from spark3r_stream.wire import bulk_field
from spark3r_stream.wire import envelope as wire
from spark3r_stream.wire.decode import schema_of
from spark3r_stream.wire.encode import encode_status
from spark3r_stream.wire.envelope import Message
from spark3r_stream.wire.foxglove import encode_cloud
from spark3r_stream.wire.messages import SessionState, Status
from tests.helpers_hostile import TEXTS, extremes, set_field
from tests.helpers_wire import every_kind, make_sealer

ODD_POINTS = (float("nan"), float("inf"), -float("inf"), 3e38, 1e-40, 0.0)
LARGE_POINTS = 3_000_000  # 60 MB


class HostileMessage(NamedTuple):
    """name: what was changed. parts: of the multipart message."""

    name: str
    parts: list[bytes]


def hostile_messages(count: int, seed: int = 0) -> list[HostileMessage]:
    """`count` of all there are, the same ones every time; all kinds in turn."""
    good = good_messages()
    kinds = [list(_fields(good[topic])) for topic in wire.TOPICS]
    kinds += [list(_envelopes(good[wire.FRAME])), list(_parts(good[wire.STATUS])), list(_points(good[wire.CLOUD]))]
    for kind in kinds:
        random.Random(seed).shuffle(kind)
    in_turn = [kind[i] for i in range(max(map(len, kinds))) for kind in kinds if i < len(kind)]
    return in_turn[:count]


def good_messages() -> dict[str, Message]:
    """One of each topic."""
    return {message.topic: message for message in make_sealer().seal(every_kind())}


def last_message() -> list[bytes]:
    """That the session is over."""
    (message,) = make_sealer().seal([encode_status(Status(SessionState.ENDED, "source"), 0)])
    return message.parts()


def large_messages() -> list[HostileMessage]:
    """As much as a payload may weigh, all of it different."""
    good = good_messages()
    rng = np.random.default_rng(0)
    points = rng.random((LARGE_POINTS, 3), np.float32)
    cloud = encode_cloud(0, "submap_0", points, None, None)
    depth: Any = schema_of(wire.DEPTH)()
    depth.width = depth.height = 4096
    depth.step, depth.encoding = 4 * 4096, "32FC1"
    pixels = rng.random((4096, 4096), np.float32)
    return [
        HostileMessage("a large cloud", _with_payload(good[wire.CLOUD], cloud)),
        HostileMessage(
            "a large depth map", _with_payload(good[wire.DEPTH], bulk_field.join(depth.SerializeToString(), pixels))
        ),
    ]


def _fields(message: Message) -> Iterator[HostileMessage]:
    schema: Any = schema_of(message.topic)
    for path, value in extremes(schema):
        changed = schema.FromString(message.payload)
        set_field(changed, path, value)
        name = f"{message.topic} {'.'.join(path)} = {str(value)[:30]!r}"
        yield HostileMessage(name, _with_payload(message, changed.SerializeToString()))


def _envelopes(message: Message) -> Iterator[HostileMessage]:
    topic, envelope, payload = message.parts()
    for path, value in extremes(wire_pb2.Envelope):
        changed = wire_pb2.Envelope.FromString(envelope)
        set_field(changed, path, value)
        name = f"envelope {'.'.join(path)} = {str(value)[:30]!r}"
        yield HostileMessage(name, [topic, changed.SerializeToString(), payload])


def _parts(message: Message) -> Iterator[HostileMessage]:
    topic, envelope, payload = message.parts()
    for count in (0, 1, 2, 5, 1000):
        yield HostileMessage(f"{count} parts", [topic, *[envelope] * count][:count] or [topic])
    for text in TEXTS:
        yield HostileMessage(f"topic {text[:30]!r}", [topic + text.encode(), envelope, payload])
        yield HostileMessage(f"payload {text[:30]!r}", [topic, envelope, text.encode()])
        yield HostileMessage(f"envelope {text[:30]!r}", [topic, text.encode(), payload])
    for cut in (0, 1, len(payload) // 2, len(payload) - 1):
        yield HostileMessage(f"payload cut to {cut} bytes", [topic, envelope, payload[:cut]])
    for claimed in (b"\x0a\xff\xff\xff\xff\x0f", b"\xff" * 64, b"\x32\x00" * 30_000):
        yield HostileMessage(f"payload of {claimed[:8]!r}", [topic, envelope, claimed])


def _points(message: Message) -> Iterator[HostileMessage]:
    for odd in ODD_POINTS:
        for share in (0.1, 1.0):
            points = np.random.default_rng(0).random((1000, 3), np.float32)
            points[: int(share * len(points))] = odd
            cloud = encode_cloud(0, "submap_3", points, None, np.full(len(points), odd, np.float32))
            yield HostileMessage(f"{share:.0%} of the points are {odd}", _with_payload(message, cloud))


def _with_payload(message: Message, payload: bytes) -> list[bytes]:
    topic, envelope, _ = message.parts()
    return [topic, envelope, payload]
