"""Recordings that are valid MCAP and say what no run says: each field of each schema at its extremes, one at a time."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foxglove_schemas_protobuf.CompressedImage_pb2 import CompressedImage
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from spark3r_stream.proto import recording_pb2, wire_pb2
from spark3r_stream.recording.reader import Recording
from spark3r_stream.recording.records import DECISIONS, INPUT_IMAGE, INPUT_PACKET
from spark3r_stream.recording.writer import ENVELOPE
from tests.helpers_recording import rewrite

SCHEMAS: dict[str, type[Message]] = {
    DECISIONS: recording_pb2.Decisions,
    INPUT_PACKET: recording_pb2.InputPacket,
    INPUT_IMAGE: CompressedImage,
    ENVELOPE: wire_pb2.Envelope,
    "/frame/": wire_pb2.FrameResult,
}
INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32: (0, 1, -1, 2**31 - 1, -(2**31)),
    FieldDescriptor.CPPTYPE_UINT32: (0, 1, 20_000, 2**32 - 1),
    FieldDescriptor.CPPTYPE_INT64: (0, 1, -1, 2**63 - 1, -(2**63)),
    FieldDescriptor.CPPTYPE_UINT64: (0, 1, 2**40, 2**64 - 1),
    FieldDescriptor.CPPTYPE_ENUM: (0, 2**31 - 1),
}
FLOATS = (0.0, -0.0, 1e300, float("nan"), float("inf"))
TEXTS = (
    "",
    "\x1b]0;owned\x07\x1b[2J\nspark3r: fine",
    "\u202egnp.exe",
    "x" * 100_000,
    "../../etc/passwd",
    "aac",
    "eps",
    "<script>x</script>",
)
BYTES = (b"", b"\0", b"\xff" * 64, bytes(100_000))
DEEP = "[" * 100_000 + "]" * 100_000
VALUES: tuple[Any, ...] = (
    None, True, 0, 1, -1, 20_000, 10**30, 1e300, "", "auto", "cuda:99", "x" * 50_000, "\x1b[2J\n", [], {}, [[[[]]]],
    "9999GiB", "da3-giant", "/etc/passwd", "float64", "random",
)  # fmt: skip
STRINGS = (
    "",
    "1",
    "-1",
    "0",
    "20000",
    "9" * 5000,
    "NaN",
    "Infinity",
    '{"a": 1}',
    "[]",
    DEEP,
    "\x1b[2J\n",
    "/etc/passwd",
)
KEYS = (
    "settings", "weights_sha256", "device", "dtype", "max_new_frames", "intrinsics", "spark3r_stream", "torch",
    "threads", "adjusts_all", "refines", "map_file", "map_sha256", "source_id",
)  # fmt: skip
CAMERA = {"fx": 50.0, "fy": 50.0, "cx": 32.0, "cy": 24.0, "width": 64, "height": 48, "distortion": [0.1, 0, 0, 0]}


@dataclass(frozen=True)
class Hostile:
    """name: what was changed. write: makes the file from a good recording. topic: where, if in messages."""

    name: str
    write: Callable[[Path, Path], Path]
    topic: str = ""


def hostile_recordings(count: int, seed: int = 0) -> list[Hostile]:
    """`count` of all there are, the same ones every time; all kinds in turn."""
    kinds = [list(_metadata()), list(_settings()), list(_camera()), list(_topics())]
    kinds += [list(_fields(topic)) for topic in SCHEMAS]
    for kind in kinds:
        random.Random(seed).shuffle(kind)
    in_turn = [kind[i] for i in range(max(map(len, kinds))) for kind in kinds if i < len(kind)]
    return in_turn[:count]


def _metadata() -> Iterator[Hostile]:
    for key in KEYS:
        for value in (*STRINGS, None):
            yield Hostile(
                f"{key} = {str(value)[:30]!r}", lambda old, new, key=key, value=value: rewrite(old, new, {key: value})
            )


def _settings() -> Iterator[Hostile]:
    names = (
        "model",
        "weights",
        "size",
        "window",
        "memory",
        "fill",
        "eviction",
        "track",
        "loops",
        "localise",
        "refine",
        "device",
        "dtype",
    )
    for name in (*names, "source"):
        for value in VALUES:

            def write(old: Path, new: Path, name: str = name, value: Any = value) -> Path:
                settings = json.loads(Recording(old).metadata["settings"]) | {name: value}
                return rewrite(old, new, {"settings": json.dumps(settings), **({name: None} if name in KEYS else {})})

            yield Hostile(f"--{name} {str(value)[:30]!r}", write)


def _camera() -> Iterator[Hostile]:
    for name in CAMERA:
        for value in (*VALUES, float("nan"), [1e300] * 4, [0.5] * 5):
            words = json.dumps({**CAMERA, name: value})
            yield Hostile(
                f"camera {name} {str(value)[:30]!r}",
                lambda old, new, words=words: rewrite(old, new, {"intrinsics": words}),
            )


def _topics() -> Iterator[Hostile]:
    for topic in SCHEMAS:
        for name in ("", "\x1b[2J\n", "x" * 60_000, "/status/", "/decisions/", "/input/packet/"):
            yield Hostile(
                f"{topic} is called {name[:30]!r}",
                lambda old, new, topic=topic, name=name: rewrite(
                    old, new, rename=lambda there: name if there == topic else there
                ),
            )


def _fields(topic: str) -> Iterator[Hostile]:
    for path, value in extremes(SCHEMAS[topic]):
        for first_only in (False, True):

            def write(
                old: Path, new: Path, path: tuple[str, ...] = path, value: Any = value, first_only: bool = first_only
            ) -> Path:
                seen: list[str] = []

                def change(there: str, data: bytes) -> bytes:
                    if there != topic or (first_only and seen):
                        return data
                    seen.append(there)
                    message = SCHEMAS[topic].FromString(data)
                    set_field(message, path, value)
                    return message.SerializeToString()

                return rewrite(old, new, change=change)

            where = "the first" if first_only else "each"
            yield Hostile(f"{topic} {'.'.join(path)} = {str(value)[:30]!r} in {where}", write, topic)


def extremes(kind: type[Message]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """(path of a field, value) for every field, those of submessages too; a list is [value] times a count."""
    for field in kind.DESCRIPTOR.fields:
        if field.message_type is not None:
            yield (field.name,), "absent"
            if _is_repeated(field):
                yield (field.name,), ("many", 1000)
                yield (field.name,), ("many", 100_000)
            if not field.message_type.GetOptions().map_entry:
                for path, value in extremes(field.message_type._concrete_class):
                    yield (field.name, *path), value
            continue
        if field.cpp_type in INTEGERS:
            values: tuple[Any, ...] = INTEGERS[field.cpp_type]
        elif field.cpp_type in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
            values = FLOATS
        elif field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
            values = (False, True)
        else:
            values = BYTES if field.type == FieldDescriptor.TYPE_BYTES else TEXTS
        for value in values:
            yield (field.name,), ([value] * 3 if _is_repeated(field) else value)
        if _is_repeated(field):
            yield (field.name,), []
            yield (field.name,), [values[-1]] * (1000 if isinstance(values[-1], (str, bytes)) else 100_000)


def _is_repeated(field: FieldDescriptor) -> bool:
    if hasattr(field, "is_repeated"):  # protobuf 7
        return field.is_repeated
    return field.label == FieldDescriptor.LABEL_REPEATED


def set_field(message: Any, path: tuple[str, ...], value: Any) -> None:
    name, *rest = path
    field = message.DESCRIPTOR.fields_by_name[name]
    if rest:
        inner = getattr(message, name)
        if _is_repeated(field) and not inner:
            inner.add()
        for one in inner if _is_repeated(field) else [inner]:
            set_field(one, tuple(rest), value)
    elif value == "absent":
        message.ClearField(name)
    elif isinstance(value, tuple):
        for _ in range(value[1]):
            if field.message_type.GetOptions().map_entry:
                getattr(message, name)[f"k{len(getattr(message, name))}"]
            else:
                getattr(message, name).add()
    elif isinstance(value, list):
        message.ClearField(name)
        getattr(message, name).extend(value)
    else:
        setattr(message, name, value)
