"""Payloads back to messages.py's values. Bytes may come from anyone: a checked value comes out or WireError."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from foxglove_schemas_protobuf.CameraCalibration_pb2 import CameraCalibration
from foxglove_schemas_protobuf.CompressedImage_pb2 import CompressedImage
from foxglove_schemas_protobuf.FrameTransform_pb2 import FrameTransform
from foxglove_schemas_protobuf.PointCloud_pb2 import PointCloud
from foxglove_schemas_protobuf.PoseInFrame_pb2 import PoseInFrame as PoseInFrameProto
from foxglove_schemas_protobuf.RawImage_pb2 import RawImage
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp
from numpy.typing import NDArray

from spark3r_core.errors import GeometryError
from spark3r_core.geometry import se3
from spark3r_core.geometry.camera import Intrinsics
from spark3r_core.geometry.sim3 import Sim3
from spark3r_stream.errors import WireError
from spark3r_stream.proto import wire_pb2
from spark3r_stream.wire import bulk_field
from spark3r_stream.wire import envelope as wire
from spark3r_stream.wire.encode import checked_covariance
from spark3r_stream.wire.envelope import Message
from spark3r_stream.wire.foxglove import POINT_DTYPE, POINT_FIELDS
from spark3r_stream.wire.messages import (
    MAP_FRAME,
    Calibration,
    CameraView,
    Cloud,
    Content,
    DepthImage,
    FrameResult,
    LengthUnit,
    MapCorrection,
    MapCorrections,
    PathCorrection,
    PathCorrections,
    Picture,
    PoseInFrame,
    SessionState,
    Status,
    TrackingState,
    Transform,
    submap_frame,
)

_MOST_CORRECTIONS = 4096
_MAX_IMAGE_SIDE = 1 << 16
_PICTURE_FIELD = CompressedImage.DESCRIPTOR.fields_by_name["data"].number
_JPEG_BEGIN = b"\xff\xd8"
_LEAST_FOCAL, _GREATEST_PIXELS = 1e-3, 1e9
E = TypeVar("E", TrackingState, SessionState, LengthUnit)


def decode(message: Message) -> Content:
    """The content of a message, its type by its topic. Raises WireError for a payload that is not what it promises."""
    return decode_payload(message.topic, message.payload)


def decode_payload(topic: str, payload: bytes) -> Content:
    """As `decode`, from the two parts; the arrays returned are read-only views."""
    wire.check_payload_size(topic, len(payload))
    schema: Any = schema_of(topic)
    try:
        with np.errstate(all="ignore"):  # a hostile 1e300 is refused below, without a warning on the way
            if topic in _BULK_DECODERS:
                rest, data = bulk_field.split(payload)
                return _BULK_DECODERS[topic][1](schema.FromString(rest), data)
            if topic == wire.IMAGE:
                bulk_field.check_fields(payload, {_PICTURE_FIELD: (1, wire.MAX_PAYLOAD_BYTES[topic])})
            return _DECODERS[topic][1](schema.FromString(payload))
    except (DecodeError, GeometryError, ValueError, OverflowError) as error:
        raise WireError(f"unreadable payload on {topic}: {error}") from None


def schema_of(topic: str) -> type:
    """The protobuf class of a topic's payload."""
    return (_DECODERS.get(topic) or _BULK_DECODERS[topic])[0]


