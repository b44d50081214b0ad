"""Compressed input exactly as a source received it: what a recording keeps and a decoder takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class StreamFormat:
    """What the container says about a stream and its packets do not: a decoder without the container needs it.

    pixel_format: FFmpeg's name, "" if unknown. color_range, colorspace: FFmpeg's numbers.
    low_delay: pictures were handed out as soon as they were complete, in the order of decoding.
    pixel_aspect: width of a pixel over its height; pictures are stretched by it.
    """

    width: int
    height: int
    pixel_format: str
    color_range: int
    colorspace: int
    low_delay: bool
    pixel_aspect_numerator: int = 1
    pixel_aspect_denominator: int = 1


@dataclass(frozen=True)
class InputPacket:
    """One compressed unit exactly as received, for recording the input.

    pts and dts count in `time_base` seconds, None if absent. codec: FFmpeg's name ("h264"), or the lower-case file
    suffix ("jpg") for image folders. extradata: the codec's out-of-band header, b"" if none. display_matrix: the nine
    int32 of the container's display matrix, None when upright. epoch as in Frame. stream: None for an image file.
    is_discarded: decoded for the sake of others, never shown (before the start of an edit list).
    """

    data: bytes
    pts: int | None
    dts: int | None
    time_base: Fraction
    is_keyframe: bool
    codec: str
    extradata: bytes
    display_matrix: tuple[int, ...] | None
    epoch: int
    stream: StreamFormat | None = None
    is_discarded: bool = False

    @staticmethod
    def of_picture(data: bytes, codec: str, time_ns: int) -> InputPacket:
        """A picture that is a file of its own, upright."""
        return InputPacket(data, time_ns, time_ns, Fraction(1, 10**9), True, codec, b"", None, 0)


PacketHook = Callable[[InputPacket], None]
