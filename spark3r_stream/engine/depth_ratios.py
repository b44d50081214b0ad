"""From a sensor's depth images to what they say of the scale; an image may come later than its frame."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry import se3
from spark3r_core.geometry.camera import resize_map
from spark3r_core.metric.sensor_depth import DepthRatio, depth_ratio
from spark3r_core.stream.reference import Reference
from spark3r_core.stream.tracked_frame import TrackedFrame
from spark3r_stream.engine.tracking_step import DepthSensor, Prepared
from spark3r_stream.frame import Frame

KEPT_FRAMES = 64  # two seconds; with their poses and few keyframes, without their pictures


class DepthRatios:
    """Of the frames of one map after the other. bend_of: what is known of a keyframe's depth, see `Bends`."""

    def __init__(self, sensor: DepthSensor, bend_of: Callable[[int], NDArray[np.float64] | None]) -> None:
        self._sensor, self._bend_of = sensor, bend_of
        self._frames: OrderedDict[int, tuple[TrackedFrame, Reference, tuple[int, int]]] = OrderedDict()

    def of(self, frame: Frame, prepared: Prepared, tracked: TrackedFrame, reference: Reference) -> DepthRatio | None:
        """With a frame whose pose the pixels confirm, on its keyframe: what a depth image says, of this frame or of an
        earlier one of the same map; None where no image is there."""
        self._frames[frame.frame_id] = tracked, reference, prepared.sizes.tracker.image_hw
        while len(self._frames) > KEPT_FRAMES:
            self._frames.popitem(last=False)
        height, width = prepared.sizes.picture_hw
        seen = self._sensor.of(frame, (width, height))
        if seen is None or seen.frame_id not in self._frames:
            return None
        tracked, reference, (tracker_h, tracker_w) = self._frames[seen.frame_id]
        from_tracker = np.linalg.inv(resize_map(seen.depth_m.shape[::-1], (tracker_w, tracker_h)))
        mapped = reference.mapped_points(self._bend_of(reference.frame_id))
        points = se3.transform_points(se3.invert(tracked.key_from_camera), mapped)
        return depth_ratio(seen.depth_m, points, from_tracker @ tracked.camera, tracked.keyframe_id)

    def begin_map(self) -> None:
        """Frames of before are in another map, with another unit."""
        self._frames.clear()
