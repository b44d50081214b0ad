"""Decoded pictures as a player shows them: RGB, square pixels, turned as the display matrix says."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
import av.video.reformatter
import numpy as np

# What is beyond is a broken header, and would ask for pictures of any size.
MAX_STRETCH = 4
SQUARE = Fraction(1)


def turn_upright(image: np.ndarray, display_matrix: tuple[int, ...] | None) -> np.ndarray:
    """Apply a display matrix to a decoded picture: rotation by the nearest multiple of 90° and mirroring.

    image: (H, W, 3). display_matrix: nine int32 [a b u c d v x y w] with (p, q) → (a p + c q, b p + d q) (ISO/IEC
    14496-12, 8.2.2), None for identity. Returns (H, W, 3) or (W, H, 3), contiguous.
    """
    if display_matrix is None:
        return np.ascontiguousarray(image)
    a, b, c, d = display_matrix[0], display_matrix[1], display_matrix[3], display_matrix[4]
    if abs(a) + abs(d) >= abs(b) + abs(c):
        flip_columns, flip_rows = a < 0, d < 0
    else:  # stored columns become displayed rows
        image = image.swapaxes(0, 1)
        flip_columns, flip_rows = c < 0, b < 0
    image = image[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]
    return np.ascontiguousarray(image)


def shown_size(width: int, height: int, pixel_aspect: Fraction) -> tuple[int, int]:
    """(width, height) of a stored picture with square pixels: one side is stretched, none is shrunk.

    pixel_aspect: width of a stored pixel over its height. What no camera has is taken as square.
    """
    if not Fraction(1, MAX_STRETCH) <= pixel_aspect <= MAX_STRETCH:
        return width, height
    if pixel_aspect >= 1:
        return round(width * pixel_aspect), height
    return width, round(height / pixel_aspect)


class UprightConverter:
    """Pictures of one stream as upright RGB with square pixels. display_matrix: the last one seen, which holds until
    the next. pixel_aspect: width of a stored pixel over its height."""

    def __init__(self, display_matrix: tuple[int, ...] | None = None, pixel_aspect: Fraction = SQUARE) -> None:
        self.display_matrix = display_matrix
        self.pixel_aspect = pixel_aspect
        self._reformatter = av.video.reformatter.VideoReformatter()

    def see(self, picture: Any) -> None:
        """To be called for every undamaged picture, whether it is converted or not."""
        for item in picture.side_data:
            if item.type.name == "DISPLAYMATRIX":
                self.display_matrix = tuple(int(v) for v in np.frombuffer(bytes(item), dtype=np.int32)[:9])

    def convert(self, picture: Any) -> np.ndarray:
        """(H, W, 3) uint8."""
        width, height = shown_size(picture.width, picture.height, self.pixel_aspect)
        rgb = self._reformatter.reformat(picture, width, height, format="rgb24").to_ndarray()
        return turn_upright(rgb, self.display_matrix)
