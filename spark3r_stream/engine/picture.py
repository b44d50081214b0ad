"""A frame's picture as it is published on /image/."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

QUALITY = 80  # about 40 kB for 640x480; more is hardly seen


def jpeg_of(picture: NDArray[np.uint8]) -> bytes:
    """An (H, W, 3) RGB picture as a JPEG of its own size; empty if it is larger than JPEG allows."""
    done, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return data.tobytes() if done else b""
