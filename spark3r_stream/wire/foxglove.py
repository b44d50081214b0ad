"""Payloads in Foxglove's schemas: poses, transforms, cameras, pictures, depth, clouds. Pure functions, numpy only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from foxglove_schemas_protobuf.CameraCalibration_pb2 import CameraCalibration
from foxglove_schemas_protobuf.CompressedImage_pb2 import CompressedImage
from foxglove_schemas_protobuf.FrameTransform_pb2 import FrameTransform
from foxglove_schemas_protobuf.PackedElementField_pb2 import PackedElementField
from foxglove_schemas_protobuf.PointCloud_pb2 import PointCloud
from foxglove_schemas_protobuf.PoseInFrame_pb2 import PoseInFrame as PoseInFrameProto
from foxglove_schemas_protobuf.Quaternion_pb2 import Quaternion
from foxglove_schemas_protobuf.RawImage_pb2 import RawImage
from foxglove_schemas_protobuf.Vector3_pb2 import Vector3
from google.protobuf.timestamp_pb2 import Timestamp
from numpy.typing import ArrayLike, NDArray

from spark3r_core.errors import GeometryError
from spark3r_core.geometry import se3
from spark3r_core.geometry.camera import Intrinsics
from spark3r_core.geometry.camera_forms import model_name
from spark3r_stream.errors import WireError
from spark3r_stream.wire import bulk_field
from spark3r_stream.wire.messages import CameraView

# One point on /cloud/, packed, little-endian, 20 bytes.
POINT_DTYPE = np.dtype([("xyz", "<f4", 3), ("confidence", "<f4"), ("rgba", "u1", 4)])
_FLOAT32, _UINT8 = PackedElementField.FLOAT32, PackedElementField.UINT8
POINT_FIELDS = [
    *((name, 4 * index, _FLOAT32) for index, name in enumerate(("x", "y", "z", "confidence"))),
    *((name, 16 + index, _UINT8) for index, name in enumerate(("red", "green", "blue", "alpha"))),
]

Pose = tuple[list[float], list[float]]  # translation, quaternion xyzw


def encode_cloud(
    captured_ns: int, frame_name: str, points: ArrayLike, colours: ArrayLike | None, confidence: ArrayLike | None
) -> bytes:
    """Payload of /cloud/. points (N, 3), colours (N, 4) uint8 (None: white), confidence (N,) (None: 1)."""
    points = np.asarray(points, dtype=np.float32)
    if points.ndim != 2 or points.shape[1] != 3:
        raise WireError(f"points of shape {points.shape}; expected (N, 3)")
    count = len(points)
    packed = np.empty(count, POINT_DTYPE)
    packed["xyz"] = points
    for name, value, shape, default in (
        ("rgba", colours, (count, 4), 255),
        ("confidence", confidence, (count,), 1.0),
    ):
        value = default if value is None else np.asarray(value)
        if isinstance(value, np.ndarray) and value.shape != shape:
            raise WireError(f"{name} of shape {value.shape} for {count} points; expected {shape}")
        packed[name] = value
    message = PointCloud(
        timestamp=timestamp(captured_ns),
        frame_id=frame_name,
        point_stride=POINT_DTYPE.itemsize,
        fields=[PackedElementField(name=name, offset=offset, type=type_) for name, offset, type_ in POINT_FIELDS],
    )
    message.pose.position.SetInParent()
    message.pose.orientation.w = 1.0
    return bulk_field.join(message.SerializeToString(), packed)


def encode_pose_in_frame(stamp: Timestamp, frame_name: str, pose: Pose) -> bytes:
    """Payload of /pose/."""
    message = PoseInFrameProto(timestamp=stamp, frame_id=frame_name)
    translation, rotation = _foxglove_pose(pose)
    message.pose.position.CopyFrom(translation)
    message.pose.orientation.CopyFrom(rotation)
    return message.SerializeToString()


def encode_transform(stamp: Timestamp, parent: str, child: str, pose: Pose) -> bytes:
    """Payload of /tf/: `pose` is parent_from_child."""
    translation, rotation = _foxglove_pose(pose)
    return FrameTransform(
        timestamp=stamp, parent_frame_id=parent, child_frame_id=child, translation=translation, rotation=rotation
    ).SerializeToString()


def encode_calibration(stamp: Timestamp, camera: CameraView, frame_name: str) -> bytes:
    """Payload of /calib/ and /depth_calib/: K and D of the lens where there is one, P of the pinhole."""
    (fx, _, cx), (_, fy, cy), _ = camera_matrix(camera).tolist()
    lens = camera.lens or Intrinsics(fx, fy, cx, cy, camera.width, camera.height, (0.0,) * 5)
    return CameraCalibration(
        timestamp=stamp,
        frame_id=frame_name,
        width=camera.width,
        height=camera.height,
        distortion_model=model_name(lens),
        D=lens.distortion,
        K=[lens.fx, 0, lens.cx, 0, lens.fy, lens.cy, 0, 0, 1],
        R=[1, 0, 0, 0, 1, 0, 0, 0, 1],
        P=[fx, 0, cx, 0, 0, fy, cy, 0, 0, 0, 1, 0],
    ).SerializeToString()


def encode_picture(stamp: Timestamp, jpeg: bytes, frame_name: str) -> bytes:
    """Payload of /image/."""
    return CompressedImage(timestamp=stamp, frame_id=frame_name, format="jpeg", data=jpeg).SerializeToString()


def encode_depth(stamp: Timestamp, depth: ArrayLike, frame_name: str) -> bytes:
    """Payload of /depth/: (h, w) float32."""
    depth = np.ascontiguousarray(depth, "<f4")
    if depth.ndim != 2 or 0 in depth.shape:
        raise WireError(f"depth of shape {depth.shape}; expected (h, w), not empty")
    height, width = depth.shape
    before = RawImage(timestamp=stamp, width=width, height=height, encoding="32FC1", step=4 * width)
    after = RawImage(frame_id=frame_name)  # its number is above that of `data`
    return bulk_field.join(before.SerializeToString(), depth, after.SerializeToString())


def _foxglove_pose(pose: Pose) -> tuple[Vector3, Quaternion]:
    (x, y, z), (qx, qy, qz, qw) = pose
    return Vector3(x=x, y=y, z=z), Quaternion(x=qx, y=qy, z=qz, w=qw)


def checked_poses(poses: Sequence[NDArray[np.float64]]) -> list[Pose]:
    """All at once: what the check costs, it costs per call."""
    try:
        translations, quats_xyzw = se3.to_quat_xyzw(se3.require_se3(np.stack(poses), "world_from_camera"))
    except GeometryError as error:
        raise WireError(f"cannot publish a pose: {error}") from None
    return list(zip(translations.tolist(), quats_xyzw.tolist(), strict=True))


def camera_matrix(camera: CameraView) -> NDArray[np.float64]:
    """(3, 3) float64. Raises WireError for another shape."""
    matrix = np.asarray(camera.matrix, np.float64)
    if matrix.shape != (3, 3):
        raise WireError(f"camera matrix of shape {matrix.shape}; expected (3, 3)")
    return matrix


def timestamp(ns: int) -> Timestamp:
    """Of Unix time, or of any other, in nanoseconds."""
    seconds, nanos = divmod(ns, 1_000_000_000)
    return Timestamp(seconds=seconds, nanos=nanos)
