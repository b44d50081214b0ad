"""The calibration of a camera, kept in the user's folder by what the camera is: its device id, or its host.

A URL may hold credentials, and a path may be one; of a network camera the host and the port are all that is kept.
"""

from __future__ import annotations

import logging
import os
import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from spark3r_core.user_paths import config_dir
from spark3r_stream.config import RunConfig
from spark3r_stream.files import write_whole
from spark3r_stream.plain_text import cleaned

log = logging.getLogger(__name__)

BY_ID = Path("/dev/v4l/by-id")


def camera_file(source: str, by_id: Path = BY_ID) -> Path | None:
    """Where the calibration of this source is, or would be; None for what is no camera, or none that can be told from
    another: webcam:0 may be another one tomorrow."""
    folder, name = config_dir(), _device(source, by_id) or _host(source)
    if folder is None or name is None:
        return None
    return folder / "cameras" / f"{re.sub(r'[^A-Za-z0-9.-]+', '_', name)}.json"


def remember(source: str, content: bytes) -> Path | None:
    """Keep a calibration in our own form; where, or None where it cannot be. Raises OSError."""
    path = camera_file(source)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
    return path


def with_remembered_camera(config: RunConfig) -> RunConfig:
    """The settings with the calibration of their source, where none is given; --camera none means none."""
    if config.wants_no_camera:
        return replace(config, camera=None, intrinsics=None)
    path = None if config.camera_file is not None else camera_file(config.source)
    if path is None or not path.is_file():
        return config
    log.info("this camera is calibrated: %s (--camera none runs without)", cleaned(path))
    return replace(config, camera=path)


def _device(source: str, by_id: Path) -> str | None:
    """A device's own name: of a number, what the system links to it."""
    match = re.fullmatch(r"webcam:(.*)|(/dev/video\d+)|(/dev/v4l/by-id/[^/]+)", source)
    if match is None:
        return None
    which = match[1] or "0" if match[1] is not None else match[2] or match[3]
    if which.isdecimal():
        which = f"/dev/video{which}"
    if not which.startswith("/dev/"):
        return f"device-{which}"
    if which.startswith("/dev/v4l/by-id/"):
        return f"device-{Path(which).name}"
    links = sorted(by_id.iterdir()) if by_id.is_dir() else []
    named = [link.name for link in links if os.path.realpath(link) == os.path.realpath(which)]
    return f"device-{named[0]}" if named else None


def _host(source: str) -> str | None:
    if not re.match(r"(rtsps?|rtmps?|srt|https?)://", source, re.IGNORECASE):
        return None
    try:
        url = urlsplit(source)
        host, port = url.hostname, url.port
    except ValueError:
        return None
    return None if not host else f"host-{host}" + ("" if port is None else f"-{port}")
