"""Results as plain values for JSON lines and text: what `run --json` and `echo --json` print."""

from __future__ import annotations

import numpy as np

from spark3r_core.geometry import se3
from spark3r_stream.wire.messages import FrameResult


def frame_as_dict(result: FrameResult) -> dict[str, object]:
    """A frame's result in plain values; poses as translation and quat_xyzw, the camera of the source image.

    pose_std: of x y z and of the turn about these axes, in the camera's axes; the whole covariance is on the wire only.
    """
    content: dict[str, object] = {
        "frame_id": result.frame_id,
        "epoch": result.epoch,
        "submap": result.submap,
        "revision": result.revision,
        "keyframe_id": result.keyframe_id,
        "mapped": result.mapped,
        "captured_ns": result.captured_ns,
        "pts_ns": result.pts_ns,
        "state": result.state.name,
        "valid": result.valid,
        "confidence": round(result.confidence, 4),
        "latency_ms": round(result.latency_ms, 3),
        "model_ms": round(result.model_ms, 3),
        "memory_bytes": result.memory_bytes,
        "memory_limit_bytes": result.memory_limit_bytes,
        "window_new": result.window_new,
        "window_size": result.window_size,
        "drops_since_last": dict(result.drops_since_last),
        "unit": result.unit.name.lower(),
        "scale_source": result.scale_source,
        "scale_std": float(f"{result.scale_std:.3g}"),
        "map_z_up": result.map_z_up,
    }
    if result.world_from_camera is not None:
        translation, quat_xyzw = se3.to_quat_xyzw(result.world_from_camera)
        content["translation"] = [round(float(x), 9) for x in translation]
        content["quat_xyzw"] = [round(float(x), 9) for x in quat_xyzw]
    if result.odom_from_camera is not None:
        translation, quat_xyzw = se3.to_quat_xyzw(result.odom_from_camera)
        content["odom_translation"] = [round(float(x), 9) for x in translation]
        content["odom_quat_xyzw"] = [round(float(x), 9) for x in quat_xyzw]
    if result.covariance is not None:
        deviations = np.sqrt(np.diag(result.covariance))
        content["pose_std"] = [float(f"{x:.3g}") for x in deviations]
    if result.camera is not None:
        k = result.camera.matrix
        intrinsics: dict[str, object] = {
            "fx": round(float(k[0, 0]), 4),
            "fy": round(float(k[1, 1]), 4),
            "cx": round(float(k[0, 2]), 4),
            "cy": round(float(k[1, 2]), 4),
            "width": result.camera.width,
            "height": result.camera.height,
        }
        if result.camera.focal_std is not None:
            intrinsics["focal_std"] = float(f"{result.camera.focal_std:.3g}")
        content["intrinsics"] = intrinsics
    if result.state_reason:
        content["state_reason"] = result.state_reason
    if not result.valid:
        content["failure_reason"] = result.failure_reason
    return content
