"""The picture of a keyframe, as far as its published points show it: no picture itself is on the wire."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry import se3
from spark3r_stream.wire.messages import CameraView

_MOST_PIXELS = 2_000_000  # a camera comes from the publisher, and may claim any size
_NOTHING = (26, 29, 36)


class KeyframePicture(NamedTuple):
    """submap_from_camera: (4, 4), where the keyframe is; camera: of the picture. image: (h, w, 3) uint8, dark where no
    point was published."""

    frame_id: int
    captured_ns: int
    submap: int
    submap_from_camera: NDArray[np.float64]
    camera: CameraView
    image: NDArray[np.uint8]


def picture_of_points(
    points: NDArray, colours: NDArray, camera: CameraView, world_from_camera: NDArray[np.float64]
) -> NDArray[np.uint8] | None:
    """Each point's colour at the pixel it was made from: (h, w, 3); None for a camera too large to be drawn.

    points: (n, 3) in the world; colours: (n, 3 or more) uint8. A pixel's centre is at integer + 0.5.
    """
    height, width = camera.height, camera.width
    if not 0 < height * width <= _MOST_PIXELS:
        return None
    image = np.full((height, width, 3), _NOTHING, np.uint8)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        rays = se3.transform_points(se3.invert(world_from_camera), np.asarray(points, np.float64)) @ camera.matrix.T
        pixels = rays[:, :2] / rays[:, 2:]
        inside = (rays[:, 2] > 0) & np.all((pixels >= 0) & (pixels < (width, height)), axis=1)
    column, row = pixels[inside].astype(np.int64).T
    drawn = np.zeros((height, width), bool)
    drawn[row, column] = True
    image[row, column] = np.asarray(colours)[inside, :3]
    # Of a large depth map only some points are published, in even steps: the pixels between two take one's colour.
    between = np.zeros_like(drawn)
    between[:, 1:-1] = ~drawn[:, 1:-1] & drawn[:, :-2] & drawn[:, 2:]
    row, column = np.nonzero(between)
    image[row, column] = image[row, column - 1]
    return image
