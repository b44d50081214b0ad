"""Payloads: messages.py's values to protobuf bytes. Pure functions, numpy only; `decode.py` is the way back.

`encode_frame` is called once per frame; the publisher and the recording carry the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from google.protobuf.timestamp_pb2 import Timestamp
from numpy.typing import ArrayLike, NDArray

from spark3r_core.geometry import se3
from spark3r_stream.errors import WireError
from spark3r_stream.proto import wire_pb2
from spark3r_stream.wire import envelope as wire
from spark3r_stream.wire.envelope import Unsealed
from spark3r_stream.wire.foxglove import (
    camera_matrix,
    checked_poses,
    encode_calibration,
    encode_cloud,
    encode_depth,
    encode_picture,
    encode_pose_in_frame,
    encode_transform,
    timestamp,
)
from spark3r_stream.wire.messages import (
    MAP_FRAME,
    CameraView,
    FrameNames,
    FrameOutput,
    FrameResult,
    KeyframeOutput,
    MapCorrection,
    PathCorrection,
    Status,
)

MOST_CORRECTIONS = 1024  # in one message, of submaps or of frames
PLAIN_NAMES = FrameNames()  # of a session of one camera
_ROUNDING = 1e-6  # how far a correlation may be off


def encode_frame(output: FrameOutput, names: FrameNames = PLAIN_NAMES) -> list[Unsealed]:
    """The messages of one frame, /frame/ first: consumers that join by frame_id then know what follows.

    A frame that is not valid makes /frame/ only. Raises WireError for arrays of the wrong shape or type.
    """
    result = output.result
    payloads = [(wire.FRAME, encode_frame_result(result))]
    if result.valid:
        if result.world_from_camera is None:
            raise WireError(f"frame {result.frame_id} is valid but has no pose; mark it invalid or give its pose")
        stamp, frame_name = timestamp(result.captured_ns), result.frame_name
        map_from_submap = se3.make_pose(output.map_from_submap.rotation, output.map_from_submap.translation)
        pose, submap_pose = checked_poses([result.world_from_camera, map_from_submap])
        payloads += [
            (wire.POSE, encode_pose_in_frame(stamp, frame_name, pose)),
            (wire.TF, encode_transform(stamp, names.map, frame_name, submap_pose)),
        ]
        if result.odom_from_camera is None:
            payloads.append((wire.TF, encode_transform(stamp, frame_name, names.camera, pose)))
        else:
            payloads += _encode_odometry(stamp, output, result.odom_from_camera, names)
        if result.camera is not None:
            payloads.append((wire.CALIB, encode_calibration(stamp, result.camera, names.camera)))
        if output.jpeg:
            payloads.append((wire.IMAGE, encode_picture(stamp, output.jpeg, names.camera)))
        if output.depth is not None:
            if result.depth_camera is not None:
                payloads.append((wire.DEPTH_CALIB, encode_calibration(stamp, result.depth_camera, names.camera)))
            payloads.append((wire.DEPTH, encode_depth(stamp, output.depth, names.camera)))
        if output.points is not None:
            cloud = encode_cloud(result.captured_ns, frame_name, output.points, output.colours, output.point_confidence)
            payloads.append((wire.CLOUD, cloud))
    return [
        Unsealed(
            topic=topic,
            payload=payload,
            captured_ns=result.captured_ns,
            epoch=result.epoch,
            submap=result.submap,
            revision=result.revision,
            valid=result.valid,
            frame_id=result.frame_id,
        )
        for topic, payload in payloads
    ]


def encode_keyframe(keyframe: KeyframeOutput) -> list[Unsealed]:
    """/depth_calib/, /depth/ and /cloud/ of a mapped keyframe, in its own camera, which is the submap's frame."""
    stamp, frame_name = timestamp(keyframe.captured_ns), keyframe.frame_name
    cloud = encode_cloud(keyframe.captured_ns, frame_name, keyframe.points, keyframe.colours, keyframe.point_confidence)
    return [
        Unsealed(
            topic=topic,
            payload=payload,
            captured_ns=keyframe.captured_ns,
            epoch=keyframe.epoch,
            submap=keyframe.submap,
            revision=keyframe.revision,
            frame_id=keyframe.frame_id,
        )
        for topic, payload in (
            (wire.DEPTH_CALIB, encode_calibration(stamp, keyframe.camera, frame_name)),
            (wire.DEPTH, encode_depth(stamp, keyframe.depth, frame_name)),
            (wire.CLOUD, cloud),
        )
    ]


