"""That a frame be mapped: what the mapper is told of it, and how long tracking goes on without the answer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry import se3
from spark3r_core.stream.map_update import KeyframeRequest
from spark3r_core.stream.tracked_frame import TrackedFrame
from spark3r_stream.engine.tracking_step import Prepared, Tracked
from spark3r_stream.frame import Frame

LONGEST_LAG = 16  # frames from a keyframe to its adoption, with a file
FRAMES_PER_LAG = 2  # frames that a keyframe served, per frame of lag: where views change fast, the next one is due soon
URGENT_OVERLAP, URGENT_INLIERS = 0.5, 0.76  # below, a file waits for the pending keyframe at once,
URGENT_DISTANCE, URGENT_TURN = 0.28, 25.0  # and above: of the keyframe's median depth, degrees


def is_urgent(tracked: TrackedFrame) -> bool:
    """Whether tracking should not go on on this keyframe any longer than it must."""
    return (
        not tracked.aligned
        or tracked.overlap < URGENT_OVERLAP
        or tracked.inliers < URGENT_INLIERS
        or tracked.distance > URGENT_DISTANCE
        or tracked.turn > URGENT_TURN
    )


def lag_after(frames_on_keyframe: int) -> int:
    """Frames until a keyframe is adopted, with a file, after so many on the one before."""
    return min(LONGEST_LAG, max(1, frames_on_keyframe // FRAMES_PER_LAG))


def first_request(
    frame: Frame, prepared: Prepared, time_in_map_s: float, odom_from_camera: NDArray[np.float64], wants_bends: bool
) -> KeyframeRequest:
    """Of a frame that was not tracked. odom_from_camera: (4, 4), where odometry is to go on."""
    return KeyframeRequest(
        frame.frame_id, time_in_map_s, prepared.picture, prepared.sizes, prepared.pyramid, prepared.intrinsics,
        odom_from_camera=odom_from_camera, hint=frame.hint, wants_bends=wants_bends,
    )  # fmt: skip


def tracked_request(newest: Tracked, first: KeyframeRequest) -> KeyframeRequest:
    """The same of one that was: with its pose, and the points of its keyframe as it sees them."""
    tracked = newest.tracked
    camera_from_key = se3.invert(tracked.key_from_camera).astype(np.float32)
    points = newest.reference.points() @ camera_from_key[:3, :3].T + camera_from_key[:3, 3]
    return replace(first, tracked=tracked, points=points, odom_from_camera=tracked.odom_from_camera)
