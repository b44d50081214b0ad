"""What happens to a picture before it is tracked: undistorted, made grey and small. It needs no frame before it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from spark3r_core.errors import Spark3rError
from spark3r_core.geometry.camera import Intrinsics
from spark3r_core.metric.tags import TagSighting
from spark3r_core.photometric.levels import grey_levels, grey_of
from spark3r_core.stream.camera_sizes import CameraSizes
from spark3r_core.stream.reference import Reference
from spark3r_core.stream.tracked_frame import TrackedFrame
from spark3r_stream.engine.mapper_host import MapperHost
from spark3r_stream.engine.picture import jpeg_of
from spark3r_stream.engine.tracking_step import Prepared, focal_std
from spark3r_stream.engine.undistort import Undistorter
from spark3r_stream.frame import Frame
from spark3r_stream.wire.messages import CameraView

LookForTags = Callable[[int, NDArray[np.uint8]], tuple[TagSighting, ...]]


class FramePreparation:
    """Undistorts a picture and makes its pyramid: off the tracking thread, one frame at a time.

    host: for what the model wants. long_side, camera: see `TrackingReconstructor`. pictures: keep each picture as a
    JPEG, to be published.
    """

    def __init__(
        self, host: MapperHost, long_side: int | None, camera: Intrinsics | None, look_for_tags: LookForTags
    ) -> None:
        self.pictures = False
        self._host = host
        self._long_side = long_side
        self._undistorter = Undistorter(camera) if camera is not None else None
        self._look_for_tags = look_for_tags
        self._fitted: CameraSizes | None = None  # of the newest picture

    def __call__(self, frame: Frame) -> Frame:
        """The frame with what tracking needs of it, or with what went wrong."""
        picture, view = frame.image, None
        try:
            if self._undistorter is not None:
                picture, view = self._undistorter(frame.image)
            hw = picture.shape[:2]
            if self._fitted is None or self._fitted.picture_hw != hw:
                self._fitted = self.sizes_of(hw)
            grey = grey_of(self._fitted.for_tracker(picture)[0])
            pyramid = grey_levels(grey)
        except Spark3rError as error:
            return replace(frame, prepared=error)
        jpeg = jpeg_of(picture) if self.pictures else b""
        tags = self._look_for_tags(frame.frame_id, picture)
        return replace(frame, prepared=Prepared(picture, view, self._fitted, grey, pyramid, jpeg, tags))

    def sizes_of(self, picture_hw: tuple[int, int]) -> CameraSizes:
        return CameraSizes.fit(picture_hw, self._host.facts, self._long_side)

    def source_camera(
        self, frame: Frame, tracked: TrackedFrame, sizes: CameraSizes, reference: Reference
    ) -> CameraView:
        """The camera of a frame's source image: as the user gave it, or as tracking has it now."""
        height, width = frame.image.shape[:2]
        if self._undistorter is not None:
            return self._undistorter.seen_by(width, height)
        matrix = np.linalg.inv(sizes.tracker_map) @ tracked.camera
        return CameraView(matrix, width, height, focal_std=focal_std(reference.focal_std))