def encode_frame_result(result: FrameResult) -> bytes:
    """Payload of /frame/."""
    message = wire_pb2.FrameResult(
        frame_id=result.frame_id,
        source_id=result.source_id,
        epoch=result.epoch,
        submap=result.submap,
        revision=result.revision,
        pts_ns=result.pts_ns,
        captured_ns=result.captured_ns,
        published_ns=result.published_ns,
        frame_name=result.frame_name,
        state=f"TRACKING_STATE_{result.state.name}",
        confidence=result.confidence,
        valid=result.valid,
        failure_reason=result.failure_reason,
        drops_since_last=_drops_to_proto(result.drops_since_last),
        model_ms=result.model_ms,
        latency_ms=result.latency_ms,
        memory_bytes=result.memory_bytes,
        memory_limit_bytes=result.memory_limit_bytes,
        window_new=result.window_new,
        window_size=result.window_size,
        unit=f"LENGTH_UNIT_{result.unit.name}",
        state_reason=result.state_reason,
        keyframe_id=result.keyframe_id,
        mapped=result.mapped,
        covariance=() if result.covariance is None else checked_covariance(result.covariance).ravel().tolist(),
        scale_source=result.scale_source,
        scale_std=result.scale_std,
        map_z_up=result.map_z_up,
    )
    if result.odom_from_camera is not None:
        message.odom_from_camera.CopyFrom(pose_to_proto(result.odom_from_camera))
    if result.world_from_camera is not None:
        message.world_from_camera.CopyFrom(pose_to_proto(result.world_from_camera))
    for camera, target in ((result.camera, "intrinsics"), (result.depth_camera, "depth_intrinsics")):
        if camera is not None:
            getattr(message, target).CopyFrom(_camera_to_proto(camera))
    return message.SerializeToString()


def encode_map_corrections(
    corrections: Sequence[MapCorrection], captured_ns: int, epoch: int = 0, map_frame: str = MAP_FRAME
) -> list[Unsealed]:
    """The messages of /map_correction/: what moved together is one message, as long as it fits.

    captured_ns: of the newest frame it was computed from. map_frame: where the submaps are placed.
    """
    messages = []
    for begin in range(0, len(corrections), MOST_CORRECTIONS):
        part = corrections[begin : begin + MOST_CORRECTIONS]
        payload = wire_pb2.MapCorrections(
            corrections=[correction_to_proto(one) for one in part],
            map_frame="" if map_frame == MAP_FRAME else map_frame,
        ).SerializeToString()
        newest = part[-1]
        messages.append(Unsealed(wire.MAP_CORRECTION, payload, captured_ns, epoch, newest.submap, newest.revision))
    return messages


def encode_path_corrections(frames: Sequence[PathCorrection], captured_ns: int, epoch: int = 0) -> list[Unsealed]:
    """The messages of /path_correction/, so many frames each. captured_ns: of the newest frame."""
    messages = []
    for begin in range(0, len(frames), MOST_CORRECTIONS):
        part = frames[begin : begin + MOST_CORRECTIONS]
        payload = wire_pb2.PathCorrections(
            frames=[
                wire_pb2.PathCorrection(
                    frame_id=one.frame_id,
                    submap=one.submap,
                    submap_from_camera=pose_to_proto(one.submap_from_camera),
                )
                for one in part
            ]
        ).SerializeToString()
        first = part[0]
        messages.append(
            Unsealed(wire.PATH_CORRECTION, payload, captured_ns, epoch, first.submap, frame_id=first.frame_id)
        )
    return messages


