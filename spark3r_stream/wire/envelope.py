"""Topics, schema version, size limits and envelopes: what every published message has in common.

A message is the multipart [topic | envelope | payload]; docs/wire.md describes it for other languages. Nothing here
opens a socket: the publisher, the subscriber, the recorder and the replayer share these functions, so a message is
encoded once and its bytes are the same in all of them.
"""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from spark3r_stream.errors import VersionMismatch, WireError
from spark3r_stream.proto import wire_pb2
from spark3r_stream.wire.messages import CapturedClock

_CLOCKS = {clock.value: clock for clock in CapturedClock}
SCHEMA_MAJOR = 2
SCHEMA_MINOR = 8

FRAME = "/frame/"
POSE = "/pose/"
TF = "/tf/"
CALIB = "/calib/"
IMAGE = "/image/"
DEPTH = "/depth/"
DEPTH_CALIB = "/depth_calib/"
CLOUD = "/cloud/"
MAP_CORRECTION = "/map_correction/"
PATH_CORRECTION = "/path_correction/"
STATUS = "/status/"
WELCOME = "/welcome/"
READY = "/ready/"

KIB, MIB = 1024, 1024 * 1024
# What a payload may weigh. The small ones are held tight because protobuf can blow up a hostile payload of many empty
# submessages to twenty times its size; an image of 4096 x 4096 float32 and a cloud of 3 million points still pass.
MAX_PAYLOAD_BYTES = {
    FRAME: 64 * KIB,
    POSE: 4 * KIB,
    TF: 4 * KIB,
    CALIB: 4 * KIB,
    IMAGE: 16 * MIB,
    DEPTH: 65 * MIB,
    DEPTH_CALIB: 4 * KIB,
    CLOUD: 64 * MIB,
    MAP_CORRECTION: 256 * KIB,
    PATH_CORRECTION: 512 * KIB,
    STATUS: 64 * KIB,
}
TOPICS = tuple(MAX_PAYLOAD_BYTES)
MAX_ENVELOPE_BYTES = 512
MAX_WELCOME_BYTES = 64 * KIB
MOST_CAMERAS = 32  # in one session
_CAMERA = re.compile(r"[A-Za-z0-9_-]{1,32}")
MAX_PART_BYTES = 65 * MIB  # what a socket accepts before it hangs up, whatever the topic


def check_major(what: str, major: int, minor: int) -> None:
    """Raise VersionMismatch unless `major` is the version spoken here; a newer minor only adds fields."""
    if major != SCHEMA_MAJOR:
        raise VersionMismatch(what, f"{major}.{minor}", f"{SCHEMA_MAJOR}.x")


def is_camera_name(name: str) -> bool:
    """Whether a camera may have this name: 1 to 32 letters, digits, _ and -, which topics and files may have too."""
    return _CAMERA.fullmatch(name) is not None


def full_topic(topic: str, camera: str) -> str:
    """What messages of a camera are sent on: `/frame/left/`. ZeroMQ's prefixes do the rest: who subscribes to
    `/frame/` has those of all cameras. camera: empty where there is only one: then the topic itself."""
    return f"{topic}{camera}/" if camera else topic


def split_topic(name: str) -> tuple[str, str]:
    """The inverse of `full_topic`. Raises WireError for anything that is no topic, with or without a camera."""
    base, _, camera = name.removesuffix("/").removeprefix("/").partition("/")
    topic = f"/{base}/"
    if topic in MAX_PAYLOAD_BYTES and name == full_topic(topic, camera) and (not camera or is_camera_name(camera)):
        return topic, camera
    raise WireError(f"unknown topic {name[:60]!r}; expected one of {' '.join(TOPICS)}, or one with a camera's name")


def is_topic(name: str) -> bool:
    """Whether `split_topic` takes it."""
    try:
        split_topic(name)
    except WireError:
        return False
    return True


