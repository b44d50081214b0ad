"""The Python example against a real publisher: its distance is right, and silence makes it stop."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from spark3r_core.geometry import se3
from spark3r_stream.pubsub.keys import ServerSecurity, create_keys
from spark3r_stream.pubsub.publisher import Publisher
from spark3r_stream.wire.encode import encode_frame, encode_status
from spark3r_stream.wire.messages import FrameOutput, LengthUnit, SessionState, TrackingState
from tests.helpers_wire import SESSION, make_output, make_sealer, make_status

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "robot_subscriber.py"
WAIT_S = 30.0


def wall_at(frame_id: int, distance: float) -> FrameOutput:
    """A wall across the view at `distance`, something nearer far to the side, and one stray point right ahead."""
    output = make_output(frame_id)
    pose = se3.exp(np.array([1.0, 2.0, 3.0, 0.3, -0.2, 0.1]))
    rng = np.random.default_rng(frame_id)
    wall = np.column_stack([rng.uniform(-0.05, 0.05, (400, 2)) * distance, np.full(400, distance)])
    aside = np.column_stack([np.full(50, 1.0), rng.uniform(-1, 1, 50), np.full(50, 0.5)])
    behind = -wall / 10
    points = se3.transform_points(pose, np.concatenate([wall, aside, behind, [[0, 0, 0.1]]])).astype(np.float32)
    result = replace(output.result, world_from_camera=pose, state=TrackingState.TRACKING, unit=LengthUnit.MODEL)
    return FrameOutput(result, points=points)


def start(publisher: Publisher, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(EXAMPLE), publisher.endpoint, *arguments]
    robot = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    deadline_s = time.monotonic() + WAIT_S
    while publisher.subscribers < 1:
        assert time.monotonic() < deadline_s, "it never subscribed"
        time.sleep(0.01)
    return robot


def test_pose_distance_and_the_end(tmp_path: Path) -> None:
    create_keys(tmp_path)
    security = ServerSecurity.from_directory(tmp_path)
    with Publisher("tcp://127.0.0.1:*", SESSION, security=security) as publisher:
        robot = start(publisher, "--keys", str(tmp_path))
        sealer = make_sealer()
        lost = wall_at(2, 1.0)
        lost = FrameOutput(replace(lost.result, state=TrackingState.LOST))
        for output in (wall_at(0, 4.0), wall_at(1, 2.5), lost):
            publisher.send(sealer.seal(encode_frame(output)))
        publisher.send(sealer.seal([encode_status(replace(make_status(), state=SessionState.ENDED), 0)]))
        out, err = robot.communicate(timeout=WAIT_S)
    assert (robot.returncode, err) == (0, "")
    expected = se3.exp(np.array([1.0, 2.0, 3.0, 0.3, -0.2, 0.1]))[:3, 3]
    at = "[{:+.2f} {:+.2f} {:+.2f}]".format(*expected)
    assert out.splitlines() == [
        f"frame 0  at {at}  ahead: 4.00 model units",
        f"frame 1  at {at}  ahead: 2.50 model units",
        "frame 2  LOST: do not steer by this",
        "the stream is over; messages lost on the way: 0",
    ]


def test_silence_stops_the_robot() -> None:
    with Publisher("tcp://127.0.0.1:*", SESSION) as publisher:
        robot = start(publisher)
        publisher.send(make_sealer().seal(encode_frame(wall_at(0, 4.0))))
        out, err = robot.communicate(timeout=WAIT_S)
    assert robot.returncode == 1
    assert out.startswith("frame 0 ")
    assert err == "nothing for 3 s: stop\n"


def test_a_robot_without_a_key_is_told(tmp_path: Path) -> None:
    create_keys(tmp_path)
    security = ServerSecurity.from_directory(tmp_path)
    with Publisher("tcp://127.0.0.1:*", SESSION, security=security) as publisher:
        command = [sys.executable, str(EXAMPLE), publisher.endpoint]
        robot = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=WAIT_S, check=False)
    assert (robot.returncode, robot.stdout) == (1, "")
    assert robot.stderr.startswith("error: the publisher on")
