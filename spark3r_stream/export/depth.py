"""Depth and confidence of the keyframes: 16-bit PNG for tools that want pictures, npz for those that want numbers, EXR
for those of the film trade."""

from __future__ import annotations

import io
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spark3r_core.stream.keyframe_map import Keyframe
from spark3r_stream.export.folder import ExportFolder
from spark3r_stream.export.model import ExportModel, time_ns

FULL = 65535


def write_depth(model: ExportModel, folder: ExportFolder) -> None:
    """depth/<id>.png, confidence/<id>.png, depth/<id>.npz and depth.json, which has their units and cameras.

    Depth is z in the unit of the map, in a PNG `depth_unit` per step, 0 where unknown. Raises OutputError.
    """
    depths = [_in_the_map(keyframe) for keyframe in model.keyframes]
    farthest = max((float(depth[np.isfinite(depth)].max(initial=0.0)) for depth in depths), default=0.0)
    unit = max(farthest, 1e-9) / FULL
    frames = []
    for keyframe, depth in zip(model.keyframes, depths, strict=True):
        name = f"{keyframe.frame_id:06d}"
        known = np.isfinite(depth) & (depth > 0)
        steps = np.where(known, np.maximum(np.rint(np.where(known, depth, 0) / unit), 1), 0)
        folder.write(f"depth/{name}.png", _png(np.minimum(steps, FULL)))
        folder.write(f"confidence/{name}.png", _png(np.clip(np.rint(keyframe.confidence * FULL), 0, FULL)))
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            depth=depth,
            confidence=keyframe.confidence,
            intrinsics=keyframe.depth_intrinsics,
            world_from_camera=keyframe.world_from_camera,
        )
        folder.write(f"depth/{name}.npz", buffer.getvalue())
        frames.append(_facts(keyframe) | {"depth": f"depth/{name}.png", "confidence": f"confidence/{name}.png"})
    meta = {"depth_unit": unit, "confidence_unit": 1 / FULL, "lengths_in": "units of the map", "frames": frames}
    folder.write("depth.json", json.dumps(meta, indent=1) + "\n")


def write_exr(model: ExportModel, folder: ExportFolder) -> None:
    """depth/<id>.exr, float32 channels Z and confidence, and depth.json, which has their units and cameras.

    Z is depth in the unit of the map, 0 where unknown. Raises OutputError.
    """
    import OpenEXR

    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    frames = []
    with tempfile.TemporaryDirectory() as beside:  # the library writes to a path, and follows links there
        written = Path(beside) / "one.exr"
        for keyframe in model.keyframes:
            depth = _in_the_map(keyframe)
            known = np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(0))
            channels = {"Z": known, "confidence": keyframe.confidence.astype(np.float32)}
            name = f"depth/{keyframe.frame_id:06d}.exr"
            OpenEXR.File(header, channels).write(str(written))
            folder.write(name, written.read_bytes())
            frames.append(_facts(keyframe) | {"depth": name})
    folder.write("depth.json", json.dumps({"lengths_in": "units of the map", "frames": frames}, indent=1) + "\n")


def _in_the_map(keyframe: Keyframe) -> NDArray[np.float32]:
    """(h, w) its depth in the unit of the map."""
    return np.asarray(keyframe.depth * np.float32(keyframe.scale), np.float32)


def _facts(keyframe: Keyframe) -> dict[str, Any]:
    return {
        "frame_id": keyframe.frame_id,
        "time_ns": time_ns(keyframe),
        "intrinsics": keyframe.depth_intrinsics.tolist(),
        "world_from_camera": keyframe.world_from_camera.tolist(),
    }


def _png(values: np.ndarray) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(values.astype(np.uint16)).save(buffer, "PNG")
    return buffer.getvalue()
