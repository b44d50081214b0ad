"""The units of parts of a map: what odometry called a unit before it was lost is another length than after."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spark3r_core.stream.keyframe_map import KeyframeMap
from spark3r_core.stream.parts import Parts

ALIKE = 0.15  # of the logarithm, up to which two parts have one unit: a mended keyframe has no tracked edge either


def log_units(world: KeyframeMap, chosen: Sequence[int], unit: float) -> NDArray[np.float64]:
    """(N,) by which factor, in logarithms, the unit of each chosen keyframe's part is another one than `unit`, in units
    of the map: zero for all of a map that was tracked in one go.

    A part is what tracked edges join; its unit is the median of its keyframes' scales.
    """
    parts = Parts(world.keyframes)
    for edge in world.edges:
        if edge.first in parts and edge.second in parts:
            parts.join(edge.first, edge.second)
    scales: dict[int, list[float]] = {}
    for frame_id in chosen:
        scales.setdefault(parts.of(frame_id), []).append(float(np.log(world.keyframes[frame_id].scale / unit)))
    medians = {one: float(np.median(found)) for one, found in scales.items()}
    if max(medians.values()) - min(medians.values()) <= ALIKE:
        return np.zeros(len(chosen))
    return np.array([medians[parts.of(frame_id)] for frame_id in chosen])