def encode_status(status: Status, captured_ns: int) -> Unsealed:
    """The message of /status/. captured_ns: of the newest frame, so that a viewer can show how old it is."""
    payload = wire_pb2.Status(
        state=f"SESSION_STATE_{status.state.name}",
        source_id=status.source_id,
        frames_in=status.frames_in,
        frames_processed=status.frames_processed,
        frames_failed=status.frames_failed,
        drops=_drops_to_proto(status.drops),
        frames_per_second=status.frames_per_second,
        latency_p50_ms=status.latency_p50_ms,
        latency_p95_ms=status.latency_p95_ms,
        latency_max_ms=status.latency_max_ms,
        model_ms=status.model_ms,
        memory_bytes=status.memory_bytes,
        memory_limit_bytes=status.memory_limit_bytes,
        tracking=None if status.tracking is None else f"TRACKING_STATE_{status.tracking.name}",
        epoch=status.epoch,
        submap=status.submap,
        uptime_ns=status.uptime_ns,
        last_error=status.last_error,
        subscribers=status.subscribers,
        messages_dropped=status.messages_dropped,
        recording_dropped=status.recording_dropped,
        model=status.model,
        frames_off_map=status.frames_off_map,
        map_bytes=status.map_bytes,
        map_limit_bytes=status.map_limit_bytes,
        keyframes_dropped=status.keyframes_dropped,
        unit=f"LENGTH_UNIT_{status.unit.name}",
        scale_source=status.scale_source,
        scale_std=status.scale_std,
        map_z_up=status.map_z_up,
    ).SerializeToString()
    return Unsealed(wire.STATUS, payload, captured_ns, status.epoch, status.submap)


def correction_to_proto(correction: MapCorrection) -> wire_pb2.MapCorrection:
    """As on /map_correction/ and in snapshots."""
    similarity = correction.map_from_submap
    pose = pose_to_proto(se3.make_pose(similarity.rotation, similarity.translation))
    return wire_pb2.MapCorrection(
        submap=correction.submap,
        revision=correction.revision,
        map_from_submap=wire_pb2.Similarity(
            scale=similarity.scale, translation=pose.translation, rotation=pose.rotation
        ),
        reason=correction.reason,
        unit=f"LENGTH_UNIT_{correction.unit.name}",
        map_z_up=correction.map_z_up,
    )


def checked_covariance(covariance: ArrayLike) -> NDArray[np.float64]:
    """(6, 6) float64. Raises WireError for what is none: a robot that fused it would be led astray."""
    values = np.asarray(covariance, np.float64)
    if values.shape != (6, 6):
        raise WireError(f"covariance of shape {values.shape}; expected (6, 6)")
    if not np.isfinite(values).all():
        raise WireError("covariance is not finite")
    variances = np.diag(values)
    if variances.min() < 0:
        raise WireError(f"covariance with a variance of {variances.min():g}; expected none below 0")
    largest = np.outer(np.sqrt(variances), np.sqrt(variances))  # as of two quantities that are one
    if (np.abs(values - values.T) > _ROUNDING * largest).any():
        raise WireError("covariance is not symmetric")
    if (np.abs(values) > (1 + _ROUNDING) * largest).any():
        raise WireError("covariance with a correlation beyond 1")
    return values


def _encode_odometry(
    stamp: Timestamp, output: FrameOutput, odom_from_camera: NDArray[np.float64], names: FrameNames
) -> list[tuple[str, bytes]]:
    """map → odom → camera (REP-105): what jumps when the map is corrected, and what never does."""
    result = output.result
    assert result.world_from_camera is not None
    placed = output.map_from_submap.apply_to_poses(result.world_from_camera)
    map_from_odom = se3.require_se3(se3.compose(placed, se3.invert(odom_from_camera)))
    outer, inner = checked_poses([map_from_odom, odom_from_camera])
    return [
        (wire.TF, encode_transform(stamp, names.map, names.odom, outer)),
        (wire.TF, encode_transform(stamp, names.odom, names.camera, inner)),
    ]


def pose_to_proto(pose: NDArray[np.float64]) -> wire_pb2.Pose:
    """(4, 4) parent_from_child. Raises WireError if it is no rigid transform."""
    ((x, y, z), (qx, qy, qz, qw)) = checked_poses([pose])[0]
    return wire_pb2.Pose(
        translation=wire_pb2.Vector3(x=x, y=y, z=z), rotation=wire_pb2.Quaternion(x=qx, y=qy, z=qz, w=qw)
    )


def _camera_to_proto(camera: CameraView) -> wire_pb2.Intrinsics:
    (fx, _, cx), (_, fy, cy), _ = camera_matrix(camera).tolist()
    return wire_pb2.Intrinsics(
        fx=fx,
        fy=fy,
        cx=cx,
        cy=cy,
        width=camera.width,
        height=camera.height,
        rectified=camera.rectified,
        focal_std=camera.focal_std,
    )


def _drops_to_proto(drops: Any) -> Iterable[wire_pb2.DropCount]:
    return [wire_pb2.DropCount(cause=cause, count=count) for cause, count in sorted(drops.items())]
