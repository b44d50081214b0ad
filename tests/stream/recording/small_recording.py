"""A recording of a few frames with input and decisions."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from spark3r_core.stream.motion_hint import MotionHint
from spark3r_stream.clock import SystemClock
from spark3r_stream.packets import InputPacket, StreamFormat
from spark3r_stream.recording.records import Decisions, DroppedFrames, FrameTime
from spark3r_stream.recording.writer import Recorder
from spark3r_stream.wire.envelope import Message
from tests.helpers_wire import START_NS, every_kind, frames, make_sealer

HINT = MotionHint(2, (0.0, 0.6, 0.0, 0.8), (1.0, 2.0, 3.0), True, (0.01, 0.0004))
SETTINGS = {"settings": '{"window": 4}', "weights_sha256": "ab12"}


def make_packet(index: int = 0, **changes: object) -> InputPacket:
    packet = InputPacket(
        data=bytes([index]) * 50,
        pts=index * 3003 - 1,
        dts=index * 3003 - 2,
        time_base=Fraction(1, 90_000),
        is_keyframe=index % 10 == 0,
        codec="h264",
        extradata=b"\1\2",
        display_matrix=(0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30),
        epoch=1,
        stream=StreamFormat(640, 480, "yuv420p", 1, 5, True, 12, 11),
        is_discarded=index == 3,
    )
    return replace(packet, **changes)  # type: ignore[arg-type]


def make_decisions(window: int) -> Decisions:
    return Decisions(
        window=window,
        new_frames=(FrameTime(3, 1, 100, START_NS, 5), FrameTime(4, 1, None, START_NS + 1, 7, HINT)),
        support_frame_ids=(0, 2),
        admitted_frame_ids=(3,),
        evicted_frame_ids=(1,),
        drops=(DroppedFrames("superseded", 3, (5, 6)),),
        epoch=1,
        submap=2,
        started_ns=START_NS,
        finished_ns=START_NS + 5 + window,
        threads=2,
        failure_reason="none",
        source_id="rtsp://cam.local/stream",
    )


def record(path: Path, count: int = 10, **kwargs: int) -> list[Message]:
    """A recording of `count` frames with input and decisions; returns the messages."""
    messages = []
    sealer = make_sealer(step_ns=100_000_000)
    with Recorder(path, SETTINGS, SystemClock(), source_id="rtsp://cam.local/stream") as recorder:
        for i, batch in enumerate(frames(sealer, range(count), **kwargs)):
            recorder.packet(make_packet(i))
            recorder.send(batch)
            recorder.decisions(make_decisions(i))
            messages += batch
        rest = sealer.seal(every_kind()[-2:])
        recorder.send(rest)
    assert recorder.error is None
    assert recorder.dropped == {}
    return messages + rest
