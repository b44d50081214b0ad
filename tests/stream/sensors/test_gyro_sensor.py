"""A gyroscope's samples, from files and over real sockets, become hints; its clock's offset is found."""

from __future__ import annotations

import logging
import time
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import zmq

from spark3r_core.geometry import se3
from spark3r_core.geometry.rotation import exp_so3, rotation_angle
from spark3r_stream.errors import SensorError
from spark3r_stream.frame import Frame
from spark3r_stream.sensors import gyro
from spark3r_stream.sensors.axes import camera_from_sensor
from spark3r_stream.sensors.feed import TopicFeed, open_feed
from spark3r_stream.sensors.gyro import GyroSensor
from tests.core.geometry.test_gyro import rates_at

PICTURE = np.zeros((4, 4, 3), np.uint8)
HERTZ, FPS = 200, 30


@cache
def orientations() -> list[np.ndarray]:
    """(4, 4) start_from_camera of every frame."""
    pieces = 20  # of the time between frames
    at = (np.arange(260 * pieces) + 0.5) / (FPS * pieces)
    found, turn = [], np.eye(3)
    for number, piece in enumerate(exp_so3(rates_at(at) / (FPS * pieces))):
        if number % pieces == 0:
            found.append(se3.make_pose(turn, np.zeros(3)))
        turn = turn @ piece
    return found


def frame(index: int) -> Frame:
    time_ns = round(index * 1e9 / FPS)
    return Frame(PICTURE, index, 0, time_ns, time_ns, "test")


def written(path: Path, until_s: float, shift_s: float = 0.0, sensor_from_camera: np.ndarray | None = None) -> Path:
    seconds = np.arange(0, until_s, 1 / HERTZ)
    rates = rates_at(seconds) @ (np.eye(3) if sensor_from_camera is None else sensor_from_camera).T
    lines = [",".join(f"{value:.9f}" for value in row) for row in np.column_stack([seconds - shift_s, rates])]
    path.write_text("\n".join(lines))
    return path


def sensor_of(path: Path | str, offset_s: float | None = 0.0, axes: str = "x,y,z") -> GyroSensor:
    feed = open_feed(str(path), gyro.TOPIC, gyro.COLUMNS, gyro.EXPECTED)
    return GyroSensor(feed, offset_s, camera_from_sensor(axes))


@pytest.mark.parametrize("axes", ["x,y,z", "-y,-z,x"])
def test_hints_are_the_turns_between_frames(tmp_path: Path, axes: str) -> None:
    sensor = sensor_of(written(tmp_path / "g.csv", 2.0, sensor_from_camera=camera_from_sensor(axes).T), axes=axes)
    hints = [sensor.of(frame(index)) for index in range(30)]
    assert {(hint.run, hint.is_sure, hint.position_xyz) for hint in hints} == {(0, True, None)}
    truth = se3.compose(se3.invert(orientations()[10]), orientations()[29])
    assert se3.relative_angle(np.eye(4), truth) > 0.3
    assert se3.relative_angle(hints[10].to(hints[29]), truth) < 1e-3


def test_where_samples_are_missing_another_run_begins(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sensor = sensor_of(written(tmp_path / "g.csv", 0.5))
    hints = [sensor.of(frame(index)) for index in range(30)]
    assert hints[0].to(hints[14]) is not None
    assert hints[14].to(hints[20]) is None
    with caplog.at_level(logging.INFO):
        sensor.close()
    assert f"hints for {sensor.hinted} frames, none for {sensor.missing}" in caplog.text
    assert (sensor.hinted + sensor.missing, sensor.missing > 5) == (29, True)


def test_the_offset_is_learnt_from_what_was_tracked_and_then_hints_are_sure(tmp_path: Path) -> None:
    shift_s = 0.21
    sensor = sensor_of(written(tmp_path / "g.csv", 12.0, shift_s), offset_s=None)
    sure = []
    for index in range(240):
        hint = sensor.of(frame(index))
        sure.append(hint.is_sure)
        sensor.tracked(frame(index), orientations()[index])
    assert not sure[0]
    assert sure[-1]
    assert abs(sensor.offset.seconds - shift_s) < 0.005
    first, last = sensor.of(frame(240)), sensor.of(frame(250))
    truth = se3.compose(se3.invert(orientations()[240]), orientations()[250])
    assert rotation_angle((se3.invert(first.to(last)) @ truth)[:3, :3]) < 0.01


def test_frames_that_were_not_tracked_teach_nothing(tmp_path: Path) -> None:
    sensor = sensor_of(written(tmp_path / "g.csv", 12.0, 0.21), offset_s=None)
    for index in range(240):
        sensor.of(frame(index))
        sensor.tracked(frame(index), None)
    assert sensor.offset is None


def test_a_topic_is_listened_to(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    endpoint = f"ipc://{tmp_path}/gyro"
    with zmq.Context() as context, context.socket(zmq.PUB) as publisher:
        publisher.setsockopt(zmq.LINGER, 0)
        publisher.bind(endpoint)
        feed = open_feed(endpoint, gyro.TOPIC, gyro.COLUMNS, gyro.EXPECTED)
        assert isinstance(feed, TopicFeed)
        deadline = time.monotonic() + 20
        while not len(feed.rows().times_ns):  # subscriptions take their time
            publisher.send_multipart([b"/gyro/", b"1.0,0,0,0"])
            time.sleep(0.01)
            assert time.monotonic() < deadline
        publisher.send_multipart([b"/other/", b"2.0,9,9,9"])
        publisher.send_multipart([b"/gyro/", b"nonsense"])
        publisher.send_multipart([b"/gyro/", b"1.010,0,0,0\n1.005,1,2,3\n"])
        while feed.rows().times_ns[-1] < 1_010_000_000:
            time.sleep(0.01)
            assert time.monotonic() < deadline
        rows = feed.rows()
        assert rows.times_ns.tolist() == [1_000_000_000, 1_005_000_000, 1_010_000_000]
        assert rows.values[1].tolist() == [1, 2, 3]
        assert feed.refused == 1
        assert "1 values" in caplog.text
        publisher.send_multipart([b"/gyro/", b"100,0,0,0"])
        while feed.rows().times_ns[-1] < 100 * 10**9:
            time.sleep(0.01)
            assert time.monotonic() < deadline
        assert feed.rows().times_ns.tolist() == [100 * 10**9], "what is old is let go"
        feed.close()


@pytest.mark.parametrize("words", ["x,y", "x,y,y", "x,y,-z", "a,b,c", "", "x,y,z,x"])
def test_axes_that_are_none_are_refused(words: str) -> None:
    with pytest.raises(SensorError, match="right-handed"):
        camera_from_sensor(words)


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(SensorError, match="expected tcp"):
        sensor_of("tcp://nowhere")
