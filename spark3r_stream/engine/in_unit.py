"""What is published in a submap, with lengths in another unit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spark3r_core.geometry.sim3 import Sim3
from spark3r_stream.wire.messages import FrameOutput, KeyframeOutput, PathCorrection


def frame_in_unit(output: FrameOutput, unit: float) -> FrameOutput:
    """The frame of a submap in which a length is now `unit` times what it was. Its place in the map stays."""
    if unit == 1.0:
        return output
    result = output.result
    pose, covariance = result.world_from_camera, result.covariance
    factors = np.array([unit] * 3 + [1.0] * 3)
    result = replace(
        result,
        world_from_camera=None if pose is None else _pose_in_unit(pose, unit),
        covariance=None if covariance is None else covariance * np.outer(factors, factors),
    )
    return replace(
        output,
        result=result,
        depth=None if output.depth is None else output.depth * np.float32(unit),
        points=None if output.points is None else output.points * np.float32(unit),
        map_from_submap=in_unit(output.map_from_submap, unit),
    )


def keyframe_in_unit(keyframe: KeyframeOutput, unit: float) -> KeyframeOutput:
    """As `frame_in_unit`."""
    if unit == 1.0:
        return keyframe
    return replace(
        keyframe,
        depth=keyframe.depth * np.float32(unit),
        points=keyframe.points * np.float32(unit),
        map_from_submap=in_unit(keyframe.map_from_submap, unit),
    )


def retracked_in_unit(retracked: PathCorrection, unit: float) -> PathCorrection:
    """As `frame_in_unit`."""
    return replace(retracked, submap_from_camera=_pose_in_unit(retracked.submap_from_camera, unit))


def in_unit(map_from_submap: Sim3, unit: float) -> Sim3:
    """Where such a submap lies."""
    return map_from_submap if unit == 1.0 else map_from_submap @ Sim3(1 / unit)


def _pose_in_unit(pose: np.ndarray, unit: float) -> np.ndarray:
    scaled = pose.copy()
    scaled[:3, 3] *= unit
    return scaled