def session_from_bytes(value: bytes) -> uuid.UUID:
    """The session id of an envelope or welcome; raises WireError unless it has 16 bytes."""
    if len(value) != 16:
        raise WireError(f"session id of {len(value)} bytes; expected the 16 of a UUID")
    return uuid.UUID(bytes=value)


@dataclass(frozen=True)
class Envelope:
    """What may be said of a message without reading its payload. Fields as in wire.proto.

    captured_clock: None where the publisher does not say. camera: its name, in a session of several; else empty.
    """

    session_id: uuid.UUID
    sequence: int
    captured_ns: int
    published_ns: int
    epoch: int = 0
    submap: int = 0
    revision: int = 0
    valid: bool = True
    frame_id: int = -1
    schema_major: int = SCHEMA_MAJOR
    schema_minor: int = SCHEMA_MINOR
    captured_clock: CapturedClock | None = None
    replay: bool = False
    camera: str = ""

    def to_bytes(self, topic: str = "") -> bytes:
        """The envelope part. `topic` is set in recordings, where no other part carries it."""
        return wire_pb2.Envelope(
            schema_major=self.schema_major,
            schema_minor=self.schema_minor,
            session_id=self.session_id.bytes,
            sequence=self.sequence,
            captured_ns=self.captured_ns,
            published_ns=self.published_ns,
            epoch=self.epoch,
            submap=self.submap,
            revision=self.revision,
            valid=self.valid,
            frame_id=self.frame_id,
            topic=topic,
            captured_clock=0 if self.captured_clock is None else self.captured_clock.value,  # type: ignore[arg-type]
            replay=self.replay,
            camera=self.camera,
        ).SerializeToString()

    @staticmethod
    def from_bytes(data: bytes) -> tuple[Envelope, str]:
        """The envelope and the topic it names (empty on the wire).

        Raises WireError for bytes that are no envelope, VersionMismatch for another major version.
        """
        if len(data) > MAX_ENVELOPE_BYTES:
            raise WireError(f"envelope of {len(data)} bytes; at most {MAX_ENVELOPE_BYTES} are allowed")
        try:
            message = wire_pb2.Envelope.FromString(bytes(data))
        except DecodeError as error:
            raise WireError(f"not an envelope: {error}") from None
        if len(message.session_id) == 16:  # else this is noise, not a peer of another version
            check_major("the publisher", message.schema_major, message.schema_minor)
        envelope = Envelope(
            session_id=session_from_bytes(message.session_id),
            sequence=message.sequence,
            captured_ns=message.captured_ns,
            published_ns=message.published_ns,
            epoch=message.epoch,
            submap=message.submap,
            revision=message.revision,
            valid=message.valid,
            frame_id=message.frame_id,
            schema_major=message.schema_major,
            schema_minor=message.schema_minor,
            captured_clock=_CLOCKS.get(message.captured_clock),
            replay=message.replay,
            camera=message.camera,
        )
        return envelope, message.topic


@dataclass(frozen=True)
class Message:
    """One message, sealed or received. `decode.decode(message)` gives its content.

    topic: what kind it is, `/frame/`, of whichever camera. name: what it is sent on: with the camera's name in a
    session of several; sequence numbers count by that.
    """

    topic: str
    envelope: Envelope
    payload: bytes

    @property
    def name(self) -> str:
        return full_topic(self.topic, self.envelope.camera)

    def parts(self) -> list[bytes]:
        """The multipart message as it travels."""
        return [self.name.encode(), self.envelope.to_bytes(), self.payload]

    @staticmethod
    def from_parts(parts: Sequence[bytes]) -> Message:
        """The inverse of `parts`, for bytes from anyone.

        Raises WireError for a wrong number of parts, an unknown topic, a size over the limit or bytes that are no
        envelope; VersionMismatch for a publisher of another major version. The payload is checked when decoded.
        """
        if len(parts) != 3:
            raise WireError(f"message of {len(parts)} parts; expected 3: topic, envelope, payload")
        try:
            name = bytes(parts[0]).decode("ascii")
        except UnicodeDecodeError:
            raise WireError("the topic is not ASCII") from None
        topic, camera = split_topic(name)
        check_payload_size(topic, len(parts[2]))
        envelope, _ = Envelope.from_bytes(parts[1])
        if envelope.camera != camera:
            raise WireError(f"message on {name} whose envelope names another camera")
        return Message(topic, envelope, bytes(parts[2]))


