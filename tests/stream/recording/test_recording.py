"""Recording, reading and replaying: real files, cut anywhere, on disks that fail."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import uuid
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcap.reader import make_reader
from mcap.writer import Writer
from mcap_protobuf.decoder import DecoderFactory

from spark3r_core.metric.gps import PositionFix
from spark3r_core.stream.motion_hint import MotionHint
from spark3r_stream.clock import SystemClock
from spark3r_stream.errors import RecordingError, VersionMismatch, WireError
from spark3r_stream.packets import InputPacket, StreamFormat
from spark3r_stream.pubsub.publisher import Publisher
from spark3r_stream.pubsub.subscriber import Subscriber
from spark3r_stream.recording.reader import Recording
from spark3r_stream.recording.records import Decisions, DroppedFrames, FrameTime, decode_decisions, encode_decisions
from spark3r_stream.recording.replay import Replay, republish
from spark3r_stream.recording.schema import check_decisions
from spark3r_stream.recording.writer import ENVELOPE, METADATA, Recorder
from spark3r_stream.wire import envelope as wire
from spark3r_stream.wire.envelope import Message
from tests.helpers_wire import SESSION, START_NS, every_kind, frames, make_sealer

REPOSITORY = Path(__file__).resolve().parents[3]
HINT = MotionHint(2, (0.0, 0.6, 0.0, 0.8), (1.0, 2.0, 3.0), True, (0.01, 0.0004))
FIX = PositionFix(1_250_000_000, (48.1, 11.5, 520.0), 2.5)
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


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Message]]:
    path = tmp_path_factory.mktemp("recording") / "run.mcap"
    return path, record(path)


@pytest.mark.parametrize(
    "hint",
    [
        replace(HINT, quat_xyzw=(0.0, 0.6, 0.0, 0.9)),
        replace(HINT, position_xyz=(float("nan"), 0.0, 0.0)),
        replace(HINT, quat_xyzw=(float("inf"), 0.0, 0.0, 0.0)),
        replace(HINT, variances=(-1.0, 0.0)),
        replace(HINT, variances=(float("nan"), 0.0)),
    ],
)
def test_a_hint_that_is_none_is_refused(hint: MotionHint) -> None:
    decisions = replace(make_decisions(0), new_frames=(FrameTime(3, 1, 100, START_NS, 5, hint),))
    with pytest.raises(ValueError, match="of a hint"):
        check_decisions(decode_decisions(encode_decisions(decisions)))


@pytest.mark.parametrize(
    "fix",
    [
        replace(FIX, position=(float("nan"), 0.0, 0.0)),
        replace(FIX, position=(1e10, 0.0, 0.0)),
        replace(FIX, std_m=-1.0),
        replace(FIX, std_m=float("inf")),
    ],
)
def test_a_fix_that_is_none_is_refused(fix: PositionFix) -> None:
    decisions = replace(make_decisions(0), new_frames=(FrameTime(3, 1, 100, START_NS, 5, fixes=(FIX, fix)),))
    with pytest.raises(ValueError, match="of a fix"):
        check_decisions(decode_decisions(encode_decisions(decisions)))


def test_a_flood_of_fixes_is_refused() -> None:
    decisions = replace(make_decisions(0), new_frames=(FrameTime(3, 1, 100, START_NS, 5, fixes=(FIX,) * 65),))
    with pytest.raises(WireError, match="65 fixes of a frame"):
        decode_decisions(encode_decisions(decisions))


def test_everything_recorded_is_read_back(recorded: tuple[Path, list[Message]]) -> None:
    path, sent = recorded
    recording = Recording(path)
    assert list(recording.messages()) == sent
    assert [m.topic for m in recording.messages([wire.TF])] == [wire.TF] * 20
    packets = list(recording.packets())
    assert [p.packet for p in packets] == [make_packet(i) for i in range(10)]
    assert [p.index for p in packets] == list(range(10))
    assert {p.source_id for p in packets} == {"rtsp://cam.local/stream"}
    assert list(recording.decisions()) == [make_decisions(i) for i in range(10)]
    assert SETTINGS.items() <= recording.metadata.items()
    info = recording.info()
    assert info.complete
    assert (info.cut, info.missed, info.dropped, recording.malformed) == ("", {}, {}, 0)
    assert info.counts[wire.FRAME] == info.counts["/input/packet/"] == info.counts["/decisions/"] == 10
    assert ENVELOPE not in info.counts
    assert info.size_bytes == path.stat().st_size


def test_images_become_foxglove_images_and_come_back(tmp_path: Path) -> None:
    still = {"dts": 40_000_000, "pts": 40_000_000, "time_base": Fraction(1, 10**9), "extradata": b"", "epoch": 0}
    still |= {"stream": None, "is_keyframe": True, "display_matrix": None}
    pictures = [make_packet(0, codec=codec, **still) for codec in ("jpg", "bmp", "png")]
    with Recorder(tmp_path / "a.mcap", {}, SystemClock()) as recorder:
        for picture in pictures:
            recorder.packet(picture)
    assert [p.packet for p in Recording(tmp_path / "a.mcap").packets()] == pictures
    info = Recording(tmp_path / "a.mcap").info()
    assert info.counts == {"/input/image/": 2, "/input/packet/": 1}
    assert info.missed == {}, "images and packets are numbered together"


def test_a_plain_mcap_tool_decodes_every_message(recorded: tuple[Path, list[Message]]) -> None:
    path, sent = recorded
    with path.open("rb") as file:
        reader = make_reader(file, validate_crcs=True, decoder_factories=[DecoderFactory()])
        decoded = list(reader.iter_decoded_messages(log_time_order=False))
        metadata = {record.name: record.metadata for record in reader.iter_metadata()}
    payloads = [message.data for _, channel, message, _ in decoded if channel.topic in wire.TOPICS]
    assert payloads == [message.payload for message in sent], "the bytes that were published"
    schemas = {channel.topic: schema.name for schema, channel, _, _ in decoded if schema is not None}
    assert schemas == {
        "/envelope/": "spark3r.v1.Envelope",
        "/frame/": "spark3r.v1.FrameResult",
        "/pose/": "foxglove.PoseInFrame",
        "/tf/": "foxglove.FrameTransform",
        "/calib/": "foxglove.CameraCalibration",
        "/image/": "foxglove.CompressedImage",
        "/depth/": "foxglove.RawImage",
        "/depth_calib/": "foxglove.CameraCalibration",
        "/cloud/": "foxglove.PointCloud",
        "/map_correction/": "spark3r.v1.MapCorrections",
        "/status/": "spark3r.v1.Status",
        "/input/packet/": "spark3r.v1.InputPacket",
        "/decisions/": "spark3r.v1.Decisions",
    }
    frame = next(content for _, channel, _, content in decoded if channel.topic == wire.FRAME)
    assert frame.frame_name == "submap_3"
    assert metadata[METADATA]["schema_version"] == f"{wire.SCHEMA_MAJOR}.{wire.SCHEMA_MINOR}"


def test_a_file_cut_anywhere_is_read_up_to_the_cut(tmp_path: Path) -> None:
    """Chunks of about three frames; whatever is cut, a prefix of the messages is left and no error."""
    whole = tmp_path / "whole.mcap"
    sealer = make_sealer()
    sent: list[Message] = []
    with Recorder(whole, SETTINGS, SystemClock(), flush_interval_s=0.0) as recorder:
        for batch in frames(sealer, range(12), size=(60, 80), points=300):
            recorder.send(batch)
            sent += batch
    data = whole.read_bytes()
    chooser = random.Random(0)
    cuts = [8, 9, 60, len(data) - 1, len(data) - 9, *(chooser.randrange(8, len(data)) for _ in range(60))]
    lengths = {}
    for cut in sorted(cuts):
        path = tmp_path / "cut.mcap"
        path.write_bytes(data[:cut])
        recording = Recording(path)
        messages = list(recording.messages())
        assert messages == sent[: len(messages)]
        info = recording.info()
        assert not info.complete
        assert info.cut
        assert sum(info.counts.values()) == len(messages)
        lengths[cut] = len(messages)
    assert list(lengths.values()) == sorted(lengths.values()), "a later cut keeps at least as much"
    assert lengths[len(data) - 1] == len(sent), "losing the index loses no message"


def test_a_running_recording_holds_all_but_the_last_moment(tmp_path: Path) -> None:
    """What is written within the flush interval is on disk without `close`: that is what a crash leaves."""
    path = tmp_path / "run.mcap"
    recorder = Recorder(path, {}, SystemClock(), flush_interval_s=0.01)
    (batch,) = frames(make_sealer(), [0])
    recorder.send(batch)
    done = threading.Event()
    for _ in range(1000):
        if path.exists() and list(Recording(path).messages()) == batch:
            break
        done.wait(0.01)
    else:
        pytest.fail("nothing was flushed")
    size = path.stat().st_size
    recorder.close()
    assert path.stat().st_size > size
    assert Recording(path).info().complete


@settings(max_examples=250, deadline=None)
@given(data=st.data())
def test_a_damaged_file_never_raises(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    whole = bytearray(_whole_file(tmp_path_factory))
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(8, len(whole) - 1))
        whole[position] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.mcap"
    path.write_bytes(whole)
    try:
        recording = Recording(path)
    except VersionMismatch:  # the damage hit the version: an error that says so is right
        return
    with_damage = [recording.info(), list(recording.packets()), list(recording.decisions())]
    assert len(with_damage) == 3
    for message in recording.messages(start_ns=START_NS):
        assert message.topic in wire.TOPICS


_WHOLE: list[bytes] = []


def _whole_file(factory: pytest.TempPathFactory) -> bytes:
    if not _WHOLE:
        path = factory.mktemp("whole") / "run.mcap"
        record(path, count=3)
        _WHOLE.append(path.read_bytes())
    return _WHOLE[0]


def test_what_is_no_recording_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="cannot read"):
        Recording(tmp_path / "missing.mcap")
    text = tmp_path / "text.mcap"
    for content in ("", "hello", "x" * 1000):
        text.write_text(content)
        with pytest.raises(RecordingError, match="is not an MCAP recording"):
            Recording(text)
    with pytest.raises(RecordingError, match="cannot record to"):
        Recorder(tmp_path / "no" / "such" / "folder.mcap", {}, SystemClock())
    with pytest.raises(RecordingError, match="cannot record to"):
        Recorder(Path(os.devnull), {}, SystemClock())


def test_another_schema_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "newer.mcap"
    with path.open("wb") as file:
        writer = Writer(file)
        writer.start()
        writer.add_metadata(METADATA, {"schema_version": f"{wire.SCHEMA_MAJOR + 1}.5"})
        writer.finish()
    with pytest.raises(VersionMismatch, match=rf"{wire.SCHEMA_MAJOR + 1}\.5.*{wire.SCHEMA_MAJOR}\.x"):
        Recording(path)


def test_a_foreign_mcap_has_no_messages_and_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "foreign.mcap"
    with path.open("wb") as file:
        writer = Writer(file)
        writer.start()
        schema = writer.register_schema("x", "jsonschema", b"{}")
        channel = writer.register_channel("/frame/", "json", schema)
        writer.add_message(channel, 1, b"{}", 1)
        writer.finish()
    recording = Recording(path)
    assert list(recording.messages()) == []
    assert recording.malformed == 1
    with pytest.raises(RecordingError, match="no published messages"):
        Replay(path)


def test_what_does_not_fit_the_queue_is_counted_and_shows_as_missing(tmp_path: Path) -> None:
    path = tmp_path / "slow.mcap"
    batches = frames(make_sealer(), range(3), size=(300, 400))
    depth = [next(m for m in batch if m.topic == wire.DEPTH) for batch in batches]
    with Recorder(path, {}, SystemClock(), queue_bytes=500_000) as recorder:
        recorder.send([depth[0], depth[1]])  # 480 kB each: the second finds no room, under one lock
        while not path.exists() or depth[0] not in list(Recording(path).messages()):
            threading.Event().wait(0.01)
        recorder.send([depth[2]])
    assert recorder.dropped == {wire.DEPTH: 1}
    info = Recording(path).info()
    assert info.dropped == {wire.DEPTH: 1}
    assert info.missed == {wire.DEPTH: 1}
    assert info.first_missed == {wire.DEPTH: depth[1].envelope.sequence}


DISK_FULL = """
import resource, sys, threading
from pathlib import Path
sys.path.insert(0, ".")
from spark3r_stream.clock import SystemClock
from spark3r_stream.recording.writer import Recorder
from tests.helpers_wire import frames, make_sealer
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
told = threading.Event()
recorder = Recorder(Path(sys.argv[1]), {}, SystemClock(), flush_interval_s=0.0, on_error=lambda error: told.set())
sealer, sent = make_sealer(), 0
while not told.wait(0.001):
    recorder.send(frames(sealer, [sent], size=(60, 80))[0])
    sent += 1
