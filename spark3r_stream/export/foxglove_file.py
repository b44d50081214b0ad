"""A recording with its pictures as Foxglove shows them: a copy, and in it the input as video or as JPEGs.

The recording's own messages stay as they are, the packets of the input too, so the copy is a recording like any other.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, groupby
from pathlib import Path
from typing import Any

from foxglove_schemas_protobuf.CompressedImage_pb2 import CompressedImage
from foxglove_schemas_protobuf.CompressedVideo_pb2 import CompressedVideo
from mcap.records import Channel, Message, Metadata, Schema
from mcap.writer import CompressionType, Writer
from mcap_protobuf.schema import register_schema

from spark3r_stream.engine.picture import jpeg_of
from spark3r_stream.errors import EndOfStream, OutputError
from spark3r_stream.export.video_times import NotVideo, Times, frame_times, packet_times
from spark3r_stream.export.video_units import FORMATS, units_of
from spark3r_stream.recording.mcap_file import Record
from spark3r_stream.recording.records import INPUT_IMAGE, INPUT_PACKET
from spark3r_stream.recording.reprocess import RecordedRun
from spark3r_stream.recording.target import RecordingTarget, check_apart_from_source
from spark3r_stream.recording.writer import CHUNK_BYTES
from spark3r_stream.sources.recording import RecordingSource
from spark3r_stream.wire import envelope as wire
from spark3r_stream.wire.foxglove import encode_picture, timestamp
from spark3r_stream.wire.messages import CAMERA_FRAME, FrameNames

INPUT_VIDEO = "/input/video/"
INPUT_JPEG = "/input/jpeg/"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Pictures:
    """What is added. payloads: with their log times, in the order in which they are shown."""

    topic: str
    schema: Any
    payloads: Iterator[tuple[int, bytes]]


def write_foxglove(source: Path, out: Path, overwrite: bool) -> None:
    """`out`: the recording `source`, and its pictures on a topic of their own. overwrite: an older recording may go.

    Raises RecordingError for what cannot be read or may not be replaced, OutputError if the disk refuses.
    """
    check_apart_from_source(out, source, "--out")
    try:
        target = RecordingTarget(out, overwrite)
        try:
            _write(RecordedRun.load(source), target)
            target.take_name()
        finally:
            target.close()
    except OSError as error:
        raise OutputError(f"cannot write {out}: {error.strerror or error}") from None


def _write(run: RecordedRun, target: RecordingTarget) -> None:
    if run.recording.note:
        log.warning("note: %s", run.recording.note)
    if run.cut:
        log.warning("note: %s is not complete (%s); what comes before that is copied", run.path, run.cut)
    pictures = _pictures_of(run)
    writer = Writer(target, chunk_size=CHUNK_BYTES, compression=CompressionType.ZSTD)  # type: ignore[arg-type]
    writer.start(profile="", library="spark3r-stream")
    copy, records = _Copy(writer), run.recording.everything()
    if pictures is None:
        for record in records:
            copy.add(record)
    else:
        copy.add_with(pictures, records)
    writer.finish()


def _pictures_of(run: RecordedRun) -> _Pictures | None:
    """None where the recording has them as Foxglove takes them."""
    counts = run.recording.info().counts
    for topic in (INPUT_VIDEO, INPUT_JPEG):
        if topic in counts:
            raise OutputError(f"{run.path} has its pictures already, on {topic}; open it in Foxglove as it is")
    if INPUT_IMAGE in counts and INPUT_PACKET not in counts:
        log.warning("note: %s has its pictures on %s already; it is copied as it is", run.path, INPUT_IMAGE)
        return None
    frames = frame_times(run)
    try:
        packets = packet_times(run, frames)
    except NotVideo as why:
        log.warning("note: pictures become JPEGs, on %s, because the input %s", INPUT_JPEG, why)
        return _Pictures(INPUT_JPEG, CompressedImage, _jpegs(run, frames))
    return _Pictures(INPUT_VIDEO, CompressedVideo, _video(run, packets))


def _video(run: RecordedRun, times: dict[int, Times]) -> Iterator[tuple[int, bytes]]:
    frame_id = _camera_frame(run)
    for _, packets in groupby(run.packets(), key=lambda recorded: recorded.packet.epoch):
        unit = None
        for recorded in packets:
            packet = recorded.packet
            unit = unit or units_of(packet)
            data = unit(packet).data  # of those before the first that is shown, too: they may have its parameter sets
            at = times.get(recorded.index)
            if at is not None and data:
                stamp = timestamp(at.captured_ns)
                message = CompressedVideo(timestamp=stamp, frame_id=frame_id, data=data, format=FORMATS[packet.codec])
                yield at.logged_ns, message.SerializeToString()


def _jpegs(run: RecordedRun, times: dict[int, Times]) -> Iterator[tuple[int, bytes]]:
    frame_id = _camera_frame(run)
    source = RecordingSource(run)
    while True:
        try:
            frame = source.read()
        except EndOfStream:
            return
        at = times.get(frame.frame_id)
        if at is not None and (jpeg := jpeg_of(frame.image)):
            yield at.logged_ns, encode_picture(timestamp(at.captured_ns), jpeg, frame_id)


def _camera_frame(run: RecordedRun) -> str:
    """The frame of reference of /image/ and /calib/."""
    first = next(run.recording.messages([wire.FRAME]), None)
    camera = "" if first is None else first.envelope.camera
    return FrameNames.of(camera).camera if camera else CAMERA_FRAME


class _Copy:
    """Records into a new file, with schemas and channels under numbers of its own."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._schemas: dict[int, int] = {0: 0}  # 0: none
        self._channels: dict[int, int] = {}

    def add(self, record: Record) -> None:
        """A message's channel, and that one's schema, come before it; the index at the end repeats both."""
        if isinstance(record, Schema) and record.id not in self._schemas:
            self._schemas[record.id] = self._writer.register_schema(record.name, record.encoding, record.data)
        elif isinstance(record, Channel) and record.id not in self._channels:
            self._channels[record.id] = self._writer.register_channel(
                record.topic, record.message_encoding, self._schemas.get(record.schema_id, 0), record.metadata
            )
        elif isinstance(record, Metadata):
            self._writer.add_metadata(record.name, record.metadata)
        elif isinstance(record, Message) and record.channel_id in self._channels:
            self._writer.add_message(
                channel_id=self._channels[record.channel_id],
                log_time=record.log_time,
                publish_time=record.publish_time,
                sequence=record.sequence,
                data=record.data,
            )

    def add_with(self, pictures: _Pictures, records: Iterator[Record]) -> None:
        """Each picture before what was logged after it, so that no reader has to look far for one."""
        schema = register_schema(self._writer, pictures.schema)
        channel = self._writer.register_channel(pictures.topic, "protobuf", schema)
        count = 0
        due = next(pictures.payloads, None)
        for record in chain(records, [None]):
            while due is not None and (record is None or (isinstance(record, Message) and record.log_time >= due[0])):
                at, data = due
                self._writer.add_message(channel_id=channel, log_time=at, publish_time=at, sequence=count, data=data)
                count, due = count + 1, next(pictures.payloads, None)
            if record is not None:
                self.add(record)
