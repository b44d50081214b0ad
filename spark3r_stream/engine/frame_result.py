"""What is published of a tracked frame."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spark3r_core.stream.estimates import WindowResult
from spark3r_core.stream.tracked_frame import TrackedFrame
from spark3r_stream.engine.submap import Submap
from spark3r_stream.engine.tracking_step import covariance_of
from spark3r_stream.frame import Frame
from spark3r_stream.wire.messages import CameraView, FrameResult, TrackingState


def frame_result(
    frame: Frame,
    tracked: TrackedFrame,
    submap: Submap,
    camera: CameraView,
    odom_from_camera: NDArray[np.float64],
    state: TrackingState,
    reason: str,
    *,
    window: WindowResult | None,
    mapped: bool,
) -> FrameResult:
    """odom_from_camera: (4, 4) as published. window: the network's newest; mapped: it is this frame's, which begins a
    map."""
    return FrameResult(
        frame_id=frame.frame_id,
        source_id=frame.source_id,
        epoch=frame.epoch,
        submap=submap.number,
        captured_ns=frame.captured_ns,
        published_ns=0,
        pts_ns=frame.pts_ns,
        revision=submap.revision,
        world_from_camera=submap.pose(tracked.key_from_camera),
        camera=camera,
        state=state,
        state_reason=reason,
        confidence=float(np.clip(tracked.inliers, 0, 1)),
        model_ms=0.0 if window is None or not mapped else window.step_ns / 1e6,
        memory_bytes=0 if window is None else window.memory_used_bytes,
        memory_limit_bytes=0 if window is None else window.memory_limit_bytes,
        window_new=int(mapped),
        window_size=int(mapped),
        keyframe_id=tracked.keyframe_id,
        mapped=mapped,
        covariance=submap.covariance(covariance_of(tracked)),
        odom_from_camera=odom_from_camera,
    )
