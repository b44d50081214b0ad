"""A recording as a ROS 2 bag, read back by rosbags: what was published, in ROS's axes and where it lay by then."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

from spark3r_core.geometry import se3
from spark3r_stream.recording.reader import Recording
from spark3r_stream.ros2.axes import upright
from spark3r_stream.wire import envelope as wire
from spark3r_stream.wire.decode import decode
from tests.helpers import spark3r

SOURCE = "synthetic:room?seed=3&frames=12&size=160x120"


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recording") / "run.mcap"
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert (
            spark3r(monkeypatch, "run", SOURCE, "--weights", "random", "--size", "96", "--record", path, "--images")
            == 0
        )
    return path


def test_a_bag_of_a_recording(recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert spark3r(monkeypatch, "export", recording, "--to", "ros2bag", "--out", tmp_path / "out") == 0
    found: dict[str, list] = {}
    with AnyReader([tmp_path / "out" / "bag"], default_typestore=get_typestore(Stores.ROS2_HUMBLE)) as reader:
        for connection, time, raw in reader.messages():
            found.setdefault(connection.topic, []).append((time, reader.deserialize(raw, connection.msgtype)))
    messages = [decode(message) for message in Recording(recording).messages([wire.FRAME])]
    frames = [frame for frame in messages if frame.valid]
    assert len(found["/pose"]) == len(frames) == 12
    assert len(found["/camera_info"]) == 12
    times = [time for time, _ in found["/pose"]]
    assert times == [frame.captured_ns for frame in frames] == sorted(times)

    chain = {}
    for time, message in found["/tf"]:
        (one,) = message.transforms
        turn, shift = one.transform.rotation, one.transform.translation
        pose = se3.from_quat_xyzw([shift.x, shift.y, shift.z], [turn.x, turn.y, turn.z, turn.w])
        chain[time, one.header.frame_id, one.child_frame_id] = pose
    for time, message in found["/pose"]:
        camera = chain[time, "map", "odom"] @ chain[time, "odom", "camera_link"]
        where = message.pose.position
        np.testing.assert_allclose(camera[:3, 3], [where.x, where.y, where.z], atol=1e-6)

    assert len(found["/tf_static"]) == 1
    assert len(found["/odom"]) == len([frame for frame in frames if frame.covariance is not None])
    pictures = [Image.open(io.BytesIO(message.data.tobytes())) for _, message in found["/image/compressed"]]
    assert [picture.size for picture in pictures] == [(160, 120)] * 12
    infos = [message for _, message in found["/camera_info"]]
    assert {(info.width, info.height, info.header.frame_id) for info in infos} == {(160, 120, "camera_optical_frame")}
    depth, depth_info = found["/depth/image_rect"][0][1], found["/depth/camera_info"][0][1]
    assert (depth.width, depth.height) == (depth_info.width, depth_info.height)

    clouds = [decode(message) for message in Recording(recording).messages([wire.CLOUD])]
    assert len(found["/points"]) == len(clouds) >= 1
    first, (_, cloud) = clouds[0], found["/points"][0]
    table = np.frombuffer(cloud.data, [(field.name, "<f4") for field in cloud.fields])
    xyz = np.stack([table["x"], table["y"], table["z"]], 1)
    np.testing.assert_allclose(xyz, first.points @ upright()[:3, :3].T, rtol=1e-4, atol=1e-5)


def test_other_formats_need_its_map(
    recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    capfd.readouterr()
    assert spark3r(monkeypatch, "export", recording, "--to", "colmap", "--out", tmp_path / "out") == 1
    assert "--map room.s3rmap` makes it" in capfd.readouterr().err
    other = tmp_path / "other.mcap"
    other.write_bytes(b"letters")
    assert spark3r(monkeypatch, "export", other, "--to", "ros2bag", "--out", tmp_path / "other") == 1
    assert capfd.readouterr().err.count("\n") == 1
