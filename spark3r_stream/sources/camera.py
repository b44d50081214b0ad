"""Cameras of this machine through FFmpeg's device formats. Linux (V4L2) is used and tested where there is a device;
macOS (AVFoundation) and Windows (DirectShow) follow FFmpeg's documentation and are untested."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

from spark3r_stream.clock import Clock
from spark3r_stream.errors import SourceError
from spark3r_stream.sources.base import SourceKind
from spark3r_stream.sources.decoder_process import DecodeTarget
from spark3r_stream.sources.options import CameraOptions, SourceOptions
from spark3r_stream.sources.supervised import SupervisedSource

SYS_VIDEO = Path("/sys/class/video4linux")


@dataclass(frozen=True)
class CameraDevice:
    """A camera as the system lists it. uri: what open_source takes."""

    uri: str
    path: str
    name: str


def list_cameras(sys_video: Path = SYS_VIDEO) -> list[CameraDevice]:
    """The V4L2 capture devices of this machine, by number; empty elsewhere. Reads sysfs only: no device is opened.

    A camera often has a second node for metadata, which sysfs marks with an index above 0; those are left out.
    """
    found: list[tuple[int, CameraDevice]] = []
    if not sys_video.is_dir():
        return []
    for node in sys_video.iterdir():
        match = re.fullmatch(r"video(\d+)", node.name)
        if match is None or _text(node / "index") not in ("", "0"):
            continue
        number = int(match[1])
        device = CameraDevice(f"webcam:{number}", f"/dev/video{number}", _text(node / "name") or "unnamed")
        found.append((number, device))
    return [device for _, device in sorted(found, key=lambda item: item[0])]


def device_target(uri: str, camera: CameraOptions, platform: str) -> tuple[str, str, dict[str, str]]:
    """FFmpeg's (url, format, options) for `webcam:N`, `webcam:NAME`, `/dev/videoN` or a name in /dev/v4l/by-id on
    sys.platform `platform`."""
    which = uri.removeprefix("webcam:") or "0"
    options: dict[str, str] = {}
    if camera.size is not None:
        options["video_size"] = f"{camera.size[0]}x{camera.size[1]}"
    if camera.fps is not None:
        options["framerate"] = f"{camera.fps:g}"
    if platform == "darwin":
        options.setdefault("framerate", "30")  # AVFoundation refuses to open without one that the device has
        if camera.pixel_format is not None:
            options["pixel_format"] = camera.pixel_format
        return f"{which}:none", "avfoundation", options
    if platform == "win32":
        if which.isdecimal():
            raise SourceError(
                f"{uri}: DirectShow knows cameras by name; give webcam:NAME as the device manager shows it"
            )
        if camera.pixel_format == "mjpeg":
            options["vcodec"] = "mjpeg"
        elif camera.pixel_format is not None:
            options["pixel_format"] = camera.pixel_format
        return f"video={which}", "dshow", options
    if camera.pixel_format is not None:
        options["input_format"] = camera.pixel_format
    path = which if which.startswith("/dev/") else f"/dev/video{which}"
    if not re.fullmatch(r"/dev/video\d+|/dev/v4l/by-(id|path)/[^/]+", path):
        raise SourceError(
            f"{uri}: expected webcam:N or /dev/videoN with a number N, as `spark3r cameras` lists them, or a name in"
            " /dev/v4l/by-id or by-path"
        )
    return path, "v4l2", options


def open_camera(uri: str, options: SourceOptions, clock: Clock) -> SupervisedSource:
    """Open a camera in a child process; unplugged, it is looked for again like a lost stream.

    Raises SourceError when there is no such device, it is busy, or it refuses the size, rate or pixel format.
    """
    url, format, device_options = device_target(uri, options.camera, sys.platform)
    if url.startswith("/dev/") and not Path(url).exists():
        present = ", ".join(f"{c.uri} ({c.name})" for c in list_cameras()) or "none"
        raise SourceError(f"{uri}: there is no {url}; cameras found: {present}")
    target = DecodeTarget(
        url=url,
        lossless=False,
        open_timeout_s=options.open_timeout_s,
        read_timeout_s=options.read_timeout_s,
        format=format,
        options=device_options,
        single_thread=options.single_thread_decode,
    )
    return SupervisedSource(
        uri,
        SourceKind.CAMERA,
        target,
        clock,
        is_live=True,
        reconnect=options.reconnect,
        on_packet=options.on_packet,
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
