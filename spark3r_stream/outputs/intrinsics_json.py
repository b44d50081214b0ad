"""intrinsics.json: the camera of the source images, in the format `read_intrinsics` and `--intrinsics` take."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from spark3r_core.geometry.camera import Intrinsics
from spark3r_stream.outputs.json_files import write_json
from spark3r_stream.wire.messages import CameraView


def median_camera(views: Sequence[CameraView]) -> Intrinsics:
    """Median of each number over the views that share the newest image size. Needs at least one view."""
    newest = views[-1]
    same = [view.matrix for view in views if (view.width, view.height) == (newest.width, newest.height)]
    return Intrinsics.from_matrix(np.median(same, axis=0), newest.width, newest.height)


def write_intrinsics(path: str | Path, views: Sequence[CameraView]) -> None:
    """The median camera, and how far the single frames lie apart (5 % and 95 % of fx): a still zoom should not vary."""
    camera = median_camera(views)
    low, high = np.quantile([view.matrix[0, 0] for view in views], [0.05, 0.95])
    write_json(
        path,
        {
            "width": camera.width,
            "height": camera.height,
            "fx": round(camera.fx, 4),
            "fy": round(camera.fy, 4),
            "cx": round(camera.cx, 4),
            "cy": round(camera.cy, 4),
            "distortion_model": "opencv k1 k2 p1 p2 k3",
            "distortion": [0.0] * 5,
            "pixel_centres": "integer + 0.5",
            "frames": len(views),
            "fx_range_5_95_percent": [round(float(low), 4), round(float(high), 4)],
        },
    )
