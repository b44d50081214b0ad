"""Depth images come over real sockets, find their frames, and nothing that is sent can hurt."""

from __future__ import annotations

import json
import logging
import re
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq
from PIL import Image

from spark3r_core.metric.sensor_depth import SensorDepth
from spark3r_stream.config import RunConfig
from spark3r_stream.errors import SensorError
from spark3r_stream.frame import Frame
from spark3r_stream.running.run import opened_run
from spark3r_stream.sensors import depth_topic
from spark3r_stream.sensors.depth_message import MAX_PNG_BYTES, TOPIC, parsed, unpacked
from spark3r_stream.sensors.depth_topic import DepthTopic
from spark3r_stream.sensors.nearest_frame import NearestFrame
from spark3r_stream.sources.synthetic import SyntheticSource
from tests.helpers_reprocess import assert_repeated

WAIT_S = 20.0
PICTURE = np.zeros((12, 16, 3), np.uint8)
START_NS, FRAME_NS = 1_700_000_000 * 10**9, 100_000_000


def frame(index: int) -> Frame:
    return Frame(PICTURE, index, 0, START_NS + index * FRAME_NS, None, "test")


def png(depth: np.ndarray) -> bytes:
    file = BytesIO()
    Image.fromarray(depth).save(file, "PNG")
    return file.getvalue()


def message(time: Any, depth: np.ndarray, **more: Any) -> list[bytes]:
    header = {"time": time, "width": depth.shape[1], "height": depth.shape[0], **more}
    return [TOPIC.encode(), json.dumps(header).encode(), png(depth)]


def millimetres(value: int) -> np.ndarray:
    return np.full((12, 16), value, np.uint16)


class Sensor:
    """What publishes depth images at `endpoint`."""

    def __init__(self) -> None:
        self._context = zmq.Context()
        self.socket = self._context.socket(zmq.XPUB)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.bind("tcp://127.0.0.1:0")
        self.endpoint = self.socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def wait_heard(self) -> None:
        assert self.socket.poll(1000 * WAIT_S), "nobody subscribed"
        assert self.socket.recv() == b"\x01" + TOPIC.encode()

    def close(self) -> None:
        self._context.destroy(linger=0)


@pytest.fixture
def sensor() -> Iterator[Sensor]:
    one = Sensor()
    yield one
    one.close()


def until(true: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + WAIT_S
    while not (found := true()):
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.005)
    return found


def shown_once(topic: DepthTopic, newest: Frame) -> SensorDepth:
    """What is found for `newest`, which is shown once: a time that comes twice is a clock that was set."""
    return topic.of(newest, (16, 12)) or until(lambda: topic._ready).popleft()


def test_an_image_belongs_to_the_nearest_frame_also_if_it_comes_late_or_early(sensor: Sensor) -> None:
    topic = DepthTopic(sensor.endpoint)
    sensor.wait_heard()
    for index in range(6):
        assert topic.of(frame(index), (16, 12)) is None
    sensor.socket.send_multipart(message((START_NS + 2.4 * FRAME_NS) / 1e9, millimetres(2000)))
    found = shown_once(topic, frame(6))
    assert found.frame_id == 2
    np.testing.assert_array_equal(found.depth_m, np.full((12, 16), 2.0, np.float32))
    assert found.depth_m.dtype == np.float32
    sensor.socket.send_multipart(message(START_NS + 9 * FRAME_NS + 1, millimetres(2000), scale=500))
    index, early = 6, None
    while early is None and index < 60:
        index += 1
        early = topic.of(frame(index), (16, 12))
        if index == 8:  # it is to wait for frame 9
            until(lambda: len(topic._waiting) == 1)
        time.sleep(0.01)
    assert early is not None
    assert (early.frame_id, early.depth_m[0, 0]) == (9, 4.0)
    topic.close()
    assert (topic.used, topic.unmatched, topic.refused) == (2, 0, 0)


def test_the_offset_is_added_to_their_times(sensor: Sensor) -> None:
    topic = DepthTopic(sensor.endpoint, offset_s=-5.0)
    sensor.wait_heard()
    sensor.socket.send_multipart(message(START_NS + 2 * FRAME_NS + 5 * 10**9, millimetres(1000)))
    for index in range(4):
        topic.of(frame(index), (16, 12))
    assert until(lambda: topic._ready)[0].frame_id == 2
    topic.close()


def test_what_belongs_to_no_frame_and_what_comes_soon_after_another_is_counted(
    sensor: Sensor, caplog: pytest.LogCaptureFixture
) -> None:
    topic = DepthTopic(sensor.endpoint)
    sensor.wait_heard()
    for index in range(10):
        topic.of(frame(index), (16, 12))
    for at in (-3.0, 3.0, 4.0, 6.0):
        sensor.socket.send_multipart(message(START_NS + round(at * FRAME_NS), millimetres(1000)))
    until(lambda: topic.used + topic.spared + topic.unmatched == 4)
    with caplog.at_level(logging.INFO, logger=depth_topic.__name__):
        topic.close()
    assert (topic.used, topic.spared, topic.unmatched) == (2, 1, 1)
    assert "2 used, 1 soon after another, 1 of no frame" in caplog.text


