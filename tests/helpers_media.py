"""Real media files for source tests, written by PyAV and Pillow."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def quadrants(width: int, height: int) -> np.ndarray:
    """(H, W, 3) uint8: red top left, green top right, blue bottom left, white bottom right."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2] = RED
    image[: height // 2, width // 2 :] = GREEN
    image[height // 2 :, : width // 2] = BLUE
    image[height // 2 :, width // 2 :] = WHITE
    return image


def corners(image: np.ndarray) -> list[tuple[int, int, int]]:
    """Colours in the middle of the four quadrants, each channel rounded to 0 or 255: TL, TR, BL, BR."""
    height, width = image.shape[:2]
    picked = [image[y * height // 4, x * width // 4] for y, x in ((1, 1), (1, 3), (3, 1), (3, 3))]
    return [tuple(255 if int(c) > 127 else 0 for c in colour) for colour in picked]  # type: ignore[misc]


def write_video(
    path: Path,
    images: list[np.ndarray],
    *,
    fps: int = 30,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    turn: tuple[int, int, int, int] | None = None,
    pts_ms: list[int] | None = None,
    gop: int = 12,
    coder: dict[str, str] | None = None,
) -> Path:
    """Write `images` (all of one size) as a video.

    turn: (a, b, c, d) of the display matrix, mp4 only. pts_ms: presentation times instead of 1/fps steps. coder:
    options of the encoder.
    """
    # the index in front, so that the file also plays from a server that cannot seek
    with av.open(str(path), "w", options={"movflags": "faststart"} if path.suffix == ".mp4" else {}) as container:
        stream = container.add_stream(codec, rate=fps, options=coder or {})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pix_fmt
        stream.codec_context.gop_size = gop
        if pts_ms is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for index, image in enumerate(images):
            picture = av.VideoFrame.from_ndarray(image, format="rgb24")
            if pts_ms is not None:
                picture.pts, picture.time_base = pts_ms[index], Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    if turn is not None:
        _set_display_matrix(path, turn)
    return path


def _set_display_matrix(path: Path, turn: tuple[int, int, int, int]) -> None:
    """Overwrite the matrix of the first track header (ISO/IEC 14496-12, 8.3.2, version 0), 40 bytes behind its type."""
    a, b, c, d = (value << 16 for value in turn)
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4 + 40
    data[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


def moving_images(count: int, width: int, height: int, seed: int = 0) -> list[np.ndarray]:
    """`count` different, compressible images (a bright square that moves over a noisy background)."""
    background = np.random.default_rng(seed).integers(0, 100, (height, width, 3), dtype=np.uint8)
    result = []
    for index in range(count):
        image = background.copy()
        x, y = (index * 7) % max(1, width - 16), (index * 5) % max(1, height - 16)
        image[y : y + 16, x : x + 16] = 240
        result.append(image)
    return result
