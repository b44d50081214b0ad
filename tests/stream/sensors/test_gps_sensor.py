"""Fixes of a receiver: which come with which frame, from a file and from a topic, and what is no position."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import zmq

from spark3r_core.metric.gps import PositionFix
from spark3r_stream.config import ConfigError, RunConfig
from spark3r_stream.errors import SensorError
from spark3r_stream.frame import Frame
from spark3r_stream.running.sensors import open_positions
from spark3r_stream.sensors.gps import MOST_AT_ONCE, GpsSensor, open_gps

PICTURE = np.zeros((4, 4, 3), np.uint8)
LIVE_NS = 1_700_000_000 * 10**9


def frame(index: int, fps: int = 10) -> Frame:
    """Captured at Unix time, and stamped from zero on."""
    return Frame(PICTURE, index, 0, LIVE_NS + index * 10**9 // fps, index * 10**9 // fps, "test")


def written(path: Path, lines: str) -> str:
    path.write_text(lines)
    return str(path)


def seconds(fixes: tuple[PositionFix, ...]) -> list[float]:
    return [fix.time_ns / 1e9 for fix in fixes]


def test_each_frame_brings_the_fixes_up_to_the_first_after_it(tmp_path: Path) -> None:
    rows = "".join(f"{0.25 * i - 1:.2f} {48 + 1e-6 * i:.6f} 11.5 520 {0.4 + i}\n" for i in range(8))
    sensor = open_gps(written(tmp_path / "a.txt", "time lat lon alt std\n" + rows), "wgs84", 0.0)
    came = [sensor.of(frame(index)) for index in range(9)]
    assert [seconds(one) for one in came] == [[-0.25, 0.0], [0.25], [], [0.5], [], [], [0.75], [], []]
    assert came[0][1] == PositionFix(0, (48.000004, 11.5, 520.0), 4.4)
    later = open_gps(str(tmp_path / "a.txt"), "wgs84", 0.5)
    assert seconds(later.of(frame(0))) == [-0.25, 0.0], "its clock is half a second behind"
    assert later.of(frame(1))[0].position[0] == pytest.approx(48.000003)


def test_of_many_fixes_some_are_enough(tmp_path: Path) -> None:
    rows = "".join(f"{i / 1000:.3f} 1 2 {i}\n" for i in range(200))
    sensor = open_gps(written(tmp_path / "a.txt", rows), "local", 0.0)
    sensor.of(frame(0))
    found = sensor.of(frame(1))
    assert len(found) == MOST_AT_ONCE
    assert found[-1].position == (1.0, 2.0, 100.0)
    assert found[0].std_m == 0.0, "the file does not say"
    assert sensor.thinned == 99 - MOST_AT_ONCE + 1


@pytest.mark.parametrize(
    ("line", "frame_name", "said"),
    [
        ("0 95 11 500", "wgs84", "a latitude of 95 degrees"),
        ("0 48 400 500", "wgs84", "a longitude of 400"),
        ("0 48 11 1e9", "wgs84", "an altitude"),
        ("0 48 11 500 0", "wgs84", "deviation of 0 m"),
        ("0 48 11 500 -2", "local", "deviation of -2 m"),
        ("0 1e9 11 500", "local", "from the origin"),
        ("0 48 11", "wgs84", "expected time, latitude"),
        ("0 48 11 nan", "wgs84", "not finite"),
    ],
)
def test_what_is_no_position_is_refused(tmp_path: Path, line: str, frame_name: str, said: str) -> None:
    with pytest.raises(SensorError, match=said):
        open_gps(written(tmp_path / "a.txt", line + "\n"), frame_name, 0.0)


def test_a_topic_is_listened_to_and_what_is_wrong_in_it_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint = f"ipc://{tmp_path}/gps"
    with zmq.Context() as context, context.socket(zmq.PUB) as publisher:
        publisher.setsockopt(zmq.LINGER, 0)
        publisher.bind(endpoint)
        sensor = open_gps(endpoint, "wgs84", 0.0)
        deadline = time.monotonic() + 20
        while not len(sensor.feed.rows().times_ns):  # subscriptions take their time
            publisher.send_multipart([b"/gps/", f"{LIVE_NS / 1e9 - 1:.1f},48,11,520,2".encode()])
            time.sleep(0.01)
            assert time.monotonic() < deadline
        assert seconds(sensor.of(frame(0))) == [-1.0], "by the frame's own clock"
        lines = [f"{LIVE_NS / 1e9 + after:.1f},{lat},11,520" for after, lat in ((-0.5, 48), (-0.2, 99), (0.1, 48))]
        publisher.send_multipart([b"/gps/", "\n".join(lines).encode()])
        while sensor.feed.rows().times_ns[-1] < LIVE_NS:
            time.sleep(0.01)
            assert time.monotonic() < deadline
        found, later = sensor.of(frame(1)), sensor.of(frame(2))
        sensor.close()
        assert [round(one, 3) for one in seconds(found)] == [-0.5, 0.1]
        assert later == ()
        assert sensor.wrong == 1
        assert "a latitude of 99 degrees" in caplog.text
        assert "gps: 1 no positions" in caplog.text


def test_options_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", "0 48 11 500\n")
    for config, said in (
        (RunConfig("a.mp4", gps="g", track="off"), "metres need keyframes"),
        (RunConfig("a.mp4", gps="g", others=("b.mp4",)), "--gps is of one camera"),
        (RunConfig("a.mp4", gps="g", gps_offset="1,2"), "expected metres to the right, down and ahead"),
        (RunConfig("a.mp4", gps="g", gps_offset="1,2,nan"), "an antenna at"),
        (RunConfig("a.mp4", gps="g", gps_clock=float("nan")), "expected seconds"),
    ):
        with pytest.raises(ConfigError, match=said):
            config.check()
    with pytest.raises(ConfigError, match="--gps-offset is about the positions"):
        open_positions(RunConfig("a.mp4", gps_offset="1,2,3"), is_recorded=False)
    assert open_positions(RunConfig("a.mp4", gps_offset="1,2,3"), is_recorded=True) is None
    assert isinstance(open_positions(RunConfig("a.mp4", gps=path), is_recorded=False), GpsSensor)
