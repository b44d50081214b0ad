"""intrinsics.json: the camera of the source images, in the format `read_camera` and `--camera` take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from spark3r_core.geometry.camera import Intrinsics
from spark3r_core.geometry.camera_files import camera_as_json
from spark3r_stream.outputs.json_files import write_json
from spark3r_stream.wire.messages import CameraView


def median_camera(views: Sequence[CameraView]) -> Intrinsics:
    """Median of each number over the views that share the newest image size. Needs at least one view."""
    newest = views[-1]
    same = [view.matrix for view in views if (view.width, view.height) == (newest.width, newest.height)]
    return Intrinsics.from_matrix(np.median(same, axis=0), newest.width, newest.height)


def write_intrinsics(path: str | Path, views: Sequence[CameraView]) -> None:
    """The user's lens as it was given, with the rectified camera that depth and points belong to. Where there is none,
    the median camera, and how far the single frames lie apart (5 % and 95 % of fx): a still zoom should not vary;
    focal_std is the relative standard deviation that the last one was published with."""
    lens, median = views[-1].lens, median_camera(views)
    content = camera_as_json(lens or replace(median, distortion=(0.0,) * 5)) | {"frames": len(views)}
    if lens is None:
        low, high = np.quantile([view.matrix[0, 0] for view in views], [0.05, 0.95])
        content |= {name: round(content[name], 4) for name in ("fx", "fy", "cx", "cy")}
        if views[-1].focal_std is not None:
            content["focal_std"] = float(f"{views[-1].focal_std:.3g}")
        content["fx_range_5_95_percent"] = [round(float(low), 4), round(float(high), 4)]
    else:
        content["rectified"] = {name: getattr(median, name) for name in ("width", "height", "fx", "fy", "cx", "cy")}
    write_json(path, content)
