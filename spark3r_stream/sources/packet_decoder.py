"""Recorded packets of one run of a stream, decoded as they were when they were recorded, without their container."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import av.error
import numpy as np

from spark3r_stream.errors import SourceError
from spark3r_stream.packets import InputPacket, StreamFormat
from spark3r_stream.recording.schema import MAX_PIXELS
from spark3r_stream.sources.codec import prepare_context
from spark3r_stream.sources.upright import UprightConverter


class PacketDecoder:
    """Software decoding on one thread, as in a run that is recorded: the same packets give the same pictures.

    first: the packet that begins the stream; it must carry its StreamFormat.
    Raises SourceError if this build of FFmpeg has no such decoder.
    """

    def __init__(self, first: InputPacket) -> None:
        assert first.stream is not None
        form = first.stream
        try:
            context: Any = av.codec.CodecContext.create(first.codec, "r")
            if context.type != "video":
                raise ValueError(f"it is a codec of {context.type}")
            context.options = {"max_pixels": str(MAX_PIXELS)}  # whatever the packets claim
            context.width, context.height = form.width, form.height
            if form.pixel_format:
                context.pix_fmt = form.pixel_format
            context.color_range, context.colorspace = form.color_range, form.colorspace
            if first.extradata:
                context.extradata = first.extradata
        except (av.error.FFmpegError, ValueError, OverflowError, TypeError) as error:
            raise SourceError(
                f"this build of FFmpeg cannot decode {first.codec!r} of {form.width}x{form.height}"
                f" {form.pixel_format}: {error}"
            ) from None
        prepare_context(context, single_thread=True, low_delay=form.low_delay)
        self._context = context
        self._converter = UprightConverter(first.display_matrix, _pixel_aspect(form))
        self._unshown: set[int] = set()
        self._next_number = 0

    def decode(self, packet: InputPacket | None) -> Iterator[tuple[int, Any]]:
        """(number, picture) of the undamaged pictures that this packet completes; None: what is still inside."""
        encoded = None
        if packet is not None:
            # by size and not from the bytes: only FFmpeg's own buffers have the zeros behind them that decoders read
            encoded = av.Packet(len(packet.data))
            encoded.update(packet.data)
            encoded.pts, encoded.dts = packet.pts, packet.dts
            encoded.is_keyframe = packet.is_keyframe  # PNG adds what is not marked as one to the picture before
            if packet.is_discarded and packet.pts is not None:
                self._unshown.add(packet.pts)
        try:
            pictures = self._context.decode(encoded)
        except (av.error.FFmpegError, ValueError, MemoryError):
            return  # it failed in the recorded run, too, and was counted there
        for picture in pictures:
            if picture.pts in self._unshown:  # with its container FFmpeg leaves it out by itself
                self._unshown.discard(picture.pts)
                continue
            number, self._next_number = self._next_number, self._next_number + 1
            if not picture.is_corrupt:
                self._converter.see(picture)
                yield number, picture

    def convert(self, picture: Any) -> np.ndarray:
        """(H, W, 3) uint8 RGB, upright; of the picture that `decode` gave last."""
        try:
            return self._converter.convert(picture)
        except (av.error.FFmpegError, ValueError, OverflowError, MemoryError) as error:
            raise SourceError(f"a picture of {picture.width}x{picture.height} cannot be shown: {error}") from None


def _pixel_aspect(form: StreamFormat) -> Fraction:
    return Fraction(max(1, form.pixel_aspect_numerator), max(1, form.pixel_aspect_denominator))
