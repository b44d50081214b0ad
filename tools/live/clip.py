"""A sequence with its truth as what a camera sends: JPEG pictures, H.264 access units, or a file."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from tools.evaluation.sequences import TrueSequence, open_sequence

KEY_FRAME_EVERY = 15  # pictures; a viewer that comes late waits for one
_LENGTH = struct.Struct(">I")


@dataclass(frozen=True)
class Clip:
    """what: a folder as in shared/data, or a synthetic URI. frames: how many of it are sent. fps: at which rate."""

    what: str
    sequence: TrueSequence
    frames: int
    fps: float

    def images(self) -> Iterator[NDArray[np.uint8]]:
        return islice(self.sequence.frames(), self.frames)


def open_clip(what: str, max_frames: int | None, fps: float | None) -> Clip:
    """fps: instead of the clip's own rate."""
    sequence = open_sequence(what, depth_frames=1)
    own = 1e9 / float(np.median(np.diff(sequence.time_ns)))
    frames = len(sequence.time_ns) if max_frames is None else min(max_frames, len(sequence.time_ns))
    return Clip(what, sequence, frames, fps or own)


def jpegs(clip: Clip, quality: int = 90) -> list[bytes]:
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    return [cv2.imencode(".jpg", image[..., ::-1], options)[1].tobytes() for image in clip.images()]


def write_video(clip: Clip, path: Path) -> Path:
    """An MP4 whose pictures need no later ones, so that a decoder holds none back."""
    with av.open(str(path), "w") as container:
        for packet in _encoded(clip, container):
            container.mux(packet)
    return path


def write_access_units(clip: Clip, path: Path) -> Path:
    """One access unit per picture for rtsp_clip_server.py: length (32 bits, big-endian) and Annex B bytes."""
    with av.open(str(path.with_suffix(".h264")), "w", format="h264") as container, path.open("wb") as units:
        for packet in _encoded(clip, container):
            data = bytes(packet)
            units.write(_LENGTH.pack(len(data)) + data)
    return path


def _encoded(clip: Clip, container: av.container.OutputContainer) -> Iterator[av.Packet]:
    options = {"tune": "zerolatency", "preset": "veryfast", "crf": "18"}
    stream = container.add_stream("libx264", rate=Fraction(clip.fps).limit_denominator(1001), options=options)
    stream.pix_fmt, stream.codec_context.gop_size = "yuv420p", KEY_FRAME_EVERY
    for index, image in enumerate(clip.images()):
        if not index:
            stream.height, stream.width = image.shape[0] & ~1, image.shape[1] & ~1
        picture = av.VideoFrame.from_ndarray(image[: stream.height, : stream.width].copy(), format="rgb24")
        yield from stream.encode(picture)
    yield from stream.encode(None)
