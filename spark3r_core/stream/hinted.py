"""A new keyframe held against what another sensor says of its way from the keyframe before.

A camera that turns on the spot, past walls with little on them, gives features nothing to agree on and alignment every
chance to settle in a wrong place. A turn that was measured settles both.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry import se3
from spark3r_core.stream.keyframe_map import KeyframeMap, TrackedEdge
from spark3r_core.stream.motion_hint import MeasuredTurn
from spark3r_core.stream.resection import Resection
from spark3r_core.stream.tracked_frame import TrackedFrame

Array = NDArray[np.float64]

TURN_SIGMA = np.deg2rad(0.3)  # of a measured turn from one keyframe to the next: clock, axes, drift of some seconds
WAY_SIGMA, LEAST_WAY_SIGMA = 0.05, 0.005  # of a measured way, whose unit was learnt; and in the unit of odom


def by_hint(found: Resection, world: KeyframeMap, tracked: TrackedFrame, frame_id: int) -> Resection:
    """What features and the sensor say together of a keyframe that lies where tracking says.

    A place that has the measured turn is confirmed, the features' before the tracker's; where neither has it, the
    keyframe is turned by it where it is.
    """
    hinted = tracked.hinted_key_from_camera
    if hinted is None:
        return found
    std = 0.0 if tracked.hinted_stds is None else tracked.hinted_stds.turn
    measured = MeasuredTurn(hinted, float(se3.relative_angle(np.eye(4), hinted)), std)
    before = world.keyframes[tracked.keyframe_id].world_from_camera
    by_features = found.world_from_camera
    if by_features is not None and measured.is_in(se3.compose(se3.invert(before), by_features)):
        return Resection(True, by_features)
    if measured.is_in(tracked.key_from_camera):
        return Resection(True)
    turned = se3.make_pose((before @ hinted)[:3, :3], world.keyframes[frame_id].world_from_camera[:3, 3])
    return Resection(True, se3.require_se3(turned))


def hinted_edge(tracked: TrackedFrame, frame_id: int) -> TrackedEdge | None:
    """The measured turn from the keyframe before. It says nothing of the distance, unless the sensor has said how well
    it knows that."""
    if tracked.hinted_key_from_camera is None:
        return None
    stds = tracked.hinted_stds
    second_from_first = se3.invert(tracked.hinted_key_from_camera)
    if stds is None or not np.isfinite(stds.place):
        second_from_first[:3, 3] = se3.invert(tracked.key_from_camera)[:3, 3]
        by_place = 0.0
    else:
        way = float(np.linalg.norm(second_from_first[:3, 3]))
        by_place = 1 / (stds.place**2 + (WAY_SIGMA * way + LEAST_WAY_SIGMA) ** 2)
    by_turn = 1 / (TURN_SIGMA**2 + (0.0 if stds is None else stds.turn) ** 2)
    return TrackedEdge(tracked.keyframe_id, frame_id, second_from_first, np.diag([by_place] * 3 + [by_turn] * 3))


def measures_way(edge: TrackedEdge) -> bool:
    """Whether an edge of another sensor says how far it was, too."""
    return bool(edge.information[0, 0] > 0)
