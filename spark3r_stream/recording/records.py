"""What a recording holds beside published messages: the input as received, and the decisions that can be replayed."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

from foxglove_schemas_protobuf.CompressedImage_pb2 import CompressedImage
from google.protobuf.message import DecodeError

from spark3r_core.metric.gps import PositionFix
from spark3r_core.metric.sensor_depth import DepthRatio
from spark3r_core.stream.motion_hint import MotionHint
from spark3r_stream.errors import WireError
from spark3r_stream.packets import InputPacket, StreamFormat
from spark3r_stream.proto import recording_pb2

INPUT_PACKET = "/input/packet/"
INPUT_IMAGE = "/input/image/"
DECISIONS = "/decisions/"
NS_PER_S = 1_000_000_000
MAX_WINDOW = 64  # frames
MAX_CAUSES = 32  # of losses, more than there are
MAX_FIXES = 64  # positions that come with one frame
MAX_DECISIONS_BYTES = 256 * 1024

# The image formats foxglove.CompressedImage names, by file suffix. Others are recorded as packets.
IMAGE_FORMATS = {"jpg": "jpeg", "jpeg": "jpeg", "png": "png", "webp": "webp", "avif": "avif"}


@dataclass(frozen=True)
class FrameTime:
    """A frame as the source handed it out: enough to find it again in the recorded input.

    picture: number among the pictures (or images) decoded in its epoch, those that were not used included. hint: what
    another sensor said of its motion; depth_ratio: of the scale; fixes: of where an antenna was.
    """

    frame_id: int
    epoch: int
    pts_ns: int | None
    captured_ns: int
    picture: int = 0
    hint: MotionHint | None = None
    depth_ratio: DepthRatio | None = None
    fixes: tuple[PositionFix, ...] = ()


@dataclass(frozen=True)
class DroppedFrames:
    """Frames lost since the previous window. frame_ids: those that are known; may be fewer than count."""

    cause: str
    count: int
    frame_ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class Decisions:
    """What was decided about one window; replaying these in order reproduces the run.

    window: counts from 0.  support_frame_ids: run again with the new ones.  admitted, evicted: of the memory.
    started_ns, finished_ns: Unix time.  threads: of the network.  failure_reason: empty if the window succeeded.
    source_id: of the frames, without credentials.  adopted_frame_id: keyframe that tracking went over to before.
    """

    window: int
    new_frames: tuple[FrameTime, ...]
    support_frame_ids: tuple[int, ...] = ()
    admitted_frame_ids: tuple[int, ...] = ()
    evicted_frame_ids: tuple[int, ...] = ()
    drops: tuple[DroppedFrames, ...] = ()
    epoch: int = 0
    submap: int = 0
    started_ns: int = 0
    finished_ns: int = 0
    threads: int = 0
    failure_reason: str = ""
    source_id: str = ""
    adopted_frame_id: int | None = None


@dataclass(frozen=True)
class RecordedPacket:
    """An input packet and its place in the recording. index: counts from 0; a jump is a loss of the recorder."""

    packet: InputPacket
    index: int
    received_ns: int
    source_id: str = field(default="")


def encode_packet(packet: InputPacket, index: int, received_ns: int, source_id: str) -> tuple[str, bytes]:
    """Channel and payload. Images of known formats without packet-only properties become foxglove.CompressedImage."""
    pts_ns = None if packet.pts is None else packet.pts * packet.time_base * NS_PER_S
    if packet.stream is None and packet.codec in IMAGE_FORMATS and pts_ns is not None and pts_ns.denominator == 1:
        image = CompressedImage(frame_id="camera", format=IMAGE_FORMATS[packet.codec], data=packet.data)
        image.timestamp.seconds, image.timestamp.nanos = divmod(int(pts_ns), NS_PER_S)
        return INPUT_IMAGE, image.SerializeToString()
    message = recording_pb2.InputPacket(
        source_id=source_id,
        epoch=packet.epoch,
        index=index,
        received_ns=received_ns,
        codec=packet.codec,
        extradata=packet.extradata,
        pts=packet.pts,
        dts=packet.dts,
        time_base_numerator=packet.time_base.numerator,
        time_base_denominator=packet.time_base.denominator,
        keyframe=packet.is_keyframe,
        data=packet.data,
        display_matrix=packet.display_matrix,
        stream=None if packet.stream is None else recording_pb2.StreamFormat(**vars(packet.stream)),
        discarded=packet.is_discarded,
    )
    return INPUT_PACKET, message.SerializeToString()


def decode_packet(topic: str, payload: bytes, index: int, received_ns: int) -> RecordedPacket:
    """The inverse of `encode_packet`; index and received_ns are for images, which do not carry them."""
    try:
        if topic == INPUT_IMAGE:
            image = CompressedImage.FromString(payload)
            pts_ns = image.timestamp.seconds * NS_PER_S + image.timestamp.nanos
            codec = "jpg" if image.format == "jpeg" else image.format
            packet = InputPacket.of_picture(image.data, codec, pts_ns)
            return RecordedPacket(packet, index, received_ns)
        m = recording_pb2.InputPacket.FromString(payload)
    except DecodeError as error:
        raise WireError(f"unreadable payload on {topic}: {error}") from None
    if m.time_base_denominator <= 0 or m.time_base_numerator <= 0:
        raise WireError(f"packet {m.index} has time base {m.time_base_numerator}/{m.time_base_denominator}")
    if len(m.display_matrix) not in (0, 9):
        raise WireError(f"packet {m.index} has a display matrix of {len(m.display_matrix)} numbers; expected 9 or none")
    packet = InputPacket(
        data=m.data,
        pts=m.pts if m.HasField("pts") else None,
        dts=m.dts if m.HasField("dts") else None,
        time_base=Fraction(m.time_base_numerator, m.time_base_denominator),
        is_keyframe=m.keyframe,
        codec=m.codec,
        extradata=m.extradata,
        display_matrix=tuple(m.display_matrix) or None,
        epoch=m.epoch,
        stream=_stream_format(m.stream) if m.HasField("stream") else None,
        is_discarded=m.discarded,
    )
    return RecordedPacket(packet, m.index, m.received_ns, m.source_id)


def _stream_format(m: recording_pb2.StreamFormat) -> StreamFormat:
    aspect = (m.pixel_aspect_numerator or 1, m.pixel_aspect_denominator or 1)
    return StreamFormat(m.width, m.height, m.pixel_format, m.color_range, m.colorspace, m.low_delay, *aspect)


def encode_decisions(decisions: Decisions) -> bytes:
    """Payload of /decisions/."""
    return recording_pb2.Decisions(
        window=decisions.window,
        new_frames=[
            recording_pb2.FrameTime(
                frame_id=frame.frame_id,
                epoch=frame.epoch,
                pts_ns=frame.pts_ns,
                captured_ns=frame.captured_ns,
                picture=frame.picture,
                hint=None if frame.hint is None else _encoded_hint(frame.hint),
                depth_ratio=None if frame.depth_ratio is None else recording_pb2.DepthRatio(**vars(frame.depth_ratio)),
                fixes=[recording_pb2.PositionFix(**vars(fix)) for fix in frame.fixes],
            )
            for frame in decisions.new_frames
        ],
        support_frame_ids=decisions.support_frame_ids,
        admitted_frame_ids=decisions.admitted_frame_ids,
        evicted_frame_ids=decisions.evicted_frame_ids,
        drops=[
            recording_pb2.DroppedFrames(cause=drop.cause, count=drop.count, frame_ids=drop.frame_ids)
            for drop in decisions.drops
        ],
        epoch=decisions.epoch,
        submap=decisions.submap,
        started_ns=decisions.started_ns,
        finished_ns=decisions.finished_ns,
        threads=decisions.threads,
        failure_reason=decisions.failure_reason,
        source_id=decisions.source_id,
        adopted_frame_id=decisions.adopted_frame_id,
    ).SerializeToString()


def decode_decisions(payload: bytes) -> Decisions:
    """Raises WireError for bytes that are no decisions."""
    if len(payload) > MAX_DECISIONS_BYTES:  # an empty frame weighs two bytes on the wire and a hundred once decoded
        raise WireError(f"decisions of {len(payload)} bytes; at most {MAX_DECISIONS_BYTES} are allowed")
    try:
        m = recording_pb2.Decisions.FromString(payload)
    except DecodeError as error:
        raise WireError(f"unreadable payload on {DECISIONS}: {error}") from None
    fixes = max((len(frame.fixes) for frame in m.new_frames), default=0)
    counted = (("frames", len(m.new_frames), MAX_WINDOW), ("kinds of losses", len(m.drops), MAX_CAUSES))
    for name, count, most in (*counted, ("fixes of a frame", fixes, MAX_FIXES)):
        if count > most:
            raise WireError(f"window {m.window} has {count} {name}; at most {most} are allowed")
    return Decisions(
        window=m.window,
        new_frames=tuple(
            FrameTime(
                f.frame_id,
                f.epoch,
                f.pts_ns if f.HasField("pts_ns") else None,
                f.captured_ns,
                f.picture,
                _hint(f.hint) if f.HasField("hint") else None,
                _depth_ratio(f.depth_ratio) if f.HasField("depth_ratio") else None,
                tuple(_fix(fix) for fix in f.fixes),
            )
            for f in m.new_frames
        ),
        support_frame_ids=tuple(m.support_frame_ids),
        admitted_frame_ids=tuple(m.admitted_frame_ids),
        evicted_frame_ids=tuple(m.evicted_frame_ids),
        drops=tuple(DroppedFrames(d.cause, d.count, tuple(d.frame_ids)) for d in m.drops),
        epoch=m.epoch,
        submap=m.submap,
        started_ns=m.started_ns,
        finished_ns=m.finished_ns,
        threads=m.threads,
        failure_reason=m.failure_reason,
        source_id=m.source_id,
        adopted_frame_id=m.adopted_frame_id if m.HasField("adopted_frame_id") else None,
    )


def _depth_ratio(m: recording_pb2.DepthRatio) -> DepthRatio:
    return DepthRatio(m.keyframe_id, m.log_ratio, m.log_std)


def _fix(m: recording_pb2.PositionFix) -> PositionFix:
    if len(m.position) != 3:
        raise WireError(f"a position has {len(m.position)} numbers; expected 3")
    return PositionFix(m.time_ns, (m.position[0], m.position[1], m.position[2]), m.std_m)


def _encoded_hint(hint: MotionHint) -> recording_pb2.MotionHint:
    return recording_pb2.MotionHint(
        run=hint.run,
        quat_xyzw=hint.quat_xyzw,
        position_xyz=hint.position_xyz or (),
        sure=hint.is_sure,
        variances=hint.variances or (),
    )


def _hint(m: recording_pb2.MotionHint) -> MotionHint:
    counts = (len(m.quat_xyzw), len(m.position_xyz), len(m.variances))
    if counts[0] != 4 or counts[1] not in (0, 3) or counts[2] not in (0, 2):
        raise WireError(
            f"a hint has {counts[0]}, {counts[1]} and {counts[2]} numbers; expected 4, 3 or none, and 2 or none"
        )
    x, y, z, w = m.quat_xyzw
    place = (m.position_xyz[0], m.position_xyz[1], m.position_xyz[2]) if m.position_xyz else None
    variances = (m.variances[0], m.variances[1]) if m.variances else None
    return MotionHint(m.run, (x, y, z, w), place, m.sure, variances)
