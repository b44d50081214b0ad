"""One depth image as a message: three parts, the topic, a header in JSON, and a PNG of 16 bits and one channel.

    {"time": 1700000000.25, "width": 640, "height": 480, "scale": 1000}

time: Unix time in seconds, or in nanoseconds where it is a whole number from 10^11 on. scale: steps per metre, where it
is not what the receiver was told. Whoever sends may be anybody: sizes are compared before a pixel is unpacked.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from spark3r_stream.plain_text import cleaned
from spark3r_stream.rules import integer, number, read_json
from spark3r_stream.sensors.lines import parse_time

TOPIC = "/depth_image/"
MAX_HEADER_BYTES = 512
MAX_SIDE, MAX_PIXELS = 8192, 8_000_000
MAX_PNG_BYTES = 2 * MAX_PIXELS + (1 << 20)  # what does not get smaller at all
LEAST_STEPS, MOST_STEPS = 1.0, 1e5  # per metre
_PNG_BEGINS = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
_SIZE = struct.Struct(">IIBB")  # what follows: width, height, bits, kind of pixels
_BITS, _GREY = 16, 0


@dataclass(frozen=True)
class DepthMessage:
    """png: of width x height pixels, as far as its own header says so; not unpacked yet. steps_per_metre: None where
    the message does not say."""

    time_ns: int
    width: int
    height: int
    png: bytes
    steps_per_metre: float | None = None


def parsed(parts: Sequence[bytes]) -> DepthMessage:
    """Raises ValueError saying what is wrong."""
    if len(parts) != 3:
        raise ValueError(f"a message of {len(parts)} parts")
    _, header, png = parts
    if len(header) > MAX_HEADER_BYTES:
        raise ValueError(f"a header of {len(header)} bytes, expected at most {MAX_HEADER_BYTES}")
    found = read_json(header.decode("utf-8"))
    if not isinstance(found, dict):
        raise ValueError("a header that is no JSON object")
    width, height = _side(found, "width"), _side(found, "height")
    steps = found.get("scale")
    if width * height > MAX_PIXELS:
        raise ValueError(f"{width}x{height} pixels, expected at most {MAX_PIXELS}")
    if steps is not None and not number(LEAST_STEPS, MOST_STEPS).holds(steps):
        raise ValueError(f"scale {cleaned(steps, 40)}, expected {LEAST_STEPS:g} to {MOST_STEPS:g} steps per metre")
    time = found.get("time")
    if isinstance(time, bool) or not isinstance(time, (int, float)):
        raise ValueError("no time in the header")
    if len(png) > MAX_PNG_BYTES:
        raise ValueError(f"a PNG of {len(png)} bytes, expected at most {MAX_PNG_BYTES}")
    _check_png(png, width, height)
    return DepthMessage(parse_time(repr(time)), width, height, png, None if steps is None else float(steps))


def unpacked(message: DepthMessage, steps_per_metre: float) -> NDArray[np.float32]:
    """(H, W) metres, 0 where unknown. steps_per_metre: where the message does not say. Raises ValueError."""
    try:
        with Image.open(BytesIO(message.png), formats=["PNG"]) as image:
            values = np.asarray(image)
    except Exception as error:  # Pillow raises nearly anything for what is broken
        raise ValueError(f"a PNG that cannot be read: {cleaned(error)}") from None
    if values.shape != (message.height, message.width):
        raise ValueError(f"a PNG of shape {values.shape}, expected {message.height} rows of {message.width} pixels")
    steps = steps_per_metre if message.steps_per_metre is None else message.steps_per_metre
    return values.astype(np.float32) / np.float32(steps)


def _side(header: dict[str, Any], name: str) -> int:
    value: Any = header.get(name)
    if not integer(1, MAX_SIDE).holds(value):
        raise ValueError(f"{name} {cleaned(value, 40)}, expected 1 to {MAX_SIDE}")
    return int(value)


def _check_png(png: bytes, width: int, height: int) -> None:
    begins = len(_PNG_BEGINS)
    if not png.startswith(_PNG_BEGINS) or len(png) < begins + _SIZE.size:
        raise ValueError("a third part that is no PNG")
    found = _SIZE.unpack_from(png, begins)
    if found != (width, height, _BITS, _GREY):
        kind = "grey" if found[3] == _GREY else "coloured"
        raise ValueError(
            f"a {kind} PNG of {found[0]}x{found[1]} pixels with {found[2]} bits, expected one channel of {_BITS} bits,"
            f" {width}x{height} as its header says"
        )