def _decode_frame_result(m: wire_pb2.FrameResult) -> FrameResult:
    return FrameResult(
        frame_id=m.frame_id,
        source_id=m.source_id,
        epoch=m.epoch,
        submap=m.submap,
        revision=m.revision,
        pts_ns=m.pts_ns if m.HasField("pts_ns") else None,
        captured_ns=m.captured_ns,
        published_ns=m.published_ns,
        world_from_camera=pose_from_proto(m.world_from_camera) if m.HasField("world_from_camera") else None,
        camera=_camera_from_proto(m.intrinsics) if m.HasField("intrinsics") else None,
        depth_camera=_camera_from_proto(m.depth_intrinsics) if m.HasField("depth_intrinsics") else None,
        # an unknown state of a newer minor version is not to be trusted as tracking
        state=_enum(TrackingState, m.state, TrackingState.LOW_CONFIDENCE),
        confidence=m.confidence,
        valid=m.valid,
        failure_reason=m.failure_reason,
        drops_since_last=_drops_from_proto(m.drops_since_last),
        model_ms=m.model_ms,
        latency_ms=m.latency_ms,
        memory_bytes=m.memory_bytes,
        memory_limit_bytes=m.memory_limit_bytes,
        window_new=m.window_new,
        window_size=m.window_size,
        unit=_enum(LengthUnit, m.unit, LengthUnit.MODEL),
        state_reason=m.state_reason,
        keyframe_id=m.keyframe_id if m.HasField("keyframe_id") else None,
        mapped=m.mapped,
        covariance=_decode_covariance(m.covariance),
        odom_from_camera=pose_from_proto(m.odom_from_camera) if m.HasField("odom_from_camera") else None,
        scale_source=m.scale_source,
        scale_std=_deviation(m.scale_std),
        map_z_up=m.map_z_up,
    )


def _decode_pose_in_frame(m: PoseInFrameProto) -> PoseInFrame:
    return PoseInFrame(_nanoseconds(m.timestamp), m.frame_id, _pose_from(m.pose.position, m.pose.orientation))


def _decode_transform(m: FrameTransform) -> Transform:
    pose = _pose_from(m.translation, m.rotation)
    return Transform(_nanoseconds(m.timestamp), m.parent_frame_id, m.child_frame_id, pose)


def _decode_calibration(m: CameraCalibration) -> Calibration:
    if len(m.K) != 9:
        raise WireError(f"camera matrix of {len(m.K)} numbers; expected 9")
    matrix = _finite(np.array(m.K, np.float64), "camera matrix").reshape(3, 3)
    camera = _checked_camera(CameraView(matrix, m.width, m.height))
    if m.distortion_model == "kannala_brandt" or any(m.D):
        lens = Intrinsics.from_matrix(matrix, m.width, m.height)
        lens = replace(lens, distortion=tuple(m.D), fisheye=m.distortion_model == "kannala_brandt")
        if len(m.P) != 12:
            raise WireError(f"rectified camera of {len(m.P)} numbers; expected 12")
        pinhole = _finite(np.array(m.P, np.float64), "rectified camera").reshape(3, 4)[:, :3]
        camera = _checked_camera(CameraView(pinhole, m.width, m.height, True, lens))
    return Calibration(_nanoseconds(m.timestamp), camera, m.frame_id)


def _decode_picture(m: CompressedImage) -> Picture:
    if m.format != "jpeg" or not m.data.startswith(_JPEG_BEGIN):
        raise WireError(f"a picture of format {m.format[:40]!r} that is no JPEG; expected a JPEG")
    return Picture(_nanoseconds(m.timestamp), m.data, m.frame_id)


