"""Packets of a container as they are recorded: what a decoder needs to make the same pictures of them again."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

from spark3r_stream.packets import InputPacket, PacketHook, StreamFormat
from spark3r_stream.sources.upright import UprightConverter


class PacketLog:
    """Hands packets to `on_packet` (None: nobody), in order.

    They are held until the first picture tells the display matrix (`converter`), which PyAV shows on pictures only.
    """

    def __init__(self, on_packet: PacketHook | None, epoch: int, converter: UprightConverter, low_delay: bool) -> None:
        self._on_packet = on_packet
        self._epoch = epoch
        self._converter = converter
        self._low_delay = low_delay
        self._held: list[InputPacket] | None = []

    def add(self, packet: Any, context: Any) -> None:
        """packet: PyAV's, before it is decoded by `context`."""
        if self._on_packet is None:
            return
        record = InputPacket(
            data=bytes(packet),
            pts=packet.pts,
            dts=packet.dts,
            time_base=Fraction(packet.time_base),
            is_keyframe=bool(packet.is_keyframe),
            codec=context.name,
            extradata=context.extradata or b"",
            display_matrix=self._converter.display_matrix,
            epoch=self._epoch,
            stream=StreamFormat(
                width=context.width,
                height=context.height,
                pixel_format=context.pix_fmt or "",
                color_range=int(context.color_range),
                colorspace=int(context.colorspace),
                low_delay=self._low_delay,
                pixel_aspect_numerator=self._converter.pixel_aspect.numerator,
                pixel_aspect_denominator=self._converter.pixel_aspect.denominator,
            ),
            is_discarded=bool(packet.is_discard),
        )
        if self._held is None:
            self._on_packet(record)
        else:
            self._held.append(record)

    def picture_came(self) -> None:
        """The converter has seen a picture: what was held goes on. Further calls do nothing."""
        held, self._held = self._held, None
        for record in held or ():
            assert self._on_packet is not None
            self._on_packet(replace(record, display_matrix=self._converter.display_matrix))
