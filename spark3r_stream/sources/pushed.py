"""Frames that a program hands over itself, one at a time: no thread reads this source."""

from __future__ import annotations

import io

import numpy as np

from spark3r_stream.errors import EndOfStream, SourceError
from spark3r_stream.frame import Frame
from spark3r_stream.packets import InputPacket, PacketHook
from spark3r_stream.sources.base import SourceInfo, SourceKind, SourceState, SourceStateBox
from spark3r_stream.stats import DropCounter

PUSHED = "frames:"  # its name, where a URI is expected


class PushedSource:
    """Makes a `Frame` of each picture; a `Source` whose `read` has nothing to give.

    is_live: times are Unix time. on_packet: gets each picture as PNG, which loses nothing.
    """

    def __init__(self, is_live: bool, on_packet: PacketHook | None = None) -> None:
        self.drops = DropCounter()
        self._is_live = is_live
        self._on_packet = on_packet
        self._state = SourceStateBox()
        self._size = (0, 0)
        self._next_id = 0
        self._newest_ns: int | None = None
        self._state.to(SourceState.STREAMING)

    @property
    def info(self) -> SourceInfo:
        """size is (0, 0) before the first frame."""
        kind = SourceKind.CAMERA if self._is_live else SourceKind.IMAGES
        return SourceInfo(kind, PUSHED, self._is_live, self._size, None, None)

    @property
    def state(self) -> SourceState:
        return self._state.state

    def frame(self, image: np.ndarray, time_ns: int) -> Frame:
        """The next frame. image: (H, W, 3) uint8 RGB, upright, copied. time_ns: later than that of the frame before.

        Raises SourceError for anything else, and once closed; such a picture leaves no trace.
        """
        image = np.asarray(image)
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
            raise SourceError(
                f"the picture is an array of {image.dtype} of shape {image.shape}; expected uint8 of shape"
                " (height, width, 3), red green blue"
            )
        if self._newest_ns is not None and time_ns <= self._newest_ns:
            raise SourceError(
                f"the frame's time is {time_ns / 1e9:.6f} s, that of the one before is {self._newest_ns / 1e9:.6f} s;"
                " frames come in the order of their times"
            )
        if self.state is SourceState.ENDED:
            raise SourceError("the run is over: it was finished or closed; begin another")
        image = np.array(image, order="C")
        if self._on_packet is not None:
            self._on_packet(_png(image, time_ns))
        if not self._next_id:
            self._size = (image.shape[1], image.shape[0])
        pts_ns = None if self._is_live else time_ns
        frame = Frame(image, self._next_id, 0, time_ns, pts_ns, PUSHED)
        self._next_id, self._newest_ns = self._next_id + 1, time_ns
        return frame

    @property
    def next_id(self) -> int:
        return self._next_id

    def read(self) -> Frame:
        raise EndOfStream(f"{PUSHED} are handed over, not read")

    def close(self) -> None:
        self._state.finish(SourceState.ENDED)


def _png(image: np.ndarray, time_ns: int) -> InputPacket:
    from PIL import Image

    data = io.BytesIO()
    Image.fromarray(image).save(data, "PNG", compress_level=1)
    return InputPacket.of_picture(data.getvalue(), "png", time_ns)