def _decode_depth(m: RawImage, data: memoryview) -> DepthImage:
    if m.encoding != "32FC1":
        raise WireError(f"depth encoded as {m.encoding[:40]!r}; expected 32FC1")
    if not (0 < m.width <= _MAX_IMAGE_SIDE and 0 < m.height <= _MAX_IMAGE_SIDE):
        raise WireError(f"depth of {m.width} x {m.height} pixels; expected 1 to {_MAX_IMAGE_SIDE} each")
    if m.step < 4 * m.width or m.step % 4 or len(data) != m.step * m.height:
        raise WireError(
            f"depth of {len(data)} bytes in rows of {m.step}; expected {m.height} rows of at least {4 * m.width}"
        )
    rows = np.frombuffer(data, "<f4").reshape(m.height, m.step // 4)
    return DepthImage(_nanoseconds(m.timestamp), rows[:, : m.width], m.frame_id)


def _decode_cloud(m: PointCloud, data: memoryview) -> Cloud:
    found = [(field.name, field.offset, field.type) for field in m.fields[:64]]
    missing = [name for name, offset, type_ in POINT_FIELDS if (name, offset, type_) not in found]
    if missing:
        raise WireError(f"cloud without {' '.join(missing)} at its place; see docs/wire.md for the layout")
    if m.point_stride < POINT_DTYPE.itemsize or len(data) % m.point_stride:
        raise WireError(f"cloud of {len(data)} bytes in points of {m.point_stride}; expected {POINT_DTYPE.itemsize}")
    submap_number(m.frame_id)
    # a newer minor version may append fields: the stride says so, the first 20 bytes stay
    rest = m.point_stride - POINT_DTYPE.itemsize
    packed = np.frombuffer(data, np.dtype([*POINT_DTYPE.descr, ("rest", f"V{rest}")]) if rest else POINT_DTYPE)
    return Cloud(_nanoseconds(m.timestamp), m.frame_id, packed["xyz"], packed["rgba"], packed["confidence"])


def submap_number(frame_name: str) -> int:
    """k of `submap_<k>`. Raises WireError for another name."""
    number = frame_name.removeprefix(submap_frame(0)[:-1])
    if number == frame_name or not (number.isascii() and number.isdigit() and len(number) < 11):
        raise WireError(f"cloud in frame {frame_name[:40]!r}; expected submap_<k>")
    return int(number)


def correction_from_proto(m: wire_pb2.MapCorrection) -> MapCorrection:
    """Raises GeometryError if it holds no similarity."""
    similarity = m.map_from_submap
    t, q = similarity.translation, similarity.rotation
    sim3 = Sim3.from_quat_xyzw(similarity.scale, [q.x, q.y, q.z, q.w], [t.x, t.y, t.z])
    unit = _enum(LengthUnit, m.unit, LengthUnit.MODEL)
    return MapCorrection(m.submap, m.revision, sim3, m.reason, unit, m.map_z_up)


def _decode_map_corrections(m: wire_pb2.MapCorrections) -> MapCorrections:
    if len(m.corrections) > _MOST_CORRECTIONS:
        raise WireError(f"{len(m.corrections)} corrections in one message; expected at most {_MOST_CORRECTIONS}")
    map_frame = m.map_frame or MAP_FRAME
    camera, _, end = map_frame.rpartition("/")
    if end != MAP_FRAME or (camera and not wire.is_camera_name(camera)):
        raise WireError(f"corrections in the frame {map_frame[:60]!r}; expected map, or that of a camera")
    return MapCorrections(tuple(correction_from_proto(correction) for correction in m.corrections), map_frame)


def _decode_path_corrections(m: wire_pb2.PathCorrections) -> PathCorrections:
    if len(m.frames) > _MOST_CORRECTIONS:
        raise WireError(f"{len(m.frames)} frames in one message; expected at most {_MOST_CORRECTIONS}")
    return PathCorrections(
        tuple(PathCorrection(one.frame_id, one.submap, pose_from_proto(one.submap_from_camera)) for one in m.frames)
    )


def _decode_covariance(values: Sequence[float]) -> NDArray[np.float64] | None:
    if not values:
        return None
    if len(values) != 36:
        raise WireError(f"covariance of {len(values)} numbers; expected 36 or none")
    return checked_covariance(np.array(values, np.float64).reshape(6, 6))


def _decode_status(m: wire_pb2.Status) -> Status:
    return Status(
        state=_enum(SessionState, m.state, SessionState.RUNNING),
        source_id=m.source_id,
        frames_in=m.frames_in,
        frames_processed=m.frames_processed,
        frames_failed=m.frames_failed,
        drops=_drops_from_proto(m.drops),
        frames_per_second=m.frames_per_second,
        latency_p50_ms=m.latency_p50_ms,
        latency_p95_ms=m.latency_p95_ms,
        latency_max_ms=m.latency_max_ms,
        model_ms=m.model_ms,
        memory_bytes=m.memory_bytes,
        memory_limit_bytes=m.memory_limit_bytes,
        tracking=None if m.tracking == 0 else _enum(TrackingState, m.tracking, TrackingState.LOW_CONFIDENCE),
        epoch=m.epoch,
        submap=m.submap,
        uptime_ns=m.uptime_ns,
        last_error=m.last_error,
        subscribers=m.subscribers,
        messages_dropped=m.messages_dropped,
        recording_dropped=m.recording_dropped,
        model=m.model,
        frames_off_map=m.frames_off_map,
        map_bytes=m.map_bytes,
        map_limit_bytes=m.map_limit_bytes,
        keyframes_dropped=m.keyframes_dropped,
        unit=_enum(LengthUnit, m.unit, LengthUnit.MODEL),
        scale_source=m.scale_source,
        scale_std=_deviation(m.scale_std),
        map_z_up=m.map_z_up,
    )


_DECODERS: dict[str, tuple[Any, Callable[[Any], Content]]] = {
    wire.FRAME: (wire_pb2.FrameResult, _decode_frame_result),
    wire.POSE: (PoseInFrameProto, _decode_pose_in_frame),
    wire.TF: (FrameTransform, _decode_transform),
    wire.CALIB: (CameraCalibration, _decode_calibration),
    wire.IMAGE: (CompressedImage, _decode_picture),
    wire.DEPTH_CALIB: (CameraCalibration, _decode_calibration),
    wire.MAP_CORRECTION: (wire_pb2.MapCorrections, _decode_map_corrections),
    wire.PATH_CORRECTION: (wire_pb2.PathCorrections, _decode_path_corrections),
    wire.STATUS: (wire_pb2.Status, _decode_status),
}
_BULK_DECODERS: dict[str, tuple[Any, Callable[[Any, memoryview], Content]]] = {
    wire.DEPTH: (RawImage, _decode_depth),
    wire.CLOUD: (PointCloud, _decode_cloud),
}


def pose_from_proto(pose: wire_pb2.Pose) -> NDArray[np.float64]:
    """(4, 4) parent_from_child. Raises GeometryError or WireError if it holds no rigid transform."""
    return _pose_from(pose.translation, pose.rotation)


def _pose_from(translation: Any, rotation: Any) -> NDArray[np.float64]:
    t = _finite(np.array([translation.x, translation.y, translation.z]), "translation")
    return se3.from_quat_xyzw(t, [rotation.x, rotation.y, rotation.z, rotation.w])


def _camera_from_proto(m: wire_pb2.Intrinsics) -> CameraView:
    _finite(np.array([m.fx, m.fy, m.cx, m.cy]), "intrinsics")
    matrix = np.array([[m.fx, 0, m.cx], [0, m.fy, m.cy], [0, 0, 1]])
    focal_std = m.focal_std if m.HasField("focal_std") else None
    if focal_std is not None and not 0 <= focal_std <= 1e6:  # NaN too
        raise WireError(f"the deviation of a focal length is {focal_std:g}; expected 0 or more")
    return _checked_camera(CameraView(matrix, m.width, m.height, m.rectified, focal_std=focal_std))


def _checked_camera(camera: CameraView) -> CameraView:
    """Refuses a camera that no ray can be computed for: viewers invert the matrix."""
    matrix = camera.matrix
    if not (min(matrix[0, 0], matrix[1, 1]) >= _LEAST_FOCAL and np.abs(matrix).max() <= _GREATEST_PIXELS):
        raise WireError(f"focal lengths {matrix[0, 0]:g} and {matrix[1, 1]:g}; expected pixels, more than 0")
    if matrix[1, 0] != 0 or list(matrix[2]) != [0, 0, 1]:
        raise WireError("a camera matrix that is none; expected [[fx, s, cx], [0, fy, cy], [0, 0, 1]]")
    return camera


def _finite(value: NDArray[np.float64], what: str) -> NDArray[np.float64]:
    if not np.all(np.isfinite(value)):
        raise WireError(f"{what} is not finite")
    return value


def _deviation(value: float) -> float:
    if not 0 <= value < float("inf"):  # NaN too
        raise WireError(f"the scale has a standard deviation of {value:g}; expected a number from 0")
    return value


def _drops_from_proto(drops: Iterable[wire_pb2.DropCount]) -> dict[str, int]:
    return {drop.cause: drop.count for drop in drops}


def _enum(kind: type[E], value: int, unknown: E) -> E:
    try:
        return kind(value)
    except ValueError:
        return unknown


def _nanoseconds(stamp: Timestamp) -> int:
    return stamp.seconds * 1_000_000_000 + stamp.nanos
