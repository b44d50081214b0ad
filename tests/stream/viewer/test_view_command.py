"""`spark3r view --offscreen` against a real publisher."""

from __future__ import annotations

import threading
import time
import uuid
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spark3r_core.geometry import se3
from spark3r_stream.cli.keys import client_security
from spark3r_stream.cli.view import view_command
from spark3r_stream.errors import OutputError, StreamError
from spark3r_stream.map.cloud import PointCloud
from spark3r_stream.map.trajectory import Trajectory, write_trajectory
from spark3r_stream.outputs.ply import write_ply
from spark3r_stream.pubsub.keys import ServerSecurity, create_keys
from spark3r_stream.pubsub.publisher import Publisher
from spark3r_stream.pubsub.snapshot import SnapshotKeeper
from spark3r_stream.wire.encode import encode_frame, encode_status
from spark3r_stream.wire.envelope import Message, Sealer
from spark3r_stream.wire.messages import FrameOutput, FrameResult, SessionState, Status


def blue_wall(frame_id: int) -> FrameOutput:
    points = np.random.default_rng(frame_id).uniform([-2, -1, 3], [2, 1, 3.01], (5000, 3)).astype(np.float32)
    pose = se3.exp([0.1 * frame_id, 0, 0, 0, 0, 0])
    result = FrameResult(frame_id, "s", 0, 0, captured_ns=frame_id, published_ns=0, world_from_camera=pose)
    colours = np.tile(np.array([20, 40, 230, 255], np.uint8), (5000, 1))
    return FrameOutput(result, points=points, colours=colours, point_confidence=np.full(5000, 0.7, np.float32))


def publish_when_subscribed(publisher: Publisher, messages: list[Message]) -> threading.Thread:
    def send() -> None:
        deadline = time.monotonic() + 10
        while publisher.subscribers == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        publisher.send(messages)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


@pytest.mark.parametrize("frames", [0, 4])
def test_picture_of_a_stream_that_ends(tmp_path: Path, frames: int) -> None:
    session = uuid.uuid4()
    with Publisher("tcp://127.0.0.1:*", session) as publisher:
        unsealed = [message for index in range(frames) for message in encode_frame(blue_wall(index))]
        ended = encode_status(Status(SessionState.ENDED), 0)
        thread = publish_when_subscribed(publisher, Sealer(session, time.time_ns).seal([*unsealed, ended]))
        path = tmp_path / "view.png"
        try:
            if frames == 0:
                with pytest.raises(StreamError, match="nothing to draw"):
                    view_command(publisher.endpoint, offscreen=path, seconds=20)
                return
            assert view_command(publisher.endpoint, offscreen=path, seconds=20) == 0
        finally:
            thread.join()
    assert blue_share(path) > 0.03


def blue_share(path: Path) -> float:
    with Image.open(path) as picture:
        red, _, blue = np.moveaxis(np.asarray(picture.convert("RGB")).astype(int), -1, 0)
    return float(((blue > 150) & (red < 90)).mean())


def test_picture_of_a_secured_stream_whose_frames_all_came_before(tmp_path: Path) -> None:
    create_keys(tmp_path / "keys")
    session, path = uuid.uuid4(), tmp_path / "view.png"
    security = ServerSecurity.from_directory(tmp_path / "keys")
    with Publisher("tcp://127.0.0.1:*", session, security=security, snapshot=SnapshotKeeper()) as publisher:
        unsealed = [message for index in range(4) for message in encode_frame(blue_wall(index))]
        publisher.send(Sealer(session, time.time_ns).seal(unsealed))
        own = client_security(tmp_path / "keys", None)
        assert view_command(publisher.endpoint, own, offscreen=path, seconds=1.5) == 0
    assert blue_share(path) > 0.03


def result_folder(folder: Path) -> str:
    wall = blue_wall(0)
    assert wall.points is not None
    assert wall.colours is not None
    assert wall.point_confidence is not None
    write_ply(folder / "cloud.ply", PointCloud(wall.points, wall.colours[:, :3], wall.point_confidence))
    write_trajectory(folder / "trajectory.txt", Trajectory(np.arange(3), np.tile(np.eye(4), (3, 1, 1))))
    return str(folder)


def test_picture_of_a_folder_of_results(tmp_path: Path) -> None:
    folder = result_folder(tmp_path)
    assert view_command(folder, offscreen=tmp_path / "view.png") == 0
    assert blue_share(tmp_path / "view.png") > 0.03
    (tmp_path / "cloud.ply").unlink()
    with pytest.raises(OutputError, match=r"cloud\.ply"):
        view_command(folder, offscreen=tmp_path / "view.png")


def test_a_folder_of_results_is_served(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Until nobody has looked for a moment; the address is on standard error, and nothing on standard output."""
    assert view_command(result_folder(tmp_path), port=0, opens_browser=False, unwatched_s=0.5) == 0
    out, err = capfd.readouterr()
    assert out == ""
    assert "the map is on http://127.0.0.1:" in err
    assert "other machines" not in err
    assert view_command(str(tmp_path), host="0.0.0.0", port=0, opens_browser=False, unwatched_s=0.5) == 0
    err = capfd.readouterr().err
    assert "/?token=" in err
    assert "other machines can reach that address" in err
