"""Whether frames that say TRACKING are where they say: each against its keyframe, as it was published."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry import se3
from spark3r_stream.wire.messages import TrackingState
from tools.evaluation.tracked_run import Collector

Array = NDArray[np.float64]

MOST_DEGREES, MOST_SHARE = 5.0, 0.2  # of turn, and of the true distance from the keyframe
LEAST_DISTANCE = 0.05  # of the keyframe's median depth: truth itself is not better than that for a camera that stands


def wrong_tracking(
    collected: Collector, truth: dict[int, Array], lies: dict[int, Array] | None = None
) -> dict[str, Any]:
    """Share of TRACKING frames whose pose relative to their keyframe is off by more than 5 degrees or 20 percent.

    truth: world_from_camera (4, 4) by frame id. lies: the same in the final map, to be looked at instead of what was
    published. Distances get one scale per map that the run began: the median ratio.
    """
    rows = []
    for one in collected.results:
        key = one.keyframe_id
        if one.state is not TrackingState.TRACKING or key is None or key == one.frame_id:
            continue
        if one.frame_id in truth and key in truth and one.world_from_camera is not None:
            scale = collected.scale_of(one.submap)
            if lies is None:
                estimate = one.world_from_camera.copy()
                estimate[:3, 3] *= scale
            elif key in lies and one.frame_id in lies:
                estimate = se3.compose(se3.invert(lies[key]), lies[one.frame_id])
            else:
                continue
            true = se3.compose(se3.invert(truth[key]), truth[one.frame_id])
            depth = collected.median_depth[one.submap] * scale
            rows.append((collected.part_of[one.submap], estimate, true, depth))
    if not rows:
        return {"frames": 0}
    part = np.array([row[0] for row in rows])
    estimate, true = np.stack([row[1] for row in rows]), np.stack([row[2] for row in rows])
    depth = np.array([row[3] for row in rows])
    far, true_far = (np.linalg.norm(poses[:, :3, 3], axis=-1) for poses in (estimate, true))
    scale = np.ones(len(rows))
    for one in np.unique(part):
        moved = (part == one) & (far > LEAST_DISTANCE * depth) & (true_far > 0)
        if moved.any():
            scale[part == one] = np.median(true_far[moved] / far[moved])
    turned = np.degrees(se3.relative_angle(estimate, true))
    off = np.linalg.norm(estimate[:, :3, 3] * scale[:, None] - true[:, :3, 3], axis=-1)
    shifted = off > MOST_SHARE * np.maximum(true_far, LEAST_DISTANCE * depth * scale)
    wrong = (turned > MOST_DEGREES) | shifted
    return {
        "frames": len(rows),
        "wrong_share": round(float(wrong.mean()), 4),
        "wrong_turn_share": round(float((turned > MOST_DEGREES).mean()), 4),
        "wrong_distance_share": round(float(shifted.mean()), 4),
    }
