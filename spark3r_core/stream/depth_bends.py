"""By what the depth of keyframes is to be multiplied to go through the map's triangulated points, as they are now.

A keyframe's depth is the network's, tied to its neighbours once, when it was mapped: over a region, and as a whole, it
is off by several percent. The points that several keyframes see are off by some thousandths of the map. Nothing that is
tracked or published uses this; what is measured in metres does.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry import se3
from spark3r_core.photometric import depth_grid
from spark3r_core.stream.keyframe_map import KeyframeMap
from spark3r_core.stream.sparse_points import sparse_points

Array = NDArray[np.float64]

LEAST_POINTS = 30
MOST_KEYFRAMES = 40  # whose points are triangulated for it


def depth_bends(world: KeyframeMap, frame_ids: Iterable[int]) -> dict[int, Array]:
    """By frame id, for those of these keyframes that see enough points: the logarithm of the factor at the nodes of
    `depth_grid`, (ROWS, COLUMNS)."""
    asked = sorted(set(frame_ids) & set(world.keyframes))[-MOST_KEYFRAMES:]
    around = list(world.tracks.shared_by_all(asked))[:MOST_KEYFRAMES]
    order = sorted({*asked, *around})
    points = sparse_points(world, order)
    found = {}
    for frame_id in asked:
        keyframe = world.keyframes[frame_id]
        mine = points.slot == order.index(frame_id)
        feature, places = points.feature[mine], points.places[points.point[mine]]
        z = se3.transform_points(se3.invert(keyframe.world_from_camera), places)[:, 2] / keyframe.scale
        depth = keyframe.feature_depth[feature]
        known = np.isfinite(depth) & (depth > 0) & (z > 0)
        if known.sum() < LEAST_POINTS:
            continue
        size_wh = np.array(world.picture_hw[::-1], np.float64)
        fractions = np.clip(keyframe.features.places[feature[known]] / size_wh, 0, 1)
        log_scale, nodes, _ = depth_grid.fit(np.log(z[known] / depth[known]), fractions)
        found[frame_id] = (log_scale + nodes).reshape(depth_grid.ROWS, depth_grid.COLUMNS)
    return found