def test_a_frame_is_near_by_half_of_what_lies_between_frames() -> None:
    nearest = NearestFrame()
    nearest.add(5, 0)
    assert nearest.is_to_come(0), "how far frames are apart is not known yet"
    nearest.add(6, 100)
    nearest.add(7, 200)
    nearest.add(11, 600)  # some were lost
    assert [nearest.of(time_ns) for time_ns in (-51, -50, 49, 51, 250, 251, 400, 560, 649)] == [
        None, 5, 5, 6, 7, None, None, 11, 11,
    ]  # fmt: skip
    assert [nearest.is_to_come(time_ns) for time_ns in (400, 650, 651)] == [False, False, True]
    nearest.add(12, 50)
    assert nearest.of(50) is None, "a clock that was set begins anew"


def with_size(image: bytes, width: int, height: int, bits: int = 16, colour: int = 0) -> bytes:
    """The PNG with another header, whose sum is right."""
    words = b"IHDR" + struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return image[:12] + words + struct.pack(">I", zlib.crc32(words)) + image[33:]


GOOD = message(1.5, millimetres(1000))
HEADER = json.loads(GOOD[1])


def changed(**fields: Any) -> list[bytes]:
    return [GOOD[0], json.dumps({**HEADER, **fields}).encode(), GOOD[2]]


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        (GOOD[:2], "2 parts"),
        ([*GOOD, b""], "4 parts"),
        ([GOOD[0], b"\xff\xfe", GOOD[2]], "utf-8"),
        ([GOOD[0], b"{", GOOD[2]], "property name"),
        ([GOOD[0], b"[]", GOOD[2]], "no JSON object"),
        ([GOOD[0], b"[" * 500, GOOD[2]], "nested"),
        ([GOOD[0], b" " * 513, GOOD[2]], "header of 513 bytes"),
        (changed(time=None), "no time"),
        (changed(time=True), "no time"),
        (changed(time="now"), "no time"),
        (changed(time=1e300), "is no time"),
        (changed(width=0), "width 0"),
        (changed(width=16.0), "width 16.0"),
        (changed(width=8193), "width 8193"),
        (changed(width=8000, height=8000), "8000x8000 pixels, expected at most"),
        (changed(scale=0), "scale 0"),
        (changed(scale="x\x1b[2J"), r"x\x1b[2J"),
        (changed(height=13), "16x12 pixels with 16 bits, expected"),
        ([*GOOD[:2], b""], "no PNG"),
        ([*GOOD[:2], b"\xff\xd8\xff" + bytes(100)], "no PNG"),
        ([*GOOD[:2], GOOD[2][:20]], "no PNG"),
        ([*GOOD[:2], with_size(GOOD[2], 60000, 60000)], "60000x60000"),
        ([*GOOD[:2], with_size(GOOD[2], 16, 12, bits=8)], "8 bits"),
        ([*GOOD[:2], with_size(GOOD[2], 16, 12, colour=2)], "coloured"),
        ([*GOOD[:2], bytes(MAX_PNG_BYTES + 1)], "expected at most"),
    ],
)  # fmt: skip
def test_a_message_that_is_none_is_refused_before_a_pixel_is_unpacked(parts: list[bytes], words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        parsed(parts)


NOISE = png(np.random.default_rng(0).integers(0, 65536, (12, 16)).astype(np.uint16))


@pytest.mark.parametrize("image", [NOISE[:300], NOISE[:60] + bytes(300), NOISE[:33]])
def test_a_png_that_is_broken_inside_is_refused(image: bytes) -> None:
    with pytest.raises(ValueError, match="a PNG that cannot be read"):
        unpacked(parsed([*GOOD[:2], image]), 1000.0)


def test_hostile_messages_are_counted_and_good_ones_are_still_used(
    sensor: Sensor, caplog: pytest.LogCaptureFixture
) -> None:
    topic = DepthTopic(sensor.endpoint)
    sensor.wait_heard()
    for index in range(10):
        topic.of(frame(index), (16, 12))
    at = START_NS + 3 * FRAME_NS
    other_shape = message(at, np.full((16, 12), 1000, np.uint16))
    broken = [*message(at, millimetres(1000))[:2], NOISE[:300]]
    sensor.socket.send_multipart([b"/other/", b"{}", b""])
    for bad in (GOOD[:2], [GOOD[0], *[b"x"] * 1000], changed(scale=-1), other_shape, broken):
        sensor.socket.send_multipart(bad)
    sensor.socket.send_multipart(message(at, millimetres(3000)))
    found = shown_once(topic, frame(10))
    assert (found.frame_id, found.depth_m[0, 0]) == (3, 3.0)
    topic.close()
    assert (topic.used, topic.refused) == (1, 5)
    assert caplog.text.count("expected the topic") == 1, "said once, counted after that"
    assert "depth images: 5 could not be used" in caplog.text


def test_tracking_never_waits_for_an_image(sensor: Sensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one is being unpacked, frames go on."""
    unpacking, go_on = threading.Event(), threading.Event()

    def slow(message: Any, steps: float) -> np.ndarray:
        unpacking.set()
        assert go_on.wait(WAIT_S)
        return unpacked(message, steps)

    monkeypatch.setattr(depth_topic, "unpacked", slow)
    topic = DepthTopic(sensor.endpoint)
    sensor.wait_heard()
    for index in range(4):
        topic.of(frame(index), (16, 12))
    sensor.socket.send_multipart(message(START_NS + FRAME_NS, millimetres(1000)))
    assert unpacking.wait(WAIT_S)
    for index in range(4, 1000):
        assert topic.of(frame(index), (16, 12)) is None
    go_on.set()
    assert until(lambda: topic._ready)[0].frame_id == 1
    topic.close()


@pytest.mark.parametrize("endpoint", ["tcp://nowhere", "tcp://127.0.0.1:0", "ipc://"])
def test_an_address_that_is_none_is_refused(endpoint: str) -> None:
    with pytest.raises(SensorError, match="expected tcp"):
        DepthTopic(endpoint)


def test_a_run_is_in_metres_by_published_images_and_repeats_without_them(
    tmp_path: Path, spark3r: Callable[..., int], sensor: Sensor
) -> None:
    source = "synthetic:room?frames=24&size=160x120&fps=10"
    truth = SyntheticSource(source).ground_truth
    record, out = tmp_path / "first.mcap", tmp_path / "out"
    config = RunConfig(source=source, depth_images=sensor.endpoint, record=record, out=out)
    with opened_run(config, threading.Event()) as run:
        sensor.wait_heard()
        assert run.reconstructor._depth_ratios is not None  # type: ignore[union-attr]
        topic = run.reconstructor._depth_ratios._sensor  # type: ignore[union-attr]
        ratios, sent = [], 0
        for step in run.steps():
            if step.result.depth_ratio is not None:
                ratios.append(step.result.depth_ratio)
            for one in step.frames:  # each comes after its frame
                depth = np.nan_to_num(truth.depth(one.frame_id), posinf=0)
                steps = (1000 * depth).round().astype(np.uint16)
                sensor.socket.send_multipart(message(one.captured_ns / 1e9, steps))
                sent += 1
                until(lambda: topic.used + topic.spared + topic.unmatched + len(topic._waiting) >= sent)  # noqa: B023
    assert len(ratios) >= 5
    stats = json.loads((out / "stats.json").read_text())
    assert (stats["unit"]["length"], stats["unit"]["source"]) == ("metre", "depth images")
    assert_repeated(spark3r, record, tmp_path)


def test_depth_of_another_frame_than_the_newest_is_compared_with_that_frame() -> None:
    """See `DepthRatios`; an image of a frame that is not known any more says nothing."""
    from types import SimpleNamespace

    from spark3r_core.geometry import se3
    from spark3r_stream.engine.depth_ratios import DepthRatios

    camera = np.array([[16.0, 0, 8], [0, 16, 6], [0, 0, 1]])
    v, u = (np.mgrid[0:12, 0:16] + 0.5).reshape(2, -1)
    points = 2.0 * np.stack([(u - 8) / 16, (v - 6) / 16, np.ones(u.shape)], 1)  # a wall, 2 units ahead of the keyframe
    reference: Any = SimpleNamespace(frame_id=0, mapped_points=lambda bend: points)
    prepared: Any = SimpleNamespace(
        sizes=SimpleNamespace(picture_hw=(12, 16), tracker=SimpleNamespace(image_hw=(12, 16)))
    )

    def tracked(ahead: float) -> Any:
        pose = se3.make_pose(np.eye(3), np.array([0, 0, ahead]))
        return SimpleNamespace(key_from_camera=pose, camera=camera, keyframe_id=0)

    answers: list[SensorDepth | None] = [
        None, None, SensorDepth(1, np.full((12, 16), 3.0, np.float32)), SensorDepth(9, np.ones((12, 16), np.float32))
    ]  # fmt: skip
    ratios = DepthRatios(SimpleNamespace(of=lambda frame, size: answers.pop(0)), lambda keyframe: None)  # type: ignore[arg-type]
    assert ratios.of(frame(0), prepared, tracked(0.0), reference) is None
    assert ratios.of(frame(1), prepared, tracked(0.5), reference) is None
    found = ratios.of(frame(2), prepared, tracked(1.0), reference)
    assert found is not None
    assert np.exp(found.log_ratio) == pytest.approx(2.0), "3 m are 1.5 units, half a unit nearer than the keyframe"
    assert ratios.of(frame(3), prepared, tracked(1.0), reference) is None
