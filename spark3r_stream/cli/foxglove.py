"""`spark3r foxglove`: a running stream for the Foxglove app, by its own SDK's WebSocket server.

The topics have Foxglove's schemas already, so payloads go through as they are. Added is the place of every submap that
a correction moved: the app keeps their points and takes places from transforms.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from typing import Any

from mcap_protobuf.schema import build_file_descriptor_set

from spark3r_core.geometry import se3
from spark3r_stream.cli.stop import Stop
from spark3r_stream.config import ConfigError
from spark3r_stream.errors import StreamError, WireError
from spark3r_stream.plain_text import cleaned
from spark3r_stream.pubsub.keys import ClientSecurity
from spark3r_stream.pubsub.subscriber import Subscriber
from spark3r_stream.viewer.web_server import is_loopback
from spark3r_stream.wire import envelope as wire
from spark3r_stream.wire.decode import decode, schema_of
from spark3r_stream.wire.envelope import Message
from spark3r_stream.wire.foxglove import checked_poses, encode_transform, timestamp
from spark3r_stream.wire.messages import MapCorrections, submap_frame

POLL_S = 0.25


def foxglove_command(
    endpoint: str, host: str, port: int, security: ClientSecurity | None, *, insecure: bool = False
) -> int:
    """0 when a signal ended it."""
    if not is_loopback(host) and not insecure:
        raise ConfigError(
            f"--host {host} can be reached from other machines, and Foxglove's protocol has no keys; use an SSH tunnel"
            " to 127.0.0.1, or say --insecure"
        )
    stop = Stop()
    with (
        stop.on_signals(),
        served(host, port) as (server, channels),
        Subscriber(endpoint, security=security) as subscriber,
    ):
        print(
            f"spark3r: open ws://{host}:{server.port} in Foxglove"
            " (Open connection, Foxglove WebSocket; Ctrl-C ends it)",
            file=sys.stderr,
            flush=True,
        )
        forward(subscriber, server, channels, stop.event)
    return 0


@contextlib.contextmanager
def served(host: str, port: int) -> Iterator[tuple[Any, Channels]]:
    """Foxglove's server and its channels. port 0: any that is free. Raises StreamError for an address that
    cannot be had; ModuleNotFoundError without the extra."""
    import foxglove

    context = foxglove.Context()
    channels = Channels(context)
    try:
        server = foxglove.start_server(name="Spark3R-Stream", host=host, port=port, context=context)
    except (RuntimeError, OSError, ValueError) as error:
        raise StreamError(f"cannot serve on {host}:{port}: {error}; choose another --port") from None
    try:
        yield server, channels
    finally:
        server.stop()


def forward(subscriber: Subscriber, server: Any, channels: Channels, stop: threading.Event) -> None:
    """Hand on every message until `stop` is set. What cannot be decoded is skipped and told on stderr."""
    session_id = None
    while not stop.is_set():
        message = subscriber.poll(POLL_S)
        if message is None:
            continue
        if message.envelope.session_id != session_id:
            if session_id is not None:
                server.clear_session(str(message.envelope.session_id))  # the app forgets the map of the one before
            session_id = message.envelope.session_id
        try:
            content = decode(message)
        except WireError as error:
            print(f"spark3r: skipped a message: {cleaned(error)}", file=sys.stderr, flush=True)
            continue
        at = max(0, message.envelope.captured_ns)
        camera = message.envelope.camera
        channels.of(message.topic, camera).log(message.payload, log_time=at)
        if isinstance(content, MapCorrections):
            for payload in _places(message, content):
                channels.of(wire.TF, camera).log(payload, log_time=at)


def _places(message: Message, moved: MapCorrections) -> list[bytes]:
    """`map` (of a camera that is not joined yet, its own) → `submap_<k>` of all that moved: the rigid part, as on
    /tf/."""
    places = [one.map_from_submap for one in moved.corrections]
    if not places:
        return []
    poses = checked_poses([se3.make_pose(place.rotation, place.translation) for place in places])
    stamp = timestamp(message.envelope.captured_ns)
    return [
        encode_transform(stamp, moved.map_frame, submap_frame(one.submap), pose)
        for one, pose in zip(moved.corrections, poses, strict=True)
    ]


class Channels:
    """Foxglove's channels by topic; those of several cameras are made as they come."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self._by_name = {topic: _channel(topic, topic, context) for topic in wire.TOPICS}

    def of(self, topic: str, camera: str) -> Any:
        name = wire.full_topic(topic, camera)
        if name not in self._by_name:
            self._by_name[name] = _channel(name, topic, self._context)
        return self._by_name[name]


def _channel(name: str, topic: str, context: Any) -> Any:
    import foxglove

    kind: Any = schema_of(topic)
    schema = foxglove.Schema(
        name=kind.DESCRIPTOR.full_name, encoding="protobuf", data=build_file_descriptor_set(kind).SerializeToString()
    )
    return foxglove.Channel(name, schema=schema, message_encoding="protobuf", context=context)
