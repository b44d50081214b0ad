"""The text of the page: what is said, and that what others say is only text."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spark3r_stream.viewer.keyframe_picture import KeyframePicture
from spark3r_stream.viewer.panel import Shown, panel_html, picture_label
from spark3r_stream.wire.messages import CameraView, FrameResult, SessionState, Status, TrackingState

FRAME = FrameResult(
    1234, "s", epoch=0, submap=7, captured_ns=5_000_000_000, published_ns=0, state=TrackingState.TRACKING
)
STATUS = Status(
    SessionState.RUNNING, frames_per_second=29.7, latency_p50_ms=12, latency_p95_ms=33, memory_bytes=3 << 20,
    memory_limit_bytes=64 << 20, model_ms=210, drops={"superseded": 4, "queue_full": 0}, frames_failed=2,
)  # fmt: skip
SHOWN = Shown("tcp://127.0.0.1:5555", FRAME, STATUS, silent_s=0.1, sessions=1, points=1000, most_points=5000, poses=60)


def test_a_good_stream() -> None:
    text = panel_html(SHOWN)
    for part in ("TRACKING", "29.7 FPS", "network 210 ms", "12 ms (median), 33 ms (p95)", "3.0 of 64.0 MiB"):
        assert part in text
    for part in ("1,000 of 5,000 points, 60 poses", "4 superseded, 2 failed", "1,234 in submap 7"):
        assert part in text
    for part in ("NO SIGNAL", "PAUSED", "ENDED", "queue_full", "since this page began"):
        assert part not in text


def test_what_is_not_well_is_said() -> None:
    lost = replace(FRAME, state=TrackingState.LOST, state_reason="too few pixels agree")
    assert "LOST" in panel_html(SHOWN._replace(frame=lost))
    assert "too few pixels agree" in panel_html(SHOWN._replace(frame=lost))
    failed = replace(FRAME, valid=False, failure_reason="not finite")
    assert "not finite" in panel_html(SHOWN._replace(frame=failed))
    camera_gone = replace(STATUS, state=SessionState.RECONNECTING, last_error="connection refused")
    assert "RECONNECTING" in panel_html(SHOWN._replace(status=camera_gone))
    assert "connection refused" in panel_html(SHOWN._replace(status=camera_gone))
    assert "17 messages on the way here" in panel_html(SHOWN._replace(missed=17))


def test_a_publisher_that_is_not_there() -> None:
    assert "WAITING" in panel_html(Shown("tcp://127.0.0.1:5555"))
    assert "WAITING" not in panel_html(Shown("tcp://127.0.0.1:5555", poses=5)), "it has the map so far"
    gone = panel_html(SHOWN._replace(silent_s=7.2))
    assert "NO SIGNAL" in gone
    assert "nothing came for 7 s" in gone
    assert "TRACKING" not in gone
    assert "the 2nd since this page began" in panel_html(SHOWN._replace(sessions=2))
    assert "ENDED" in panel_html(SHOWN._replace(ended=True, silent_s=100.0))
    broken = replace(STATUS, state=SessionState.FAILED, last_error="no such camera")
    assert "FAILED" in panel_html(SHOWN._replace(ended=True, status=broken))
    assert "no such camera" in panel_html(SHOWN._replace(ended=True, status=broken))


def test_what_a_publisher_says_is_text() -> None:
    evil = "<img src=http://elsewhere.example/x onerror=alert(1)>"
    status = replace(STATUS, state=SessionState.STALLED, last_error=evil, drops={evil: 1})
    frame = replace(FRAME, state=TrackingState.LOST, state_reason=evil)
    ended = replace(status, state=SessionState.FAILED)
    for shown in (SHOWN._replace(source=evil, frame=frame, status=status), SHOWN._replace(status=ended, ended=True)):
        text = panel_html(shown)
        assert "<img" not in text
        assert "&lt;img" in text
    assert len(panel_html(SHOWN._replace(frame=replace(frame, state_reason="x" * 10_000)))) < 6_000


def test_the_label_says_that_the_picture_is_a_keyframes() -> None:
    camera = CameraView(np.eye(3), 4, 3)
    picture = KeyframePicture(1200, 4_000_000_000, 7, np.eye(4), camera, np.zeros((3, 4, 3), np.uint8))
    assert picture_label(picture, 5_000_000_000) == "Newest keyframe: frame 1200, 1.0 s before the newest"
    assert picture_label(picture, None) == "Newest keyframe: frame 1200"
