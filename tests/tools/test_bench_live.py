"""What bench_live adds up, on runs whose answer is known, and its cameras."""

from __future__ import annotations

import struct
import threading
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from spark3r_core.geometry import se3
from spark3r_core.geometry.sim3 import Sim3
from spark3r_stream.wire.messages import CameraView, FrameResult
from tools.bench_live import parse, spread, summary
from tools.live import numbers
from tools.live.clip import jpegs, open_clip, write_access_units, write_video
from tools.live.http_camera import HttpCamera
from tools.live.watcher import record_of

PERIOD = 33_333_333
SENT = [1_000_000_000 + i * PERIOD for i in range(40)]
MS = 1_000_000


def _clip(frames: int = 12):
    return open_clip(f"synthetic:room?frames={frames}&size=64x48&kind=handheld", None, None)


def test_frames_are_found_by_their_times_even_when_some_are_long_under_way() -> None:
    """Frame 4 takes three periods: the newest picture sent before it came is not its own."""
    pictures = [2, 3, 4, 7, 9, 30]
    captured = [SENT[i] + (100 * MS if i == 4 else 5 * MS) for i in pictures]
    pts = [(i - 2) * PERIOD for i in pictures]  # the viewer's first picture was the third that was sent
    index, by = numbers.pictures_of(captured, pts, SENT)
    assert index.tolist() == pictures
    assert "presentation time" in by


def test_without_regular_times_the_newest_picture_sent_is_taken() -> None:
    pictures = [-1, *range(1, 20)]
    captured = [SENT[0] - 1, *(SENT[i] + 5 * MS for i in pictures[1:])]
    jittering = np.cumsum(np.random.default_rng(0).integers(20 * MS, 50 * MS, 20)).tolist()
    for pts in ([None] * 20, jittering):
        index, by = numbers.pictures_of(captured, pts, SENT)
        assert index.tolist() == pictures
        assert by == "newest picture sent before capture"


def test_a_frame_captured_before_anything_was_sent_belongs_to_no_picture() -> None:
    index, _ = numbers.pictures_of([SENT[0] - MS, SENT[0] + MS], [0, PERIOD], SENT)
    assert index.tolist() == [-1, 0]


def test_places_count_lost_frames_and_do_not_drift() -> None:
    kept = [i for i in range(3000) if i % 7]
    assert numbers.places([round((i - 1) * 1e9 / 30) for i in kept]).tolist() == [i - 1 for i in kept]
    rounded = [round((i - 1) * 1000 / 30) * MS for i in kept]  # a container that keeps milliseconds
    assert numbers.places(rounded).tolist() == [i - 1 for i in kept]
    assert numbers.places([0]) is None
    assert numbers.places([5, 5, 5]) is None


def test_latencies_and_shares() -> None:
    found = numbers.latency_ms([0] * 100, [i * MS for i in range(1, 101)])
    assert found == {"p50": 50.5, "p95": 95.05, "max": 100.0}
    assert numbers.latency_ms([], []) is None
    assert numbers.shares(np.array([2, 3, 3, 5, -1]), 10) == {
        "sent": 10, "published": 3, "share": 0.3, "sent_before_first": 2, "share_from_first": 0.375,
        "two_results_for_one": 1,
    }  # fmt: skip
    assert numbers.shares(np.array([-1]), 10)["share"] == 0


