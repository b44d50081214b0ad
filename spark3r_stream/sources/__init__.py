"""Where frames come from: one URI each. `open_source` is the door; everything behind it is imported when needed."""

from __future__ import annotations

from spark3r_stream.packets import InputPacket
from spark3r_stream.sources.base import Source, SourceInfo, SourceKind, SourceState
from spark3r_stream.sources.open import open_source
from spark3r_stream.sources.options import CameraOptions, Pace, ReconnectOptions, RtspTransport, SourceOptions

__all__ = [
    "open_source",
    "SourceOptions",
    "CameraOptions",
    "Pace",
    "ReconnectOptions",
    "RtspTransport",
    "Source",
    "SourceInfo",
    "SourceKind",
    "SourceState",
    "InputPacket",
]
