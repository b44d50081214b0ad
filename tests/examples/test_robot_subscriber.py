"""The Python example against a real publisher: its distance is right, and silence makes it stop."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from spark3r_core.geometry import se3
from spark3r_core.geometry.sim3 import Sim3
from spark3r_stream.pubsub.keys import ServerSecurity, create_keys
from spark3r_stream.pubsub.publisher import Publisher
from spark3r_stream.wire.encode import encode_frame, encode_keyframe, encode_map_corrections, encode_status
from spark3r_stream.wire.messages import (
    FrameOutput,
    KeyframeOutput,
    LengthUnit,
    MapCorrection,
    SessionState,
    TrackingState,
)
from tests.helpers_wire import SESSION, make_keyframe, make_sealer, make_status, make_tracked

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "robot_subscriber.py"
WAIT_S = 30.0


POSE = se3.exp(np.array([1.0, 2.0, 3.0, 0.3, -0.2, 0.1]))


def wall_at(distance: float, submap: int) -> KeyframeOutput:
    """A wall across the view from POSE at `distance`, something nearer at the side, and a stray point right ahead."""
    rng = np.random.default_rng(submap)
    wall = np.column_stack([rng.uniform(-0.05, 0.05, (400, 2)) * distance, np.full(400, distance)])
    aside = np.column_stack([np.full(50, 1.0), rng.uniform(-1, 1, 50), np.full(50, 0.5)])
    behind = -wall / 10
    points = se3.transform_points(POSE, np.concatenate([wall, aside, behind, [[0, 0, 0.1]]])).astype(np.float32)
    keyframe = make_keyframe(points=len(points))
    return replace(keyframe, submap=submap, points=points)


def frame_in(submap: int, frame_id: int, forward: float = 0.0, **changes: Any) -> FrameOutput:
    """A frame tracked in a submap, at POSE or so much further along its view."""
    ahead = np.eye(4)
    ahead[2, 3] = forward
    changes = {"state": TrackingState.TRACKING, "unit": LengthUnit.MODEL, **changes}
    result = replace(make_tracked(frame_id).result, submap=submap, world_from_camera=POSE @ ahead, **changes)
    return FrameOutput(result)


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
        for messages in (
            encode_keyframe(wall_at(4.0, submap=0)),
            encode_frame(frame_in(0, 0)),
            encode_frame(frame_in(0, 1, forward=1.5)),  # nearer to the same wall, without new points
            encode_keyframe(wall_at(3.0, submap=1)),
            encode_frame(frame_in(0, 2)),
            encode_frame(frame_in(1, 3)),
            encode_frame(frame_in(2, 4)),
            encode_frame(frame_in(1, 5, state=TrackingState.LOST)),
        ):
            publisher.send(sealer.seal(messages))
        publisher.send(sealer.seal([encode_status(replace(make_status(), state=SessionState.ENDED), 0)]))
        out, err = robot.communicate(timeout=WAIT_S)
    assert (robot.returncode, err) == (0, "")
    at = "[{:+.2f} {:+.2f} {:+.2f}]".format(*POSE[:3, 3])
    nearer = "[{:+.2f} {:+.2f} {:+.2f}]".format(*(POSE[:3, 3] + 1.5 * POSE[:3, 2]))
    assert out.splitlines() == [
        f"frame 0  in submap_0 at {at}  ahead: 4.00 model units",
        f"frame 1  in submap_0 at {nearer}  ahead: 2.50 model units",
        f"frame 2  in submap_0 at {at}  ahead: 4.00 model units",
        f"frame 3  in submap_1 at {at}  ahead: 3.00 model units",
        f"frame 4  in submap_2 at {at}  ahead: unknown",
        "frame 5  LOST: do not steer by this -> stop",
        "the stream is over; messages lost on the way: 0",
    ]


def test_the_robot_stops_half_a_metre_before_a_wall() -> None:
    """A unit of the submap is 0.25 m, as a correction says when the scale is known: until then there is no command. The
    wall is 12 units away, 3 m, and the robot comes nearer by 0.2 m a frame."""
    metres = Sim3(0.25, np.eye(3), np.zeros(3))
    correction = MapCorrection(0, 1, metres, "the scale became known", LengthUnit.METRE)
    with Publisher("tcp://127.0.0.1:*", SESSION) as publisher:
        robot = start(publisher)
        sealer = make_sealer()
        publisher.send(sealer.seal(encode_keyframe(wall_at(12.0, submap=0))))
        publisher.send(sealer.seal(encode_frame(frame_in(0, 0))))
        publisher.send(sealer.seal(encode_map_corrections([correction], 0)))
        for step in range(1, 15):
            moved = frame_in(0, step, forward=0.8 * step, unit=LengthUnit.METRE)
            publisher.send(sealer.seal(encode_frame(moved)))
        publisher.send(sealer.seal([encode_status(replace(make_status(), state=SessionState.ENDED), 0)]))
        out, err = robot.communicate(timeout=WAIT_S)
    assert (robot.returncode, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].endswith("ahead: 12.00 model units"), "no metres, no command"
    commands = [line.split(" -> ")[1] for line in lines[1:15]]
    ahead = [float(line.split("ahead: ")[1].split(" m")[0]) for line in lines[1:15]]
    np.testing.assert_allclose(ahead[:13], 3.0 - 0.2 * np.arange(1, 14), atol=0.011)
    assert commands == ["go"] * 12 + ["stop"] * 2, "0.6 m is far enough, 0.4 m is not"


def test_silence_stops_the_robot() -> None:
    with Publisher("tcp://127.0.0.1:*", SESSION) as publisher:
        robot = start(publisher)
        publisher.send(make_sealer().seal(encode_frame(frame_in(0, 0))))
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
