"""Outputs, messages and recordings for the tests of the wire."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import zmq

from spark3r_core.geometry import se3
from spark3r_core.geometry.sim3 import Sim3
from spark3r_stream.wire.encode import (
    encode_frame,
    encode_keyframe,
    encode_map_corrections,
    encode_path_corrections,
    encode_status,
)
from spark3r_stream.wire.envelope import Message, Sealer, Unsealed
from spark3r_stream.wire.messages import (
    CameraView,
    FrameOutput,
    FrameResult,
    KeyframeOutput,
    LengthUnit,
    MapCorrection,
    PathCorrection,
    SessionState,
    Status,
    TrackingState,
)

SESSION = uuid.UUID(int=7)
JPEG = b"\xff\xd8\xff\xe0 a picture \xff\xd9"
START_NS = 1_700_000_000_000_000_000


@contextlib.contextmanager
def raw_context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    """For sockets that do what ours never would. One left open by a test that failed would block whichever test is
    running when Python's garbage collector finds it: `Context.__del__` waits until everything is sent."""
    context = zmq.Context()
    try:
        yield context
    finally:
        context.destroy(linger=0)


def make_output(frame_id: int = 0, size: tuple[int, int] = (6, 8), points: int = 5, seed: int = 0) -> FrameOutput:
    """A frame in which every field differs from its default."""
    rng = np.random.default_rng((seed, frame_id))
    height, width = size
    matrix = np.array([[500.0, 0, 320.5], [0, 501, 240.25], [0, 0, 1]])
    result = FrameResult(
        frame_id=frame_id,
        source_id="synthetic:room",
        epoch=2,
        submap=3,
        captured_ns=START_NS + frame_id * 33_333_333,
        published_ns=START_NS + frame_id * 33_333_333 + 12_345_678,
        pts_ns=frame_id * 33_333_333,
        revision=4,
        world_from_camera=se3.exp(rng.normal(size=6)),
        camera=CameraView(matrix, 640, 480, focal_std=0.0125),
        depth_camera=CameraView(matrix / 80, width, height),
        state=TrackingState.LOW_CONFIDENCE,
        confidence=0.625,
        drops_since_last={"superseded": 2, "decode_error": 1},
        model_ms=31.5,
        latency_ms=45.25,
        memory_bytes=1 << 33,
        memory_limit_bytes=1 << 34,
        window_new=2,
        window_size=4,
        unit=LengthUnit.METRE,
        state_reason="known frames moved",
    )
    return FrameOutput(
        result=result,
        depth=rng.random((height, width), dtype=np.float32),
        points=rng.normal(size=(points, 3)).astype(np.float32),
        colours=rng.integers(0, 256, (points, 4), dtype=np.uint8),
        point_confidence=rng.random(points, dtype=np.float32),
        map_from_submap=Sim3(1.5, result.world_from_camera[:3, :3], np.array([1.0, 2, 3])),
        jpeg=JPEG,
    )


def make_tracked(frame_id: int = 1) -> FrameOutput:
    """A frame tracked on keyframe 0 of submap 3, as in the default mode: no arrays, but odometry and a covariance."""
    output = make_output(frame_id)
    rng = np.random.default_rng(frame_id)
    root = rng.normal(size=(6, 6))
    result = replace(
        output.result,
        depth_camera=None,
        keyframe_id=0,
        mapped=True,
        covariance=root @ root.T,
        odom_from_camera=se3.exp(rng.normal(size=6)),
    )
    return FrameOutput(result, map_from_submap=output.map_from_submap)


def make_keyframe(frame_id: int = 0, points: int = 5) -> KeyframeOutput:
    """The keyframe that `make_tracked` is tracked on, as it was mapped."""
    output = make_output(frame_id, points=points)
    result = output.result
    assert result.depth_camera is not None
    assert output.depth is not None
    assert output.points is not None
    assert output.colours is not None
    assert output.point_confidence is not None
    return KeyframeOutput(
        frame_id=frame_id,
        submap=3,
        captured_ns=result.captured_ns,
        epoch=2,
        revision=4,
        camera=result.depth_camera,
        depth=output.depth,
        confidence=np.ones_like(output.depth),
        image=np.zeros((*output.depth.shape, 3), np.uint8),
        points=output.points,
        colours=output.colours,
        point_confidence=output.point_confidence,
        map_from_submap=output.map_from_submap,
    )


def failed_output(frame_id: int = 0) -> FrameOutput:
    result = make_output(frame_id).result
    return FrameOutput(replace(result, valid=False, failure_reason="not finite", world_from_camera=None))


def make_status() -> Status:
    return Status(
        state=SessionState.RECONNECTING,
        source_id="rtsp://cam.local/stream",
        frames_in=9,
        frames_processed=7,
        frames_failed=1,
        drops={"superseded": 1},
        frames_per_second=29.97,
        latency_p50_ms=40.0,
        latency_p95_ms=60.0,
        latency_max_ms=80.0,
        model_ms=30.0,
        memory_bytes=1,
        memory_limit_bytes=2,
        tracking=TrackingState.LOST,
        epoch=1,
        submap=2,
        uptime_ns=3,
        last_error="connection lost",
        subscribers=4,
        messages_dropped=5,
        recording_dropped=6,
        model="bundled",
        frames_off_map=4,
        map_bytes=5 << 20,
        map_limit_bytes=256 << 20,
        keyframes_dropped=3,
    )


def make_correction() -> MapCorrection:
    rotation = se3.exp(np.array([0, 0, 0, 0.1, -0.2, 0.3]))[:3, :3]
    return MapCorrection(3, 5, Sim3(0.75, rotation, np.array([4.0, 5, 6])), "overlap")


def make_path_correction(frame_id: int = 1) -> PathCorrection:
    return PathCorrection(frame_id, 3, se3.exp(np.random.default_rng(frame_id).normal(size=6)))


def every_kind() -> list[Unsealed]:
    """One message at least of every topic."""
    return [
        *encode_frame(make_output()),
        *encode_keyframe(make_keyframe()),
        *encode_frame(make_tracked()),
        *encode_path_corrections([make_path_correction(999)], 1),
        *encode_map_corrections([make_correction()], 1),
        encode_status(make_status(), 2),
    ]


def make_sealer(session_id: uuid.UUID = SESSION, step_ns: int = 10_000_000) -> Sealer:
    """Each call of `seal` is `step_ns` after the one before it."""
    times = iter(range(START_NS, 1 << 62, step_ns))
    return Sealer(session_id, lambda: next(times))


def frames(sealer: Sealer, ids: Iterable[int], **kwargs: Any) -> list[list[Message]]:
    """The sealed messages of some frames, one list per frame."""
    return [sealer.seal(encode_frame(make_output(i, **kwargs))) for i in ids]
