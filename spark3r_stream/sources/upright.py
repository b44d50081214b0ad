"""Decoded pictures as a player shows them: RGB, square pixels, turned as the display matrix says."""

from __future__ import annotations

from typing import Any

import av
import av.video.reformatter
import numpy as np

# What is beyond is a broken header, and would ask for pictures of any size.
MAX_STRETCH = 4


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


class UprightConverter:
    """Pictures of one stream as upright RGB. display_matrix: the last one seen, which holds until the next."""

    def __init__(self, display_matrix: tuple[int, ...] | None = None) -> None:
        self.display_matrix = display_matrix
        self._reformatter = av.video.reformatter.VideoReformatter()

    def see(self, picture: Any) -> None:
        """To be called for every undamaged picture, whether it is converted or not."""
        for item in picture.side_data:
            if item.type.name == "DISPLAYMATRIX":
                self.display_matrix = tuple(int(v) for v in np.frombuffer(bytes(item), dtype=np.int32)[:9])

    def convert(self, picture: Any) -> np.ndarray:
        """(H, W, 3) uint8."""
        rgb = self._reformatter.reformat(picture, format="rgb24").to_ndarray()
        return turn_upright(rgb, self.display_matrix)
