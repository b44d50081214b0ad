"""The dense points of a map: every keyframe's depth, where it is trusted, in the map's unit."""

from __future__ import annotations

import numpy as np

from spark3r_core.stream.camera_sizes import resampled
from spark3r_stream.engine.frame_cloud import CloudConfig, cloud_of
from spark3r_stream.export.model import ExportModel
from spark3r_stream.map.cloud import PointCloud


def dense_cloud(model: ExportModel, max_points: int) -> PointCloud:
    """At most `max_points`, the same share of each keyframe. Raises OutputError where a picture is missing."""
    parts = [
        keyframe_cloud(model, slot, max(1, max_points // len(model.keyframes))) for slot in range(len(model.keyframes))
    ]
    return PointCloud(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def keyframe_cloud(model: ExportModel, slot: int, max_points: int) -> PointCloud:
    """Points of one keyframe, in the map."""
    keyframe, picture = model.keyframes[slot], model.pictures[slot]
    hw = keyframe.depth.shape
    depth_from_picture = np.asarray(np.linalg.inv(keyframe.picture_from_depth), np.float64)
    image = np.stack([resampled(picture[..., c].astype(np.float32), depth_from_picture, hw) for c in range(3)], -1)
    points, colours, confidence = cloud_of(
        CloudConfig(max_points=max_points),
        np.clip(np.rint(image), 0, 255).astype(np.uint8),
        keyframe.depth * np.float32(keyframe.scale),
        keyframe.confidence,
        keyframe.depth_intrinsics,
        keyframe.world_from_camera,
    )
    return PointCloud(points, np.ascontiguousarray(colours[:, :3]), confidence.astype(np.float32))
