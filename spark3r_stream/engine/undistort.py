"""Frames through the user's own camera model: rectified images and the pinhole camera they then have."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spark3r_core.errors import GeometryError
from spark3r_core.geometry.camera import Intrinsics
from spark3r_core.geometry.rectification import rectification_maps, rectified_camera
from spark3r_stream.wire.messages import CameraView

MAX_ASPECT_ERROR = 0.02  # a camera calibrated at 640x480 serves 1280x960, but not 1280x720, which is a crop of it
WORKING_SIDE = 1280  # longest side of a rectified image: twice of what features are looked for at (rootsift.py)
MOST_SHRINK = 2.0  # of the map from source to rectified image: beyond, pixels would be left out and not averaged


@dataclass(frozen=True)
class _Prepared:
    """maps: of cv2.remap; None: nothing is to be done. working: of the rectified image. published: see `seen_by`."""

    maps: tuple[np.ndarray, np.ndarray] | None
    working: CameraView
    published: CameraView


class Undistorter:
    """Callable: image (H, W, 3) uint8 → (rectified image, its camera).

    Frames of another size than the calibration's are taken as resized, if the aspect ratio is the same. One map leads
    from the source straight to the size that is worked at: at most `WORKING_SIDE`, but at least half of the source.
    """

    def __init__(self, camera: Intrinsics) -> None:
        self.camera = camera
        self._prepared: _Prepared | None = None

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, CameraView]:
        prepared = self._of(image.shape[1], image.shape[0])
        if prepared.maps is None:
            return image, prepared.working
        import cv2

        return cv2.remap(image, *prepared.maps, cv2.INTER_LINEAR), prepared.working

    def seen_by(self, width: int, height: int) -> CameraView:
        """The rectified camera at the size of the source image, with the lens: what is published of it."""
        return self._of(width, height).published

    def _of(self, width: int, height: int) -> _Prepared:
        """Raises GeometryError where images of this size are not those of the camera."""
        prepared = self._prepared  # the newest size only; two threads ask
        if prepared is None or (prepared.published.width, prepared.published.height) != (width, height):
            self._prepared = prepared = self._prepare(width, height)
        return prepared

    def _prepare(self, width: int, height: int) -> _Prepared:
        calibrated = self.camera.width / self.camera.height
        if abs(width / height / calibrated - 1) > MAX_ASPECT_ERROR:
            raise GeometryError(
                f"frames of {width}x{height} do not fit a camera calibrated at"
                f" {self.camera.width}x{self.camera.height}: the aspect ratio differs; give the calibration of this"
                " camera mode"
            )
        lens = self.camera.resized(width, height)
        if not lens.is_distorted:
            view = CameraView(lens.matrix, width, height)
            return _Prepared(None, view, view)
        rectified = rectified_camera(lens)
        published = CameraView(rectified.matrix, width, height, True, lens)
        shrink = max(1.0, min(MOST_SHRINK, max(width, height) / WORKING_SIDE))
        working = rectified.resized(round(width / shrink), round(height / shrink))
        view = CameraView(working.matrix, working.width, working.height, True, lens)
        return _Prepared(rectification_maps(lens, working), view, published)
