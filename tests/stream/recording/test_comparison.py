"""A repeated run held against its recording: what is equal, what differs, and what was never recorded."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace

import pytest

from spark3r_stream.proto import wire_pb2
from spark3r_stream.recording import comparison
from spark3r_stream.recording.comparison import Comparison
from spark3r_stream.wire import envelope as wire


def message(topic: str, frame_id: int, payload: bytes, captured_ns: int = 0, submap: int = 0) -> SimpleNamespace:
    """As it is in a recording, and as it is made."""
    fields = {"frame_id": frame_id, "captured_ns": captured_ns, "submap": submap}
    result = SimpleNamespace(captured_ns=captured_ns, epoch=0)
    return SimpleNamespace(topic=topic, envelope=SimpleNamespace(**fields), payload=payload, result=result, **fields)


def frame_payload(frame_id: int, confidence: float = 0.5, **timings: float) -> bytes:
    return wire_pb2.FrameResult(frame_id=frame_id, confidence=confidence, **timings).SerializeToString()


def frames(ids: Iterable[int], **timings: float) -> list[SimpleNamespace]:
    return [message(wire.FRAME, i, frame_payload(i, **timings)) for i in ids]


@pytest.fixture
def compare(monkeypatch: pytest.MonkeyPatch):
    """Makes a comparison of what was recorded with what is made now, without a file."""

    def make(recorded: list[SimpleNamespace], made: list[SimpleNamespace]) -> Comparison:
        reader = SimpleNamespace(compared=lambda topics, decided_only: iter([m for m in recorded if m.topic in topics]))
        monkeypatch.setattr(comparison, "Recording", lambda path: reader)
        monkeypatch.setattr(comparison, "encode_keyframe", lambda keyframe: [])
        monkeypatch.setattr(comparison, "encode_frame", lambda output: [output])
        monkeypatch.setattr(comparison, "encode_map_corrections", lambda corrections, *_: list(corrections))
        compared = Comparison("unused.mcap")  # type: ignore[arg-type]
        for one in made:
            is_correction = one.topic == wire.MAP_CORRECTION
            compared.add([one] if is_correction else [], [], [] if is_correction else [one])
        compared.finish()
        return compared

    return make


def test_equal_but_for_the_timings(compare) -> None:
    found = compare(frames(range(4), published_ns=5, model_ms=3.0), frames(range(4), published_ns=9, latency_ms=7.0))
    assert found.as_dict() == {"equal": 4, "different": 0, "not_recorded": 0, "not_made": 0, "first_difference": ""}
    assert found.summary() == "all 4 messages are equal to the recorded ones, byte by byte"


def test_the_first_difference_is_named(compare) -> None:
    made = frames(range(4))
    made[1].payload, made[3].payload = frame_payload(1, 0.4), frame_payload(3, 0.1)
    found = compare(frames(range(4)), made)
    assert (found.equal, found.different, found.not_recorded) == (2, 2, 0)
    assert found.first_difference == f"{wire.FRAME} of frame 1"
    assert "2 differ (first " in found.summary()


def test_a_depth_map_that_differs_in_one_byte_differs(compare) -> None:
    recorded = [message(wire.DEPTH, 0, b"depth"), message(wire.CLOUD, 0, b"cloud")]
    found = compare(recorded, [message(wire.DEPTH, 0, b"depth"), message(wire.CLOUD, 0, b"clouD")])
    assert (found.equal, found.different) == (1, 1)
    assert found.first_difference == f"{wire.CLOUD} of frame 0"


def test_what_was_lost_in_the_recording_does_not_shift_what_follows(compare) -> None:
    found = compare(frames([0, 1, 4, 5]), frames(range(7)))
    assert (found.equal, found.different, found.not_recorded) == (4, 0, 3)
    assert found.is_repeated
    assert found.summary() == "4 messages are equal to the recorded ones, 0 differ, 3 were not recorded"


def test_what_is_not_made_again_is_counted(compare) -> None:
    found = compare([*frames(range(8)), message(wire.CLOUD, 7, b"x")], frames([1, 5]))
    assert (found.equal, found.different, found.not_recorded, found.not_made) == (2, 0, 0, 7)
    assert not found.is_repeated
    assert "0 differ, 7 were not made again (first /frame/ of frame 0" in found.summary()


def test_a_payload_that_is_no_message_differs(compare) -> None:
    found = compare([message(wire.FRAME, 0, b"\xff\xff")], frames([0]))
    assert (found.equal, found.different) == (0, 1)


def corrections(*moments: tuple[int, int], payload: bytes = b"x") -> list[SimpleNamespace]:
    """moments: (time of the newest frame, newest submap)."""
    return [message(wire.MAP_CORRECTION, -1, payload, ns, submap) for ns, submap in moments]


def test_corrections_are_told_apart_by_when_they_were_made(compare) -> None:
    recorded = corrections((1, 0), (5, 1), (9, 2))
    assert compare(recorded, corrections((1, 0), (5, 1), (9, 2))).equal == 3
    lost = compare(recorded[::2], corrections((1, 0), (5, 1), (9, 2)))
    assert (lost.equal, lost.different, lost.not_recorded, lost.not_made) == (2, 0, 1, 0)
    missing = compare(recorded, corrections((1, 0), (9, 2)))
    assert (missing.equal, missing.different, missing.not_made) == (2, 0, 1)
    assert missing.first_difference == f"{wire.MAP_CORRECTION} of submap 1 at 0.000 s"
    other = compare(recorded, [*corrections((1, 0)), *corrections((5, 1), payload=b"y"), *corrections((9, 2))])
    assert (other.equal, other.different, other.not_made) == (2, 1, 0)
    assert not other.is_repeated


def test_the_camera_of_a_depth_map_is_compared(compare) -> None:
    found = compare([message(wire.DEPTH_CALIB, 0, b"fx")], [message(wire.DEPTH_CALIB, 0, b"fy")])
    assert (found.different, found.first_difference) == (1, f"{wire.DEPTH_CALIB} of frame 0")


def test_topics_are_compared_each_in_its_own_order(compare) -> None:
    """A keyframe's depth is published when it is mapped: after frames that came later."""
    depth = [message(wire.DEPTH, i, bytes([i])) for i in (0, 3)]
    recorded = [depth[0], *frames(range(5)), depth[1], *frames([5])]
    made = [*frames(range(3)), depth[0], *frames([3]), depth[1], *frames([4, 5])]
    found = compare(recorded, made)
    assert (found.equal, found.different, found.not_recorded) == (8, 0, 0)


def test_other_topics_are_nobodys_business(compare) -> None:
    found = compare(frames([0]), [*frames([0]), message("/correction/", 0, b"x")])
    assert (found.equal, found.not_recorded) == (1, 0)
