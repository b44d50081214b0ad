"""Messages from a hostile publisher through the real Subscriber, `echo` and the viewer's feed: each is one clear line
or a clean result, and none takes memory beyond its bound."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import zmq

from spark3r_stream.cli import echo
from spark3r_stream.errors import VersionMismatch, WireError
from spark3r_stream.map.scene_map import SceneMap
from spark3r_stream.plain_text import cleaned
from spark3r_stream.pubsub.subscriber import Subscriber
from spark3r_stream.viewer.drawing import Drawing
from spark3r_stream.viewer.feed import SceneFeed
from spark3r_stream.viewer.panel import Shown, panel_html, picture_label
from spark3r_stream.viewer.scene_geometry import overview
from spark3r_stream.wire import envelope as wire
from spark3r_stream.wire.decode import decode
from spark3r_stream.wire.envelope import Message
from tests.helpers_hostile_wire import HostileMessage, good_messages, hostile_messages, large_messages, last_message

ROOT = Path(__file__).parents[3]
WAIT_S = 20.0
MAX_BYTES = 512 * wire.MIB
PER_TEST = 50
# What the system counts for a child includes what its parent held when it was made: so it says itself.
PROGRAM = """
import re, sys
from spark3r_stream.cli.main import main
try:
    main()
except SystemExit as end:
    held = re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())
    print(f"held {held[1]} kB", file=sys.stderr)
    sys.exit(end.code)
"""
ALL = hostile_messages(500)


@contextlib.contextmanager
def hostile_publisher() -> Iterator[tuple[zmq.Socket[bytes], str]]:
    """It keeps to no rule but ZeroMQ's, and drops nothing."""
    context = zmq.Context()
    sock = context.socket(zmq.XPUB)
    sock.setsockopt(zmq.SNDHWM, 0)
    sock.bind("tcp://127.0.0.1:*")
    try:
        yield sock, sock.getsockopt_string(zmq.LAST_ENDPOINT)
    finally:
        context.destroy(linger=0)


def wait_for_subscriptions(sock: zmq.Socket[bytes]) -> None:
    left = {topic.encode() for topic in (*wire.TOPICS, wire.WELCOME)}
    while left:
        left.discard(sock.recv()[1:])


class Consumer:
    """What `echo` and the viewer do with messages, but for the browser and the terminal."""

    def __init__(self) -> None:
        self._messages: list[Message] = []
        self._feed = SceneFeed(self, SceneMap(100_000, max_clouds=50))
        self._drawing = Drawing()

    def poll(self, timeout_s: float | None = 0.0) -> Message | None:
        return self._messages.pop() if self._messages else None

    def take(self, message: Message) -> None:
        with contextlib.suppress(WireError):
            content = decode(message)
            json.loads(echo._as_json(message, content), parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
            line = cleaned(echo._as_text(message, content), None)
            assert "\n" not in line
            assert "\x1b" not in line
        self._messages.append(message)
        self._feed.take(0.0)
        scene = self._feed.scene
        with np.errstate(over="ignore", invalid="ignore"):  # as the viewer does
            self._drawing.update(scene, 0.3, 1.0)
            overview(self._drawing.sample(), scene.trajectory())
        scene.cloud()
        shown = Shown("source", self._feed.frame, self._feed.status, points=len(scene), poses=scene.num_poses)
        assert "<script" not in panel_html(shown)
        if self._feed.picture is not None:
            picture_label(self._feed.picture, message.envelope.captured_ns)


def test_there_are_500_of_every_kind() -> None:
    assert len(ALL) == len({hostile.name for hostile in ALL}) == 500
    for topic in (*wire.TOPICS, "envelope", "payload", "parts", "of the points"):
        assert any(topic in hostile.name for hostile in ALL), topic


@pytest.mark.parametrize("start", range(0, len(ALL), PER_TEST))
def test_each_is_refused_or_decoded(start: int) -> None:
    consumer = Consumer()
    mark = good_messages()[wire.CALIB]
    with hostile_publisher() as (sock, endpoint), Subscriber(endpoint) as subscriber:
        wait_for_subscriptions(sock)
        for hostile in ALL[start : start + PER_TEST]:
            sock.send_multipart(hostile.parts)
            sock.send_multipart(mark.parts())
            with_this: list[Message] = []
            while not with_this or with_this[-1].payload != mark.payload:
                try:
                    message = subscriber.poll(WAIT_S)
                except VersionMismatch:
                    continue
                assert message is not None, hostile.name
                with_this.append(message)
            for message in with_this[:-1]:
                consumer.take(message)
            assert len(with_this) <= 2, hostile.name


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_echo_prints_them_in_bounded_memory(options: list[str]) -> None:
    """All but those of another version, which end it, as they should."""
    harmless = [hostile for hostile in ALL if not hostile.name.startswith("envelope schema_major")]
    harmless += large_messages()
    with hostile_publisher() as (sock, endpoint):
        command = [sys.executable, "-c", PROGRAM, "echo", endpoint, "--topic", "all", *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
        wait_for_subscriptions(sock)
        for hostile in [*harmless, HostileMessage("the end", last_message())]:
            if not ends_the_session(hostile):
                sock.send_multipart(hostile.parts)
        sock.send_multipart(last_message())
        assert process.stdout is not None
        assert process.stderr is not None
        out, err = (stream.read().decode() for stream in (process.stdout, process.stderr))
        assert process.wait() == 0, err
    assert "Traceback" not in err
    assert "\x1b" not in out + err
    assert len(out.splitlines()) + err.count("skipped a message") > len(harmless) / 2
    for line in out.splitlines() if options else []:
        json.loads(line, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    held_kib = int(err.rpartition("held ")[2].split()[0])
    assert held_kib * wire.KIB <= MAX_BYTES


def ends_the_session(hostile: HostileMessage) -> bool:
    """ENDED and FAILED mean that to `echo`, whoever says it."""
    topic, *rest = hostile.parts
    if topic != wire.STATUS.encode() or len(rest) != 2:
        return False
    with contextlib.suppress(WireError):
        content = decode(Message.from_parts(hostile.parts))
        return getattr(content, "state", None) in (echo.SessionState.ENDED, echo.SessionState.FAILED)
    return False
