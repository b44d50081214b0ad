"""The C++ client is built with the system's tools and prints what `spark3r echo` prints, with and without keys."""

from __future__ import annotations

import subprocess
import sys
import time
import uuid
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spark3r_core.geometry.sim3 import Sim3
from spark3r_stream.pubsub.keys import ServerSecurity, create_keys
from spark3r_stream.pubsub.publisher import Publisher
from spark3r_stream.wire.encode import encode_frame, encode_map_corrections, encode_status
from spark3r_stream.wire.envelope import FRAME, SCHEMA_MAJOR, Sealer
from spark3r_stream.wire.messages import FrameOutput, MapCorrection, SessionState, TrackingState
from tests.helpers_wire import SESSION, failed_output, make_output, make_sealer, make_status, make_tracked

ROOT = Path(__file__).parents[2]
WAIT_S = 30.0

pytestmark = pytest.mark.compiler


@pytest.fixture(scope="module")
def pose_client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    build = tmp_path_factory.mktemp("cpp")
    configure = [
        "cmake",
        "-S",
        str(ROOT / "examples/cpp"),
        "-B",
        str(build),
        "-DCMAKE_BUILD_TYPE=Debug",
    ]  # builds faster
    for command in (configure, ["cmake", "--build", str(build), "--parallel", "2"]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return build / "pose_client"


def outputs() -> list[FrameOutput]:
    """Plain ones, and one each of what prints differently."""
    few = [make_output(i, points=3) for i in range(4)]
    lost = replace(few[2], result=replace(few[2].result, state=TrackingState.LOST, drops_since_last={}))
    tracking = replace(few[3], result=replace(few[3].result, state=TrackingState.TRACKING, latency_ms=0.5))
    return [few[0], few[1], lost, tracking, failed_output(4), make_tracked(5)]


def start(*command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)


@pytest.mark.parametrize("secured", [False, True])
def test_it_prints_what_echo_prints(pose_client: Path, tmp_path: Path, secured: bool) -> None:
    server, robot = tmp_path / "server", tmp_path / "robot"
    create_keys(server)
    (server / "allowed_clients").write_text(create_keys(robot).public.decode())
    server_key = str(server / "public.key")
    security = ServerSecurity.from_directory(server) if secured else None
    with Publisher("tcp://127.0.0.1:*", SESSION, security=security) as publisher:
        endpoint = publisher.endpoint
        echo = start(
            *(sys.executable, "-m", "spark3r_stream.cli.main", "echo", endpoint, "--timeout", str(WAIT_S)),
            *(("--keys", str(robot), "--server-key", server_key) if secured else ()),
        )
        deadline_s = time.monotonic() + WAIT_S
        wait_for_subscribers(publisher, 1, deadline_s)  # first, because it waits longer than the other
        client = start(str(pose_client), endpoint, *((str(robot), server_key) if secured else ()))
        wait_for_subscribers(publisher, 2, deadline_s)
        sealer = make_sealer()
        sent = outputs()
        for output in sent:
            publisher.send(sealer.seal(encode_frame(output)))
        assert client.stdout is not None
        lines = [client.stdout.readline() for _ in sent]
        finish(publisher, sealer)
        rest, client_errors = client.communicate(timeout=WAIT_S)
        echoed, echo_errors = echo.communicate(timeout=WAIT_S)
    assert (client.returncode, rest, client_errors) == (0, "", "")
    assert echo.returncode == 0, echo_errors
    assert lines == echoed.splitlines(keepends=True)
    assert "LOST" in lines[2]
    assert "FAILED" in lines[4]


def test_it_counts_losses_and_knows_its_schema_version(pose_client: Path) -> None:
    with Publisher("tcp://127.0.0.1:*", SESSION) as publisher:
        client = start(str(pose_client), publisher.endpoint)
        wait_for_subscribers(publisher, 1, time.monotonic() + WAIT_S)
        sealer = make_sealer()
        batches = [sealer.seal(encode_frame(output))[:1] for output in outputs()]
        publisher.send([*batches[0], *batches[3]])
        assert client.stdout is not None
        assert client.stdout.readline().startswith("frame 0 ")
        assert client.stdout.readline().startswith("frame 3 ")
        finish(publisher, sealer)
        _, errors = client.communicate(timeout=WAIT_S)
        assert (client.returncode, errors) == (0, "missed 2 messages\n")
        deadline_s = time.monotonic() + WAIT_S
        while publisher.subscribed(FRAME):  # the first one's is still counted
            assert time.monotonic() < deadline_s
            time.sleep(0.01)
        client = start(str(pose_client), publisher.endpoint)
        wait_for_subscribers(publisher, 1, time.monotonic() + WAIT_S)
        newer = [
            replace(m, envelope=replace(m.envelope, schema_major=SCHEMA_MAJOR + 1, schema_minor=3)) for m in batches[4]
        ]
        publisher.send(newer)
        out, errors = client.communicate(timeout=WAIT_S)
    assert (client.returncode, out) == (1, "")
    assert f"{SCHEMA_MAJOR + 1}.3" in errors
    assert f"{SCHEMA_MAJOR}.x" in errors


def test_it_follows_the_lists_of_corrections(pose_client: Path) -> None:
    """The newest revision of a submap wins, wherever in a list it stands; a submap nobody spoke of has no place."""
    output = make_tracked()
    place = output.map_from_submap
    elsewhere = Sim3(3.0, np.eye(3), np.array([9.0, 9, 9]))
    lists = [
        [MapCorrection(0, 0, elsewhere), MapCorrection(3, 7, place), MapCorrection(4, 9, elsewhere)],
        [MapCorrection(3, 6, elsewhere), MapCorrection(0, 1, Sim3())],  # an older one of submap 3, late
    ]
    in_0 = replace(output, result=replace(output.result, submap=0))
    in_8 = replace(output, result=replace(output.result, submap=8))
    with Publisher("tcp://127.0.0.1:*", SESSION) as publisher:
        client = start(str(pose_client), publisher.endpoint)
        wait_for_subscribers(publisher, 1, time.monotonic() + WAIT_S)
        sealer = make_sealer()
        for corrections in lists:
            publisher.send(sealer.seal(encode_map_corrections(corrections, 0)))
        for one in (output, in_0, in_8):
            publisher.send(sealer.seal(encode_frame(one)))
        restarted = make_sealer(uuid.UUID(int=8))
        publisher.send(restarted.seal(encode_frame(output)))  # another session: what was known is void
        finish(publisher, restarted)
        out, errors = client.communicate(timeout=WAIT_S)
    assert (client.returncode, errors) == (0, "")
    assert output.result.world_from_camera is not None
    in_submap = output.result.world_from_camera[:3, 3]
    texts = [
        "  map [{:+.4f} {:+.4f} {:+.4f}]".format(*p) for p in (place.apply_to_points(in_submap[None])[0], in_submap)
    ]
    lines = out.splitlines()
    assert lines[0].endswith(texts[0])
    assert lines[1].endswith(texts[1])
    assert not any("map [" in line for line in lines[2:])
    assert [line.split()[2] for line in lines] == ["submap_3", "submap_0", "submap_8", "submap_3"]


def wait_for_subscribers(publisher: Publisher, count: int, deadline_s: float) -> None:
    while publisher.subscribers < count:
        assert time.monotonic() < deadline_s, f"{publisher.subscribers} of {count} connected"
        time.sleep(0.01)


def finish(publisher: Publisher, sealer: Sealer) -> None:
    publisher.send(sealer.seal([encode_status(replace(make_status(), state=SessionState.ENDED), 0)]))
