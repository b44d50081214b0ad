"""A keyframe's picture as the map keeps it: a JPEG of the whole picture, bounded in bytes."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

MAX_BYTES = 1 << 20  # a 12 megapixel picture at a quality of about 80
QUALITIES = (95, 90, 80, 65, 50, 30, 10)  # of which the first that fits is taken


def encoded(picture: Pixels, max_bytes: int = MAX_BYTES) -> bytes:
    """An (H, W, 3) RGB picture as a JPEG of its own size; the same bytes each time. Empty if no quality fits."""
    pixels = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    for quality in QUALITIES:
        done, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
        if done and data.nbytes <= max_bytes:
            return data.tobytes()
    return b""


def decoded(data: bytes) -> Pixels:
    """(H, W, 3) uint8 RGB. For pictures that `encoded` made, or whose size was looked at. Raises ValueError."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if pixels is None:
        raise ValueError("the picture of a keyframe is no JPEG that can be decoded")
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)
