"""Depth images of a sensor beside the camera: the ratio of their metres to the map's depth, picture by picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.metric.bent import Bends, mean_log_factor
from spark3r_core.metric.scale import ScaleEvidence

Array = NDArray[np.float64]

LEAST_PIXELS = 50  # with depth in both
MOST_KEPT = 256  # pictures
PICTURE_STD = 0.03  # of one picture at least: a keyframe's depth bends by more than its points say


class SensorDepth(NamedTuple):
    """What a depth sensor saw with a frame. depth_m: (H, W), registered to its picture, 0 where unknown."""

    frame_id: int
    depth_m: NDArray[np.float32]


@dataclass(frozen=True)
class DepthRatio:
    """Of one frame: the logarithm of metres per unit of its keyframe's depth, and its standard deviation."""

    keyframe_id: int
    log_ratio: float
    log_std: float


def depth_ratio(
    depth_m: NDArray[np.float32], points: NDArray[np.floating], camera: Array, keyframe_id: int
) -> DepthRatio | None:
    """depth_m: (H, W) of a sensor, registered to the picture, 0 where unknown. points: (N, 3) of the keyframe in the
    frame's camera; camera: (3, 3) of pixels of `depth_m`. None where they hardly overlap."""
    ahead = np.asarray(points, np.float64)[np.asarray(points)[:, 2] > 1e-9]
    pixels = ahead[:, :2] / ahead[:, 2:] * np.diag(camera)[:2] + camera[:2, 2]
    height, width = depth_m.shape
    inside = ((pixels >= 0) & (pixels < [width, height])).all(1)
    column, row = np.floor(pixels[inside]).astype(int).T
    metres, units = depth_m[row, column].astype(np.float64), ahead[inside, 2]
    known = np.isfinite(metres) & (metres > 0)
    if known.sum() < LEAST_PIXELS:
        return None
    ratios = np.log(metres[known] / units[known])
    middle = float(np.median(ratios))
    spread = 1.4826 * float(np.median(np.abs(ratios - middle)))
    return DepthRatio(keyframe_id, middle, float(np.hypot(PICTURE_STD, spread / np.sqrt(LEAST_PIXELS))))


class SensorDepthEvidence:
    """Of one map."""

    def __init__(self) -> None:
        self._ratios: list[tuple[DepthRatio, float]] = []  # with the bend that was known when they were taken

    @property
    def has_any(self) -> bool:
        return bool(self._ratios)

    def add(self, ratio: DepthRatio, bends: Bends) -> None:
        """A ratio to depth that these bends had corrected."""
        self._keep(ratio, mean_log_factor(bends, ratio.keyframe_id))

    def _keep(self, ratio: DepthRatio, known: float) -> None:
        self._ratios.append((ratio, known))
        if len(self._ratios) > MOST_KEPT:
            del self._ratios[1::2]

    def take_in(self, other: SensorDepthEvidence) -> None:
        """What was said in a map that this one was joined with."""
        for ratio, known in other._ratios:
            self._keep(ratio, known)

    def scales(self, map_from_key: Mapping[int, Sim3], bends: Bends) -> list[ScaleEvidence]:
        """One for each picture."""
        found = []
        for one, known in self._ratios:
            lies = map_from_key.get(one.keyframe_id)
            if lies is not None:
                since = mean_log_factor(bends, one.keyframe_id) - known
                log_scale = one.log_ratio - since - float(np.log(lies.scale))
                found.append(ScaleEvidence(log_scale, one.log_std, "depth images"))
        return found
