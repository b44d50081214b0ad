"""What `--topics`, `--rate`, `--depth-every` and `--cloud-voxel` leave out, and that nothing else is lost by them."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spark3r_stream import Subscriber
from spark3r_stream.config import ConfigError, RunConfig
from spark3r_stream.engine.placed import Numbering
from spark3r_stream.engine.results import StepOutput
from spark3r_stream.engine.sinks import WireSink
from spark3r_stream.engine.thinning import Thinning, ThinningOptions
from spark3r_stream.recording.reader import Recording
from spark3r_stream.running.run import opened_run
from spark3r_stream.wire import envelope as wire
from spark3r_stream.wire.decode import decode
from spark3r_stream.wire.encode import encode_keyframe
from spark3r_stream.wire.envelope import Message
from spark3r_stream.wire.messages import FrameOutput, FrameResult
from tests.helpers_wire import make_keyframe, make_sealer, make_tracked

MS = 1_000_000


def passed(rate_hz: float, times_ms: list[int], drops: int = 0) -> list[FrameResult]:
    """The frames that a rate lets pass; each was told of so many losses."""
    thinning = Thinning(ThinningOptions(rate_hz=rate_hz))
    whole, told = make_tracked().result, {"superseded": drops} if drops else {}
    frames = [replace(whole, frame_id=i, captured_ns=ms * MS, drops_since_last=told) for i, ms in enumerate(times_ms)]
    return [out.result for one in frames for out in thinning.step(StepOutput([FrameOutput(one)])).outputs]


@pytest.mark.parametrize(("fps", "rate", "expected"), [(30, 10, 100), (25, 10, 100), (30, 7, 70), (5, 10, 50)])
def test_a_rate_is_kept_on_average(fps: int, rate: int, expected: int) -> None:
    sent = passed(rate, [round(1000 * i / fps) for i in range(10 * fps)])
    assert len(sent) == pytest.approx(expected, abs=1)
    assert np.diff([one.captured_ns for one in sent]).min() >= (1e9 / rate) - 1e9 / fps - MS


def test_what_a_frame_reports_is_not_lost_with_it() -> None:
    sent = passed(10, [40 * i for i in range(25)], drops=1)
    assert len(sent) == 10
    assert sum(one.drops_since_last["superseded"] for one in sent) >= 23  # all up to the last that was sent


def test_a_silent_source_and_a_clock_that_goes_back_begin_anew() -> None:
    assert [one.captured_ns // MS for one in passed(10, [0, 50, 5000, 5050, 5100, 20, 60, 120])] == [
        0,
        5000,
        5100,
        20,
        120,
    ]


def test_depth_of_some_keyframes_and_the_same_again_when_it_is_refined() -> None:
    thinning = Thinning(ThinningOptions(depth_every=3))
    for _ in range(2):
        topics = [
            [m.topic for m in thinning.of_keyframe(encode_keyframe(replace(make_keyframe(k), submap=k)), k)]
            for k in range(4)
        ]
        assert [wire.DEPTH in each for each in topics] == [True, False, False, True]
        assert all(wire.CLOUD in each and wire.DEPTH_CALIB in each for each in topics)


@pytest.mark.parametrize("camera", [0, 1])
def test_every_second_keyframe_is_every_second_of_each_camera(camera: int) -> None:
    class Target:
        def __init__(self) -> None:
            self.topics: list[str] = []

        def send(self, messages: list[Message]) -> None:
            self.topics += [one.topic for one in messages]

    target = Target()
    sink = WireSink(make_sealer(), [target], Numbering(camera, 2), Thinning(ThinningOptions(depth_every=2)))
    for k in range(4):
        sink.window([], StepOutput([], keyframes=[replace(make_keyframe(k), submap=k)]))
    assert target.topics.count(wire.DEPTH) == 2
    assert target.topics.count(wire.CLOUD) == 4


def test_of_each_cell_the_most_trusted_point_stays() -> None:
    keyframe = make_keyframe(1)
    points = np.array([[0.1, 0.1, 1.1], [0.3, 0.2, 1.2], [0.9, 0.1, 1.1]], np.float32)
    colours = np.array([[1, 2, 3, 255], [4, 5, 6, 255], [7, 8, 9, 255]], np.uint8)
    keyframe = replace(keyframe, points=points, colours=colours, point_confidence=np.float32([0.2, 0.9, 0.5]))
    thin = Thinning(ThinningOptions(cloud_voxel=0.5)).step(StepOutput([], keyframes=[keyframe])).keyframes[0]
    order = np.argsort(thin.points[:, 0])
    np.testing.assert_array_equal(thin.points[order], points[1:])
    np.testing.assert_array_equal(thin.colours[order], colours[1:])
    np.testing.assert_array_equal(thin.point_confidence[order], np.float32([0.9, 0.5]))


def test_a_thinned_stream_has_no_gaps_and_the_recording_has_everything(tmp_path: Path) -> None:
    endpoint, record = f"ipc://{tmp_path}/thin.sock", tmp_path / "whole.mcap"
    source = "synthetic:room?seed=12&frames=12&kind=handheld&size=96x72&fps=10"
    config = RunConfig(
        source, size=96, publish=endpoint, record=record, topics="frame,cloud", rate=5, cloud_voxel=0.3
    )  # fmt: skip
    with Subscriber(endpoint, timeout_s=10) as subscriber:
        with opened_run(config, threading.Event()) as run:
            assert subscriber.wait_connected(20)
            for _ in run.steps():
                pass
        received = []
        while (message := subscriber.poll(20)) is not None:
            received.append(message)
            if message.topic == wire.STATUS and decode(message).state.name == "ENDED":
                break
        assert sum(subscriber.missed.values()) == 0
    assert {m.topic for m in received} - {wire.STATUS, wire.MAP_CORRECTION} == {wire.FRAME, wire.CLOUD}
    assert [m.envelope.frame_id for m in received if m.topic == wire.FRAME] == list(range(0, 12, 2))
    recorded = list(Recording(record).messages())
    assert [m.envelope.frame_id for m in recorded if m.topic == wire.FRAME] == list(range(12))
    assert {wire.DEPTH, wire.TF} <= {m.topic for m in recorded}
    assert {m.envelope.session_id for m in recorded} == {m.envelope.session_id for m in received}
    clouds = [[len(m.payload) for m in messages if m.topic == wire.CLOUD] for messages in (received, recorded)]
    assert 0 < sum(clouds[0]) < sum(clouds[1]) / 2


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"topics": "frame,cluod"}, "--topics has 'cluod'; expected some of frame, pose"),
        ({"rate": 0.0}, "--rate is 0.0; expected a positive number"),
        ({"cloud_voxel": float("nan")}, "--cloud-voxel is nan"),
        ({"depth_every": 0}, "--depth-every is 0; expected at least 1"),
        ({"depth_every": 2, "publish": None}, "--depth-every is about what is published"),
        ({"low_latency": True, "track": "off"}, "give --window 1"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict, complaint: str) -> None:
    config = RunConfig("a.mp4", **{"publish": "tcp://127.0.0.1:*", **options})
    with pytest.raises(ConfigError, match=complaint), opened_run(config, threading.Event()):
        pass


def test_low_latency_lets_no_frame_of_a_live_source_wait() -> None:
    config = RunConfig("synthetic:room?frames=2&size=96x72&live=1", size=96, low_latency=True, weights="random")
    with opened_run(config, threading.Event()) as run:
        assert run.engine.queue_frames == 1
