"""One camera image with its times: the only thing sources hand out."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from spark3r_core.metric.gps import PositionFix
from spark3r_core.metric.sensor_depth import DepthRatio
from spark3r_core.stream.motion_hint import MotionHint


@dataclass(frozen=True)
class Frame:
    """A decoded frame.

    image: (H, W, 3) uint8 RGB, upright (display matrix applied).
    frame_id: counts every frame handed out by the source, from 0; never restarts within a session.
    epoch: uninterrupted run of the source; a reconnect starts the next one.
    pts_ns: the container's presentation time in ns, from the first frame's own zero; of image files the time they have,
        Unix time as a rule; None where there is none.
    captured_ns: live: Unix time at session start + monotonic clock since, stamped after decoding; file: pts_ns.
    picture: number of its picture among those decoded in its epoch, the ones that were not handed out included: what
        finds it again in a recording. None: the same as frame_id.
    hint, depth_ratio, fixes: what other sensors said of its motion, of the scale, and of where an antenna was since the
        frame before, in a run that is made again from its recording.
    prepared: what a reconstructor made of the picture in the thread that reads, for itself.
    """

    image: np.ndarray
    frame_id: int
    epoch: int
    captured_ns: int
    pts_ns: int | None
    source_id: str
    picture: int | None = None
    hint: MotionHint | None = None
    depth_ratio: DepthRatio | None = None
    fixes: tuple[PositionFix, ...] = ()
    prepared: object = field(default=None, repr=False, compare=False)

    @property
    def picture_number(self) -> int:
        """Of its picture in the source, counted from 0."""
        return self.frame_id if self.picture is None else self.picture