def test_a_run_is_summed_up_from_what_the_subscriber_saw() -> None:
    clip = _clip(30)
    truth = clip.sequence.truth.world_from_camera
    times = clip.sequence.time_ns
    records = [
        {
            "frame_id": i, "captured_ns": SENT[i] + 4 * MS, "published_ns": SENT[i] + 9 * MS, "pts_ns": int(times[i]),
            "received_ns": SENT[i] + 10 * MS, "state": "TRACKING", "mapped": False, "pose": truth[i].ravel().tolist(),
            "focal": clip.sequence.intrinsics.fx * 1.1,
        }
        for i in range(30) if i != 11
    ]  # fmt: skip
    records[3] |= {"state": "FAILED", "pose": None}
    stats = {
        "keyframes": 4, "frames": {"dropped": {"superseded": 1}}, "memory_bytes": {}, "window_model_ms": {},
    }  # fmt: skip
    watched = {"records": records, "missed": {}}
    for sent, at in ((None, times), (SENT[:30], np.array(SENT[:30]) + 4 * MS)):
        final = truth.copy()
        final[:, :3, 3] *= 3
        row = summary(clip, watched, sent, stats, (np.asarray(at, np.int64), final))
        assert row["pictures"]["published"] == 29
        assert row["pictures"]["share"] == pytest.approx(29 / 30, abs=1e-4)
        assert row["latency_ms"]["captured_to_subscriber"]["p95"] == 6
        assert row["states"] == {"TRACKING": 28, "FAILED": 1}
        assert row["as_published"]["frames"] == 28
        assert row["final"]["frames"] == 29
        assert row["as_published"]["ate_of_spread"] < 1e-6
        assert row["final"]["ate_of_spread"] < 1e-6
        assert row["focal_error_last_published"] == pytest.approx(0.1)
        assert row["drops_by_cause"] == {"superseded": 1}
    assert row["latency_ms"]["sent_to_subscriber"] == {"p50": 10.0, "p95": 10.0, "max": 10.0}
    assert spread([row, row])["share"]["median"] == row["pictures"]["share"]


def test_a_record_places_the_frame_where_its_submap_lies() -> None:
    pose = se3.make_pose(np.eye(3), [1.0, 2.0, 3.0])
    frame = FrameResult(
        7, "s", 0, 2, 100, 200, 50, world_from_camera=pose, camera=CameraView(np.diag([9.0, 9, 1]), 4, 3)
    )
    record = record_of(frame, Sim3(2.0, np.eye(3), np.array([1.0, 0.0, 0.0])), 300)
    assert np.reshape(record["pose"], (4, 4))[:3, 3].tolist() == [3, 4, 6]
    assert (record["frame_id"], record["received_ns"], record["focal"]) == (7, 300, 9.0)
    failed = record_of(FrameResult(8, "s", 0, 2, 100, 200, valid=False), Sim3(), 300)
    assert (failed["pose"], failed["state"]) == (None, "FAILED")


def test_the_http_camera_sends_every_picture_and_says_when() -> None:
    pictures = [bytes([i]) * (50 + i) for i in range(20)]
    camera = HttpCamera(pictures, fps=2000)
    try:
        with urllib.request.urlopen(camera.url, timeout=10) as answer:
            assert answer.headers["Content-Type"].startswith("multipart/x-mixed-replace")
            for picture in pictures:
                head = b"".join(answer.readline() for _ in range(4))
                assert f"Content-Length: {len(picture)}".encode() in head
                assert answer.read(len(picture)) == picture
                assert answer.readline() == b"\r\n"
            assert camera.finished.wait(10)
            assert len(camera.sent_ns) == len(pictures)
            assert sorted(camera.sent_ns) == camera.sent_ns
            closing = threading.Thread(target=camera.close)
            closing.start()
            assert answer.readline() == b"--picture\r\n"
            closing.join(10)
    finally:
        camera.close()


def test_a_clip_becomes_pictures_units_and_a_file(tmp_path: Path) -> None:
    import av

    clip = _clip()
    assert len(jpegs(clip)) == 12
    data, units = write_access_units(clip, tmp_path / "clip.units").read_bytes(), []
    while data:
        (length,) = struct.unpack(">I", data[:4])
        units.append(data[4 : 4 + length])
        data = data[4 + length :]
    assert len(units) == 12
    assert b"\x00\x00\x01\x67" in units[0]  # parameter sets travel with the first picture
    with av.open(str(write_video(clip, tmp_path / "clip.mp4"))) as container:
        assert sum(1 for _ in container.decode(video=0)) == 12


def test_what_stands_behind_two_dashes_goes_to_the_engine() -> None:
    args, passed_on = parse(["synthetic:room", "--source", "file", "--", "--size", "252"])
    assert args.source == ["file"]
    assert passed_on == ["--size", "252"]
    with pytest.raises(SystemExit):
        parse(["synthetic:room", "--source", "file", "--max-frames", "3"])
