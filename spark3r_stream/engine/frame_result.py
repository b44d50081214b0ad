"""What is published of a tracked frame."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spark3r_core.metric.steady_odometry import SteadyOdometry
from spark3r_core.stream.estimates import WindowResult
from spark3r_stream.engine.frame_preparation import FramePreparation
from spark3r_stream.engine.map_gauge import MapGauge
from spark3r_stream.engine.published_map import PublishedMap
from spark3r_stream.engine.results import result_of
from spark3r_stream.engine.tracking_step import Tracked, covariance_of
from spark3r_stream.wire.messages import FrameOutput, TrackingState


class FrameOutputs:
    """Of one run, whose odometry goes on smoothly whatever becomes known of its unit."""

    def __init__(self, preparation: FramePreparation, gauge: MapGauge, published: PublishedMap) -> None:
        self._preparation, self._gauge, self._published = preparation, gauge, published
        self._odometry = SteadyOdometry()

    def of(
        self, newest: Tracked, state: TrackingState, reason: str, window: WindowResult | None, *, mapped: bool = False
    ) -> FrameOutput:
        """reason: of a state that is not TRACKING. window: the network's newest; mapped: it is this frame's, which
        begins a map."""
        frame, tracked = newest.frame, newest.tracked
        submap = self._published.submaps[tracked.keyframe_id]
        odometry = self._odometry.published(tracked.odom_from_camera, self._gauge.metres_per_unit(submap))
        result = replace(
            result_of(frame, submap.number),
            revision=submap.revision,
            world_from_camera=submap.pose(tracked.key_from_camera),
            camera=self._preparation.source_camera(frame, tracked, newest.prepared.sizes, newest.reference),
            state=state,
            state_reason=reason if state is not TrackingState.TRACKING else "",
            confidence=float(np.clip(tracked.inliers, 0, 1)),
            model_ms=0.0 if window is None or not mapped else window.step_ns / 1e6,
            memory_bytes=0 if window is None else window.memory_used_bytes,
            memory_limit_bytes=0 if window is None else window.memory_limit_bytes,
            window_new=int(mapped),
            window_size=int(mapped),
            keyframe_id=tracked.keyframe_id,
            mapped=mapped,
            covariance=submap.covariance(covariance_of(tracked)),
            odom_from_camera=odometry,
        )
        return FrameOutput(result=result, map_from_submap=submap.map_from_submap, jpeg=newest.prepared.jpeg)
