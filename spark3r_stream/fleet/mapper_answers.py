"""What a mapper actor answers to a camera."""

from __future__ import annotations

from typing import Any, NamedTuple

from spark3r_stream.errors import StreamError


class NotOpen(StreamError):
    """This incarnation has no map of that camera: `open_camera` comes first."""


class Mapped(NamedTuple):
    """answer: of the method. seconds: that it took, without the time for which it waited."""

    answer: Any
    seconds: float


class Opened(NamedTuple):
    """keyframes: of the map that was opened, by frame id. lost: that it had and the camera does not know, or the other
    way round."""

    keyframes: frozenset[int]
    lost: int
