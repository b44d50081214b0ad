"""One URI in, one open source out: the only place that knows which kind a URI means."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from spark3r_core.user_paths import expand_home
from spark3r_stream.clock import Clock
from spark3r_stream.errors import SourceError
from spark3r_stream.sources.base import Source, SourceKind
from spark3r_stream.sources.options import Pace, SourceOptions
from spark3r_stream.sources.pace import PacedSource
from spark3r_stream.sources.pushed import PUSHED
from spark3r_stream.sources.redact import redact_uri

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+)://")
_CAMERA = re.compile(r"^(webcam:.*|/dev/video\d+|/dev/v4l/.+)$")
_STREAM_SCHEMES = ("rtsp", "rtsps", "rtmp", "rtmps", "udp", "rtp", "srt", "tcp")


def open_source(uri: str, options: SourceOptions, clock: Clock) -> Source:
    """Open `uri`: a video file, an image folder, a recording, synthetic:…, webcam:N, /dev/videoN, a name in
    /dev/v4l/by-id, rtsp://…, http(s)://…

    Blocks until the first frame is known (at most options.open_timeout_s for cameras and networks). Each kind imports
    its own libraries only here. Raises SourceError with one line that says what was found and what to do.
    """
    source = _open(uri, options, clock)
    if options.images_fps is not None and source.info.kind is not SourceKind.IMAGES:
        source.close()
        raise SourceError(f"{source.info.name} has times of its own; --fps is for folders of images")
    if options.pace is Pace.REALTIME and not source.info.is_live:
        return PacedSource(source, clock)
    return source


def is_recording(uri: str) -> bool:
    """Whether a URI names a recording of an earlier run."""
    return uri.lower().endswith(".mcap") and _SCHEME.match(uri) is None


def is_surely_a_file(uri: str) -> bool:
    """Whether a URI names, for certain, something that waits for its reader: a file, a folder, a rendered sequence."""
    if uri.startswith("synthetic:"):
        return "live=" not in uri
    path = expand_home(uri)
    return path.is_file() or path.is_dir()


def local_path(uri: str) -> Path | None:
    """The file or folder that a URI names, whether it is there or not; None for anything else."""
    scheme = _SCHEME.match(uri)
    if (
        not uri
        or uri == PUSHED
        or uri.startswith("synthetic:")
        or _CAMERA.match(uri)
        or (scheme and scheme[1].lower() != "file")
    ):
        return None
    return Path(unquote(urlsplit(uri).path)) if scheme else expand_home(uri)


def _open(uri: str, options: SourceOptions, clock: Clock) -> Source:
    if not uri:
        raise SourceError("no source given; give a video file, an image folder, a URL, webcam:0 or synthetic:room")
    if uri == PUSHED:
        raise SourceError(f"{PUSHED} is what a program hands to spark3r_stream.Mapper; it cannot be opened")
    if uri.startswith("synthetic:"):
        from spark3r_stream.sources.synthetic import SyntheticSource

        synthetic = SyntheticSource(uri)
        return PacedSource(synthetic, clock) if synthetic.spec.live or options.live else synthetic
    if _CAMERA.match(uri):
        from spark3r_stream.sources.camera import open_camera

        return open_camera(uri, options, clock)
    scheme = _SCHEME.match(uri)
    if scheme and scheme[1].lower() != "file":
        if scheme[1].lower() not in (*_STREAM_SCHEMES, "http", "https"):
            raise SourceError(
                f"{redact_uri(uri)}: unknown scheme {scheme[1]!r}; expected rtsp, http, https or one of "
                f"{', '.join(_STREAM_SCHEMES[2:])}"
            )
        from spark3r_stream.sources.network import open_network

        return open_network(uri, options, clock)
    path = local_path(uri)
    assert path is not None
    if is_recording(path.name):
        from spark3r_stream.recording.reprocess import RecordedRun
        from spark3r_stream.sources.recording import RecordingSource

        return RecordingSource(RecordedRun.load(path), options.on_packet)
    if path.is_dir():
        from spark3r_stream.sources.images import ImageFolderSource

        return ImageFolderSource(path, options)
    from spark3r_stream.sources.video import VideoSource

    return VideoSource(path, options)
