"""What is recorded is read back as it was, by us and by other people's tools."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from mcap.reader import make_reader
from mcap_protobuf.decoder import DecoderFactory

from spark3r_stream.clock import SystemClock
from spark3r_stream.recording.reader import Recording
from spark3r_stream.recording.writer import ENVELOPE, METADATA, Recorder
from spark3r_stream.wire import envelope as wire
from spark3r_stream.wire.envelope import Message
from tests.stream.recording.small_recording import SETTINGS, make_decisions, make_packet


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
