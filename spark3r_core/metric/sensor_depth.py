"""Depth images of a sensor beside the camera: the ratio of their metres to the map's depth, picture by picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.metric.scale import ScaleEvidence

Array = NDArray[np.float64]

LEAST_PIXELS = 50  # with depth in both
MOST_KEPT = 256  # pictures
PICTURE_STD = 0.05  # of one picture at least: a network's depth bends by more than its pixels say


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
        self._ratios: list[DepthRatio] = []

    def add(self, ratio: DepthRatio) -> None:
        self._ratios.append(ratio)
        if len(self._ratios) > MOST_KEPT:
            del self._ratios[1::2]

    def take_in(self, other: SensorDepthEvidence) -> None:
        """What was said in a map that this one was joined with."""
        for ratio in other._ratios:
            self.add(ratio)

    def scales(self, map_from_key: Mapping[int, Sim3]) -> list[ScaleEvidence]:
        """One for each picture."""
        return [
            ScaleEvidence(
                one.log_ratio - float(np.log(map_from_key[one.keyframe_id].scale)), one.log_std, "depth images"
            )
            for one in self._ratios
            if one.keyframe_id in map_from_key
        ]
