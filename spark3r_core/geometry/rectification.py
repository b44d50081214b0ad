"""The pinhole camera that a lens becomes, and the one map by which its images do. Needs OpenCV for radial-tangential.

A fisheye sees more than a pinhole can show: what lies further than half of `MOST_FOV_DEG` to the side is cut off.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from spark3r_core.errors import GeometryError
from spark3r_core.geometry.camera import Intrinsics
from spark3r_core.geometry.rotation import Array

MOST_FOV_DEG = 100.0  # of the longer side; beyond, a pinhole spends its pixels on the rim, and networks never saw such
_BORDER = 33  # directions along each side of the image that have to exist in the source
_LEAST_FOV_DEG = 5.0
Map = NDArray[np.float32]


def rectified_camera(camera: Intrinsics) -> Intrinsics:
    """A pinhole of the same image size, all of whose pixels the lens has seen: no black border.

    Raises GeometryError for a lens that images no useful part of the scene (coefficients of another model, mostly).
    """
    if not camera.is_distorted:
        return camera.pinhole()
    return _of_fisheye(camera) if camera.fisheye else _of_radial_tangential(camera)


def rectification_maps(camera: Intrinsics, rectified: Intrinsics) -> tuple[Map, Map]:
    """Maps for `cv2.remap(image, map_x, map_y, ...)`, each (H, W) float32 of the rectified image, straight to its size.

    rectified: a pinhole; of any size. camera: that of the source image.
    """
    columns = (np.arange(rectified.width) + 0.5 - rectified.cx) / rectified.fx
    rows = (np.arange(rectified.height) + 0.5 - rectified.cy) / rectified.fy
    rays = np.ones((rectified.height, rectified.width, 3))
    rays[..., 0], rays[..., 1] = columns, rows[:, None]
    source = camera.project(rays) - 0.5  # OpenCV's pixel centres are integers
    return np.asarray(source[..., 0], np.float32), np.asarray(source[..., 1], np.float32)


def _of_radial_tangential(camera: Intrinsics) -> Intrinsics:
    import cv2  # heavy, and not part of a subscriber's installation

    k = camera.matrix
    k[:2, 2] -= 0.5
    size = (camera.width, camera.height)
    optimal, _ = cv2.getOptimalNewCameraMatrix(k, np.array(camera.distortion), size, 0.0, size)
    new_k = np.array(optimal, np.float64)
    new_k[:2, 2] += np.float64(0.5)
    rectified = Intrinsics.from_matrix(new_k, *size)
    if _folds(camera, rectified):
        raise GeometryError(
            f"this lens cannot be undistorted at {camera.width}x{camera.height}: its coefficients"
            f" {list(camera.distortion)} fold the image; calibrate anew, or say the model they belong to"
        )
    return rectified


def _of_fisheye(camera: Intrinsics) -> Intrinsics:
    """Square pixels, the axis in the middle, as wide as the source and `MOST_FOV_DEG` allow."""
    longer = max(camera.width, camera.height)
    low, high = math.radians(_LEAST_FOV_DEG / 2), math.radians(MOST_FOV_DEG / 2)
    if not _is_seen(camera, _centred(camera, longer / 2 / math.tan(low))):
        raise GeometryError(
            f"this fisheye sees less than {_LEAST_FOV_DEG:g} degrees of its image without a border;"
            " its centre or its coefficients are wrong"
        )
    for _ in range(40):
        middle = (low + high) / 2
        seen = _is_seen(camera, _centred(camera, longer / 2 / math.tan(middle)))
        low, high = (middle, high) if seen else (low, middle)
    return _centred(camera, longer / 2 / math.tan(low))


def _centred(camera: Intrinsics, focal: float) -> Intrinsics:
    return Intrinsics(focal, focal, camera.width / 2, camera.height / 2, camera.width, camera.height)


def _is_seen(camera: Intrinsics, rectified: Intrinsics) -> bool:
    """Whether the border of the rectified image lies inside the source image, and the lens does not fold before it."""
    pixels = camera.project(_border_rays(rectified))
    inside = ((pixels >= 0) & (pixels <= [camera.width, camera.height])).all()
    return bool(inside) and not _folds(camera, rectified)


def _folds(camera: Intrinsics, rectified: Intrinsics) -> bool:
    """Whether the lens images rays further out further in, somewhere on the way to the border."""
    outwards = np.linspace(0.1, 1.0, 19)[:, None, None] * np.array([1.0, 1.0, 0.0]) + np.array([0.0, 0.0, 1.0])
    pixels = camera.project(_border_rays(rectified) * outwards)
    distance = np.linalg.norm((pixels - [camera.cx, camera.cy]) / [camera.fx, camera.fy], axis=-1)
    return bool((np.diff(distance, axis=0) <= 0).any())


def _border_rays(rectified: Intrinsics) -> Array:
    """(N, 3) with z = 1, through the edges of the image."""
    across, down = np.linspace(0, rectified.width, _BORDER), np.linspace(0, rectified.height, _BORDER)
    sides = [(across, 0 * across), (across, 0 * across + rectified.height)]
    sides += [(0 * down, down), (0 * down + rectified.width, down)]
    border = np.concatenate([np.stack(side, -1) for side in sides])
    return rectified.unproject(border, np.ones(len(border)))
