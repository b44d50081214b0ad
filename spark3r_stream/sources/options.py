"""The settings of a source, built once at the edge (CLI or caller) and passed down."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from spark3r_stream.packets import PacketHook


class Pace(Enum):
    """How fast a finite source is read."""

    FAST = "fast"  # as fast as the reader takes frames; nothing is dropped
    REALTIME = "realtime"  # by presentation time, with the drop rules of a live source


class RtspTransport(Enum):
    TCP = "tcp"
    UDP = "udp"


@dataclass(frozen=True)
class ReconnectOptions:
    """When and how often a live source is opened again.

    The first attempt waits `first_delay_s`, each further one twice as long up to `max_delay_s`. More than
    `max_restarts` within `window_s` seconds is a failure. A run that produced frames for `window_s` starts afresh.
    """

    first_delay_s: float = 0.5
    max_delay_s: float = 10.0
    max_restarts: int = 20
    window_s: float = 300.0


@dataclass(frozen=True)
class CameraOptions:
    """What is asked of a local camera; None leaves the choice to the driver. pixel_format: FFmpeg's name or "mjpeg"."""

    size: tuple[int, int] | None = None
    fps: float | None = None
    pixel_format: str | None = None


@dataclass(frozen=True)
class SourceOptions:
    """Defaults are right for most sources.

    pace: see Pace; ignored by sources that are live anyway. live: treat an http(s) URL as a live stream (a camera that
    serves MJPEG, say); True or False overrides what the URI suggests. images_fps: frame rate of an image folder whose
    images have no times (30 by default); refused for anything else. single_thread_decode: repeatable decoding.
    on_packet: called with every packet as received, from the thread that reads or one of the source's own; it must not
    block. open_timeout_s, read_timeout_s: for network sources and cameras; the second is also how long a live source
    may be silent before it is opened again.
    """

    pace: Pace = Pace.FAST
    live: bool | None = None
    images_fps: float | None = None
    single_thread_decode: bool = False
    on_packet: PacketHook | None = None
    rtsp_transport: RtspTransport = RtspTransport.TCP
    open_timeout_s: float = 10.0
    read_timeout_s: float = 5.0
    reconnect: ReconnectOptions = field(default_factory=ReconnectOptions)
    camera: CameraOptions = field(default_factory=CameraOptions)
