"""Eight connections that send as much as they can for a minute, with and without keys: nobody else notices."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from spark3r_stream.pubsub import endpoints
from spark3r_stream.pubsub.keys import ClientSecurity, ServerSecurity, create_keys
from spark3r_stream.pubsub.publisher import Publisher
from spark3r_stream.pubsub.snapshot import SnapshotKeeper
from spark3r_stream.pubsub.subscriber import Subscriber
from spark3r_stream.wire import envelope as wire
from tests.faults.engine_process import SYNTHETIC, Engine
from tests.helpers_wire import frames, make_sealer
from tools.process_usage import usage_of

pytestmark = pytest.mark.fault
FLOOD_S = float(os.environ.get("SPARK3R_FLOOD_S", "60"))
RATE = 20  # frames per second
FLOODER = """
import sys, time, zmq
from pathlib import Path
from spark3r_stream.pubsub.keys import ClientSecurity
endpoint, keys, server_key, number, seconds = sys.argv[1:]
context, end, i = zmq.Context(), time.monotonic() + float(seconds), 0
sock = context.socket(zmq.XSUB if int(number) else zmq.DEALER)
sock.setsockopt(zmq.LINGER, 0)
sock.setsockopt(zmq.SNDTIMEO, 100)
sock.setsockopt(zmq.RECONNECT_IVL, 1)
if keys:
    ClientSecurity.from_directory(Path(keys), server_key).protect(sock)
sock.connect(endpoint)
while time.monotonic() < end:
    i += 1
    try:
        if int(number) % 4 == 1:
            sock.send(b"\\1" + b"%d" % i * 20)  # different subscriptions
        elif int(number) % 4 == 2:
            sock.send(b"x", zmq.SNDMORE)  # one message without an end
        elif int(number) % 4 == 3:
            sock.send(b"x")
        else:
            sock.send(b"\\x08\\x01")  # requests for the map
    except zmq.Again:
        pass
context.destroy(linger=0)
"""


def memory_bytes() -> int:
    """Of this process; its relays hold what the kernel has no room for, 256 KiB for each connection."""
    return usage_of(os.getpid()).rss_bytes


@contextlib.contextmanager
def flooding(endpoint: str, keys: Path | None, seconds: float) -> Iterator[None]:
    """Seven connections to the stream and one to the snapshots, each in a process; ended at the end."""
    arguments = [str(keys or ""), str((keys or Path()) / "public.key")]
    floods = [
        subprocess.Popen(
            [sys.executable, "-c", FLOODER, target, *arguments, str(number), str(seconds)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for number in range(8)
        for target in [endpoints.snapshot_address(endpoint) if number == 0 else endpoint]
    ]
    try:
        yield
    finally:
        for flood in floods:
            flood.kill()
            flood.wait()


class Stream:
    """Frames at a fixed rate, and how many of them a quiet subscriber gets in time."""

    def __init__(self, publisher: Publisher, quiet: Subscriber, session: uuid.UUID) -> None:
        self._publisher, self._quiet, self._sealer = publisher, quiet, make_sealer(session)
        self.sent = self.received = 0
        self.most_bytes = 0

    def go_on(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            due = time.monotonic() + 1.0 / RATE
            size, points = ((48, 64), 200) if self.sent else ((480, 640), 2000)
            self._publisher.send(frames(self._sealer, [self.sent], size=size, points=points)[0])
            self.sent += 1
            while (left_s := due - time.monotonic()) > 0:
                self.received += self._quiet.poll(left_s) is not None
            self.most_bytes = max(self.most_bytes, memory_bytes())

    def catch_up(self) -> None:
        while self.received < self.sent and self._quiet.poll(2.0) is not None:
            self.received += 1


@pytest.mark.timeout(FLOOD_S + 120)
@pytest.mark.parametrize("with_keys", [False, True])
def test_a_flood_of_eight_connections_disturbs_nobody(with_keys: bool, tmp_path: Path) -> None:
    security, client = None, None
    if with_keys:
        create_keys(tmp_path)
        security, client = ServerSecurity.from_directory(tmp_path), ClientSecurity.from_directory(tmp_path)
    session = uuid.uuid4()
    with (
        Publisher("tcp://127.0.0.1:*", session, security=security, snapshot=SnapshotKeeper()) as publisher,
        Subscriber(publisher.endpoint, [wire.FRAME], security=client) as quiet,
    ):
        assert quiet.wait_connected(10)
        stream = Stream(publisher, quiet, session)
        stream.go_on(1.0)
        stream.catch_up()
        before = memory_bytes()
        sent, received = stream.sent, stream.received
        with flooding(publisher.endpoint, tmp_path if with_keys else None, FLOOD_S):
            stream.go_on(FLOOD_S)
        sent, in_time = stream.sent - sent, stream.received - received
        stream.catch_up()
        more = stream.most_bytes - before
        refused = publisher.refused
        time.sleep(2.0)
        sent_after, received_after = stream.sent, stream.received
        stream.go_on(5.0)
        sent_after, received_after = stream.sent - sent_after, stream.received - received_after
        print(f"during: {in_time} of {sent} in time, {stream.received} of {stream.sent} in all, +{more / 1e6:.0f} MB")
        print(f"2 s after: {received_after} of {sent_after} in time; {refused} connections refused")
        assert in_time >= 0.95 * sent
        assert received_after >= sent_after - 1  # the last may be on its way
        assert quiet.connections == 1
        assert more <= 100e6
        assert refused > 0


@pytest.mark.timeout(FLOOD_S + 120)
@pytest.mark.parametrize("with_keys", [False, True])
def test_an_engine_under_a_flood_ends_when_told(with_keys: bool, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        endpoint = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    keys = tmp_path / "keys" if with_keys else None
    if keys is not None:
        create_keys(keys)
    options = [] if keys is None else ["--keys", keys]
    with Engine(SYNTHETIC + "&live=1", "--publish", endpoint, *options) as engine:
        engine.wait_frames(5)
        with flooding(endpoint, keys, FLOOD_S + 60):
            time.sleep(min(10.0, FLOOD_S))
            before = len(engine.lines)
            engine.wait_frames(before + 5)  # it goes on
            began = time.monotonic()
            engine.signal(signal.SIGINT)
            assert engine.wait(30) == 0, engine.err
            print(f"{len(engine.lines)} frames; ended {time.monotonic() - began:.2f} s after Ctrl-C")
    assert "Traceback" not in engine.err
