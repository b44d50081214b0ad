"""Eight connections that send as much as they can for a minute, with and without keys: nobody else notices."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from spark3r_stream.pubsub import endpoints
from spark3r_stream.pubsub.keys import ClientSecurity, ServerSecurity, create_keys
from spark3r_stream.pubsub.publisher import Publisher
from spark3r_stream.pubsub.snapshot import SnapshotKeeper
from spark3r_stream.pubsub.subscriber import Subscriber
from spark3r_stream.wire import envelope as wire
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


@pytest.mark.parametrize("with_keys", [False, True])
def test_a_flood_of_eight_connections_disturbs_nobody(with_keys: bool, tmp_path: Path) -> None:
    security, client = None, None
    if with_keys:
        create_keys(tmp_path)
        security, client = ServerSecurity.from_directory(tmp_path), ClientSecurity.from_directory(tmp_path)
    session = uuid.uuid4()
    sealer = make_sealer(session)
    with (
        Publisher("tcp://127.0.0.1:*", session, security=security, snapshot=SnapshotKeeper()) as publisher,
        Subscriber(publisher.endpoint, [wire.FRAME], security=client) as quiet,
    ):
        assert quiet.wait_connected(10)
        publisher.send(frames(sealer, [0], size=(480, 640))[0])
        assert quiet.poll(10) is not None
        before = memory_bytes()
        arguments = [str(tmp_path) if with_keys else "", str(tmp_path / "public.key")]
        floods = [
            subprocess.Popen(
                [sys.executable, "-c", FLOODER, endpoint, *arguments, str(number), str(FLOOD_S)],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )
            for number in range(8)
            for endpoint in [endpoints.snapshot_address(publisher.endpoint) if number == 0 else publisher.endpoint]
        ]
        sent, received, most = 1, 1, before
        end = time.monotonic() + FLOOD_S
        while time.monotonic() < end:
            publisher.send(frames(sealer, [sent], size=(48, 64), points=200)[0])
            sent += 1
            if quiet.poll(1.0 / RATE) is not None:
                received += 1
            most = max(most, memory_bytes())
        for flood in floods:
            flood.kill()
            flood.wait()
        while received < sent and quiet.poll(2.0) is not None:
            received += 1
        print(f"{received} of {sent} frames, +{(most - before) / 1e6:.0f} MB, {publisher.refused} refused")
        assert received >= 0.95 * sent
        assert quiet.connections == 1
        assert most - before <= 100e6
        assert publisher.refused > 0