assert recorder.error is not None and "can be read" in str(recorder.error), recorder.error
before = sum(recorder.dropped.values())
late = frames(sealer, [sent])[0]
recorder.send(late)
assert sum(recorder.dropped.values()) == before + len(late)
recorder.close()
print(sent)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of a file as POSIX does")
def test_a_full_disk_ends_the_recording_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "full.mcap"
    done = subprocess.run(
        [sys.executable, "-c", DISK_FULL, str(path)], cwd=REPOSITORY, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    recording = Recording(path)
    kept = [m.envelope.frame_id for m in recording.messages([wire.FRAME])]
    assert kept == list(range(len(kept)))
    assert len(kept) > 3
    assert not recording.info().complete


def test_replay_at_full_speed_gives_the_recorded_messages(recorded: tuple[Path, list[Message]]) -> None:
    path, sent = recorded
    with Replay(path, speed=None) as replay:
        received = list(replay)
        assert replay.ended
        assert replay.session_id != SESSION
        assert {m.envelope.session_id for m in received} == {replay.session_id}
        assert all(m.envelope.replay for m in received)
        as_sent = [replace(m, envelope=replace(m.envelope, session_id=SESSION, replay=False)) for m in received]
        assert as_sent == sent
        assert replay.poll(None) is None


def test_replay_keeps_the_recorded_pace(recorded: tuple[Path, list[Message]]) -> None:
    """Frames are 100 ms apart: at a hundredth of the speed the second one is due after ten seconds."""
    path, _ = recorded
    with Replay(path, [wire.FRAME], speed=0.01) as replay:
        first = replay.poll(5.0)
        assert first is not None
        assert first.envelope.frame_id == 0
        assert replay.poll(0.01) is None
        assert not replay.ended
    with Replay(path, [wire.FRAME], speed=100.0) as replay:
        assert [m.envelope.frame_id for m in replay] == list(range(10))


def test_seek_pause_and_loop(recorded: tuple[Path, list[Message]]) -> None:
    path, _ = recorded
    with Replay(path, [wire.FRAME], speed=None, start_s=0.55) as replay:
        assert [m.envelope.frame_id for m in replay] == [6, 7, 8, 9]
        session = replay.session_id
        replay.seek(0.3)
        assert replay.session_id != session, "or a receiver would see time go back"
        replay.pause()
        assert replay.poll(0.0) is None
        assert not replay.ended
        replay.resume()
        assert next(iter(replay)).envelope.frame_id == 3
        replay.seek(99.0)
        assert list(replay) == []
    with Replay(path, [wire.FRAME], speed=None, loop=True) as replay:
        taken = [next(iter(replay)) for _ in range(25)]
        assert [m.envelope.frame_id for m in taken] == [i % 10 for i in range(25)]
        assert len({m.envelope.session_id for m in taken}) == 3


def test_seek_skips_chunks_of_a_closed_file(tmp_path: Path) -> None:
    """By the index: damage to an early chunk, which stops a reader from the start, is not even met."""
    path, pause = tmp_path / "many.mcap", threading.Event()
    with Recorder(path, {}, SystemClock(), flush_interval_s=0.0) as recorder:
        for batch in frames(make_sealer(step_ns=10**9), range(20)):
            before = recorder.bytes_written
            recorder.send(batch)
            while recorder.bytes_written == before:
                pause.wait(0.001)
    with path.open("rb") as file:
        summary = make_reader(file).get_summary()
    assert summary is not None
    second = summary.chunk_indexes[1]
    data = bytearray(path.read_bytes())
    middle = second.chunk_start_offset + second.chunk_length // 2
    data[middle : middle + 8] = bytes(8)
    path.write_bytes(data)
    recording = Recording(path)
    assert [m.envelope.frame_id for m in recording.messages([wire.FRAME])] == [0]
    late = recording.messages([wire.FRAME], START_NS + 15 * 10**9)
    assert [m.envelope.frame_id for m in late] == list(range(15, 20))
    assert "damaged" in recording.info().cut


def test_latest_of_a_replay(recorded: tuple[Path, list[Message]]) -> None:
    path, _ = recorded
    with Replay(path, speed=None) as replay:
        ids = [message.envelope.frame_id for message in iter(replay.latest, None)]
        assert ids == list(range(10))


@pytest.mark.parametrize("speed", [0.0, -1.0, float("nan")])
def test_an_impossible_speed_is_refused(recorded: tuple[Path, list[Message]], speed: float) -> None:
    with pytest.raises(RecordingError, match="expected a positive number"):
        Replay(recorded[0], speed=speed)


def test_republished_messages_reach_a_subscriber_unchanged(recorded: tuple[Path, list[Message]]) -> None:
    path, sent = recorded
    with (
        Publisher("tcp://127.0.0.1:*", uuid.uuid4()) as publisher,
        Subscriber(publisher.endpoint, timeout_s=0.6) as subscriber,
        Replay(path, speed=None) as replay,
    ):
        assert subscriber.wait_connected(10)
        assert republish(replay, publisher, threading.Event()) == len(sent)
        received = list(subscriber)
        assert [m.payload for m in received] == [m.payload for m in sent]
        assert subscriber.session_id == replay.session_id
        assert sum(subscriber.missed.values()) == 0
        with Subscriber(publisher.endpoint) as late:
            assert late.wait_connected(10)
            assert late.session_id == replay.session_id, "the session of the pass, not of the publisher's start"


def test_replay_at_full_speed_does_not_overrun_the_publisher(recorded: tuple[Path, list[Message]]) -> None:
    path, sent = recorded
    with (
        Publisher("tcp://127.0.0.1:*", uuid.uuid4(), queue_messages=1) as publisher,
        Replay(path, speed=None) as replay,
    ):
        assert republish(replay, publisher, threading.Event(), poll_s=10.0) == len(sent)
        assert publisher.dropped == 0


def test_a_gap_in_the_recording_is_a_gap_again(tmp_path: Path) -> None:
    path = tmp_path / "gap.mcap"
    with Recorder(path, {}, SystemClock()) as recorder:
        for i, batch in enumerate(frames(make_sealer(), range(4))):
            if i != 2:
                recorder.send(batch)
    with (
        Publisher("tcp://127.0.0.1:*", uuid.uuid4()) as publisher,
        Subscriber(publisher.endpoint, [wire.FRAME], timeout_s=0.6) as subscriber,
        Replay(path, speed=None) as replay,
    ):
        assert subscriber.wait_connected(10)
        republish(replay, publisher, threading.Event())
        assert len(list(subscriber)) == 3
        assert subscriber.missed[wire.FRAME] == 1
