"""Depth images of a sensor beside the camera: a folder of 16-bit PNGs, each named by the number of its picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spark3r_core.metric.sensor_depth import SensorDepth
from spark3r_stream.errors import SensorError
from spark3r_stream.frame import Frame

MOST_ASPECT = 0.02  # by which the shape of a depth image may differ from its picture's


def has_shape_of(size: tuple[int, int], width: int, height: int) -> bool:
    """Whether a depth image can be registered to a picture of this size, (width, height)."""
    return abs(width / height / (size[0] / size[1]) - 1) <= MOST_ASPECT


class DepthImages:
    """000045.png belongs to picture 45, counted from 0 as the source hands them out; pictures without one are no fault.

    steps_per_metre: of the values; 1000 are millimetres. 0 is unknown.
    Raises SensorError for a folder without such images, and one whose first image is none.
    """

    def __init__(self, folder: Path, steps_per_metre: float = 1000.0) -> None:
        self._folder, self._steps = folder, steps_per_metre
        try:
            files = [path for path in folder.iterdir() if path.suffix.lower() == ".png" and path.stem.isdigit()]
        except OSError as error:
            raise SensorError(f"cannot read the depth images in {folder}: {error.strerror}") from None
        self._files = {int(path.stem): path for path in files}
        if not self._files:
            raise SensorError(
                f"{folder} has no depth images; expected 16-bit PNGs named by the number of their picture: 000045.png"
            )
        self._read(self._files[min(self._files)])

    def of(self, frame: Frame, size: tuple[int, int]) -> SensorDepth | None:
        """Of this frame; None where its picture has none. size: (width, height) of the picture.

        Raises SensorError for a file that is no depth image, or of another shape than the picture.
        """
        path = self._files.get(frame.picture_number)
        if path is None:
            return None
        depth_m = self._read(path)
        height, width = depth_m.shape
        if not has_shape_of(size, width, height):
            raise SensorError(
                f"{path} has {width}x{height} pixels, its picture {size[0]}x{size[1]}: depth has to be registered to"
                " the picture"
            )
        return SensorDepth(frame.frame_id, depth_m)

    def close(self) -> None:
        pass

    def _read(self, path: Path) -> NDArray[np.float32]:
        import cv2

        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if image is None or image.ndim != 2 or image.dtype != np.uint16:
            found = "no image" if image is None else f"{image.dtype} of shape {image.shape}"
            raise SensorError(f"{path} is {found}; expected a PNG of 16 bits and one channel")
        return np.asarray(image, np.float32) / np.float32(self._steps)