def check_payload_size(topic: str, size: int) -> None:
    """Raise WireError for a topic that does not exist or a payload too large for it."""
    limit = MAX_PAYLOAD_BYTES.get(topic)
    if limit is None:
        raise WireError(f"unknown topic {topic[:40]!r}; expected one of {' '.join(TOPICS)}")
    if size > limit:
        raise WireError(f"payload of {size} bytes on {topic}; at most {limit} are allowed")


@dataclass(frozen=True)
class Unsealed:
    """An encoded payload that has no place in the stream yet: no session, sequence number or publication time."""

    topic: str
    payload: bytes
    captured_ns: int
    epoch: int = 0
    submap: int = 0
    revision: int = 0
    valid: bool = True
    frame_id: int = -1


class Sealer:
    """Gives each message its session, its number on its topic and its publication time; once, for all sinks.

    One per session and camera. Safe to use from several threads, but messages of one topic should come from one thread:
    between `seal` and `send` their order is the caller's.
    """

    def __init__(
        self,
        session_id: uuid.UUID,
        unix_ns: Callable[[], int],
        captured_clock: CapturedClock | None = None,
        *,
        replay: bool = False,
        camera: str = "",
        first: Mapping[str, int] | None = None,
    ) -> None:
        """unix_ns: the time now, e.g. `SystemClock().unix_ns`. captured_clock: that of all frames; None: not said.
        replay: the frames come from a recording. camera: whose messages these are, in a session of several; each has a
        sealer of its own. first: number of the first message by topic, where a session goes on; else zero."""
        self.session_id = session_id
        self._captured_clock = captured_clock
        self._replay = replay
        self._camera = camera
        self._unix_ns = unix_ns
        self._lock = threading.Lock()
        self._next = {**dict.fromkeys(TOPICS, 0), **(first or {})}

    def seal(self, messages: Iterable[Unsealed]) -> list[Message]:
        """Raises WireError for an unknown topic or a payload over its limit; nothing is numbered then."""
        messages = list(messages)
        for message in messages:
            check_payload_size(message.topic, len(message.payload))
        published_ns = self._unix_ns()
        sealed = []
        with self._lock:
            for message in messages:
                sequence = self._next[message.topic]
                self._next[message.topic] = sequence + 1
                envelope = Envelope(
                    session_id=self.session_id,
                    sequence=sequence,
                    captured_ns=message.captured_ns,
                    published_ns=published_ns,
                    epoch=message.epoch,
                    submap=message.submap,
                    revision=message.revision,
                    valid=message.valid,
                    frame_id=message.frame_id,
                    captured_clock=self._captured_clock,
                    replay=self._replay,
                    camera=self._camera,
                )
                sealed.append(Message(message.topic, envelope, message.payload))
        return sealed


def parse_welcome(payload: bytes) -> wire_pb2.Welcome:
    """The proof of a connection or of subscriptions, checked; raises WireError, VersionMismatch."""
    if len(payload) > MAX_WELCOME_BYTES:
        raise WireError(f"welcome of {len(payload)} bytes; at most {MAX_WELCOME_BYTES} are allowed")
    try:
        welcome = wire_pb2.Welcome.FromString(payload)
    except DecodeError as error:
        raise WireError(f"not a welcome: {error}") from None
    if len(welcome.session_id) == 16:  # else this is noise, not a peer of another version
        check_major("the publisher", welcome.schema_major, welcome.schema_minor)
    return welcome
