"""Frames through the user's own camera model: undistorted images and the pinhole camera they then have."""

from __future__ import annotations

import numpy as np

from spark3r_core.errors import GeometryError
from spark3r_core.geometry.camera import Intrinsics, undistortion_maps
from spark3r_stream.wire.messages import CameraView

MAX_ASPECT_ERROR = 0.02  # a camera calibrated at 640x480 serves 1280x960, but not 1280x720, which is a crop of it


class Undistorter:
    """Callable: image (H, W, 3) uint8 → (undistorted image of the same size, its camera).

    Frames of another size than the calibration's are taken as resized, if the aspect ratio is the same.
    """

    def __init__(self, camera: Intrinsics) -> None:
        self.camera = camera
        self._size: tuple[int, int] | None = None
        self._maps: tuple[np.ndarray, np.ndarray] | None = None
        self._view: CameraView | None = None

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, CameraView]:
        height, width = image.shape[:2]
        if self._size != (width, height):
            self._prepare(width, height)
        assert self._view is not None
        if self._maps is None:
            return image, self._view
        import cv2

        return cv2.remap(image, self._maps[0], self._maps[1], cv2.INTER_LINEAR), self._view

    def _prepare(self, width: int, height: int) -> None:
        calibrated = self.camera.width / self.camera.height
        if abs(width / height / calibrated - 1) > MAX_ASPECT_ERROR:
            raise GeometryError(
                f"frames of {width}x{height} do not fit intrinsics made for {self.camera.width}x{self.camera.height}: "
                "the aspect ratio differs; give intrinsics of this camera mode"
            )
        camera = self.camera.resized(width, height)
        self._maps = None
        if camera.is_distorted:
            map_x, map_y, camera = undistortion_maps(camera)
            self._maps = (map_x, map_y)
        self._view = CameraView(camera.matrix, width, height)
        self._size = (width, height)
