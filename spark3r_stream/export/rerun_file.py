"""A map as a recording of rerun (`.rrd`): keyframes with pictures, depth and points over time, and the path."""

from __future__ import annotations

import uuid
from typing import Any

import numpy as np

from spark3r_core.stream.keyframe_map import Keyframe
from spark3r_stream.errors import OutputError
from spark3r_stream.export.dense import keyframe_cloud
from spark3r_stream.export.folder import ExportFolder
from spark3r_stream.export.model import ExportModel

TIMELINES = ("time", "frame")


def write_rrd(model: ExportModel, folder: ExportFolder, max_points: int) -> None:
    """map.rrd. World and cameras have OpenCV's axes, x right, y down. max_points: of all clouds.

    Raises OutputError if a picture is missing or the disk refuses.
    """
    import rerun as rr

    path = folder.place("map.rrd")
    folder.write("map.rrd", b"")  # what must not be replaced is refused here, and not by the library
    recording = rr.RecordingStream("spark3r", recording_id=_identity(model), send_properties=False)
    try:
        recording.save(path)
        _log(rr, recording, model, max_points)
        recording.flush()
    except (OSError, RuntimeError) as error:
        raise OutputError(f"cannot write {path}: {error}") from None
    finally:
        recording.disconnect()


def _log(rr: Any, recording: Any, model: ExportModel, max_points: int) -> None:
    height, width = model.world.picture_hw
    each = max(1, max_points // len(model.keyframes))
    recording.log("world", rr.ViewCoordinates.RIGHT_HAND_Y_DOWN, static=True)
    centres = np.stack([keyframe.world_from_camera[:3, 3] for keyframe in model.keyframes])
    recording.log("world/path", rr.LineStrips3D([centres.astype(np.float32)]), static=True)
    sparse = model.points
    recording.log(
        "world/tracks", rr.Points3D(sparse.places.astype(np.float32), colors=model.point_colours), static=True
    )
    for slot, keyframe in enumerate(model.keyframes):
        recording.set_time(TIMELINES[0], duration=keyframe.time_s)
        recording.set_time(TIMELINES[1], sequence=keyframe.frame_id)
        pose = keyframe.world_from_camera
        recording.log("world/camera", rr.Transform3D(translation=pose[:3, 3], mat3x3=pose[:3, :3]))
        pinhole = rr.Pinhole(image_from_camera=model.camera, resolution=[width, height])
        recording.log("world/camera/picture", pinhole)
        recording.log("world/camera/picture", rr.EncodedImage(contents=keyframe.picture, media_type="image/jpeg"))
        recording.log("world/camera/depth", _depth_camera(rr, keyframe))
        recording.log("world/camera/depth", _depth(rr, keyframe))
        cloud = keyframe_cloud(model, slot, each)
        recording.log(f"world/points/{keyframe.frame_id:06d}", rr.Points3D(cloud.points, colors=cloud.colours))


def _depth_camera(rr: Any, keyframe: Keyframe) -> Any:
    height, width = keyframe.depth.shape
    return rr.Pinhole(image_from_camera=keyframe.depth_intrinsics, resolution=[width, height])


def _depth(rr: Any, keyframe: Keyframe) -> Any:
    """z in units of the map, in the colours of its middle nine tenths; 0 where unknown, which rerun leaves out."""
    depth = keyframe.depth * np.float32(keyframe.scale)
    known = np.isfinite(depth) & (depth > 0)
    low, high = np.percentile(depth[known], [5, 95]) if known.any() else (0.0, 1.0)
    return rr.DepthImage(np.where(known, depth, np.float32(0)), meter=1.0, depth_range=[low, high])


def _identity(model: ExportModel) -> uuid.UUID:
    """The same for the same keyframes: two exports of one map are one recording to the viewer."""
    return uuid.uuid5(uuid.NAMESPACE_OID, " ".join(map(str, model.world.order)))
