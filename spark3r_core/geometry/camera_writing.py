"""A camera as a file of another tool."""

from __future__ import annotations

from collections.abc import Sequence

from spark3r_core.geometry.camera import Intrinsics
from spark3r_core.geometry.camera_forms import CENTRE


def opencv_yaml(camera: Intrinsics) -> str:
    """As cv2.FileStorage writes it and OpenCV's samples read it; `camera_files.read_camera` too. Pixel centres are
    integers there."""
    k = [camera.fx, 0.0, camera.cx - CENTRE, 0.0, camera.fy, camera.cy - CENTRE, 0.0, 0.0, 1.0]
    return (
        "%YAML:1.0\n---\n"
        f"image_width: {camera.width}\nimage_height: {camera.height}\nfisheye_model: {int(camera.fisheye)}\n"
        + _matrix("camera_matrix", 3, 3, k)
        + _matrix("distortion_coefficients", len(camera.distortion), 1, camera.distortion)
    )


def _matrix(name: str, rows: int, columns: int, numbers: Sequence[float]) -> str:
    data = ", ".join(repr(float(number)) for number in numbers)
    return f"{name}: !!opencv-matrix\n   rows: {rows}\n   cols: {columns}\n   dt: d\n   data: [ {data} ]\n"
