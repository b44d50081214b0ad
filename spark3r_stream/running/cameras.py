"""Several sources on one command line: their names, and the settings of each."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from spark3r_core.user_paths import expand_home
from spark3r_stream.config import NAME_PLACE, OF_EACH_CAMERA, ConfigError, RunConfig, option_name
from spark3r_stream.errors import RecordingError
from spark3r_stream.running.targets import check_targets
from spark3r_stream.sensors.feed import is_endpoint
from spark3r_stream.sources.open import is_recording
from spark3r_stream.wire.envelope import MOST_CAMERAS, is_camera_name

log = logging.getLogger(__name__)

_NAMED = re.compile(r"([A-Za-z0-9_-]+)=(.+)", re.DOTALL)
_OF_THE_FIRST = ("camera_height", "baseline", "distance")  # measured with one camera; others are joined with it


def with_name(path: Path, name: str) -> Path:
    """A path in which `{name}` stands for the name of a camera."""
    return Path(str(path).replace(NAME_PLACE, name))


@dataclass(frozen=True)
class Camera:
    """One of several: its name, and the settings of its run."""

    name: str
    config: RunConfig


def cameras_of(config: RunConfig) -> list[Camera]:
    """The runs of config's sources, each `NAME=SOURCE`, or named by its place: cam1, cam2.

    Results go to OUT/NAME, a recording to RECORD/NAME.mcap, a map to MAP/NAME.s3rmap, and `{name}` in --camera, --gyro,
    --odometry and --depth-images becomes the name; a camera whose file or folder is not there is run without that
    sensor. What was measured with one camera is the first one's.

    Raises ConfigError for names that are none or come twice, and for options that have no meaning with several.
    """
    config.check()
    texts = [config.source, *config.others]
    if len(texts) > MOST_CAMERAS:
        raise ConfigError(f"{len(texts)} sources; one process runs at most {MOST_CAMERAS}")
    if config.track == "off":
        raise ConfigError("--track off is for one source; leave it away with several")
    cameras = [_camera(config, text, number) for number, text in enumerate(texts, 1)]
    for name in OF_EACH_CAMERA:
        if getattr(config, name) is not None and all(getattr(camera.config, name) is None for camera in cameras):
            raise ConfigError(f"{option_name(name)} {getattr(config, name)}: no camera has such a file or folder")
    names = [camera.name for camera in cameras]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"two sources are named {twice[0]}; write NAME=SOURCE with names of your own")
    for what, folder in (("recordings", config.record), ("maps", config.map)):
        if folder is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ConfigError(f"cannot make the folder of {what} {folder}: {error.strerror}") from None
    for camera in cameras:
        if is_recording(camera.config.source):
            raise RecordingError(f"{camera.config.source} is run again exactly as it ran: by itself, without others")
        check_targets(camera.config)
    return cameras


def _camera(config: RunConfig, text: str, number: int) -> Camera:
    named = _NAMED.fullmatch(text)
    if named is None or Path(text).exists():
        name, source = f"cam{number}", text
    else:
        name, source = named[1], named[2]
    if not is_camera_name(name):
        raise ConfigError(f"{name!r} is no name of a camera; expected up to 32 letters, digits, _ and -")
    return Camera(name, _of_camera(config, name, source, is_first=number == 1))


def _of_camera(config: RunConfig, name: str, source: str, *, is_first: bool) -> RunConfig:
    for option, path, suffix in (("--record", config.record, ".mcap"), ("--map", config.map, ".s3rmap")):
        if path is not None and path.suffix == suffix:
            raise ConfigError(
                f"{option} {path}: with several sources it is a folder, in which each has NAME{suffix}; give one"
            )

    def own(path: Path | None) -> Path | None:
        return None if path is None else with_name(path, name)

    def sensor(option: str) -> str | None:
        value = getattr(config, option)
        place = None if value is None else value.replace(NAME_PLACE, name)
        if place is None or is_endpoint(place) or expand_home(place).exists():
            return place
        log.info("%s has no %s: there is no %s", name, option_name(option), place)
        return None

    changed: dict[str, Any] = {option: sensor(option) for option in OF_EACH_CAMERA}
    if not is_first:
        changed |= dict.fromkeys(_OF_THE_FIRST)
    return replace(
        config,
        **changed,
        source=source,
        others=(),
        out=None if config.out is None else config.out / name,
        record=None if config.record is None else config.record / f"{name}.mcap",
        map=None if config.map is None else config.map / f"{name}.s3rmap",
        rig=None,
        metrics=None,
        view=False,
        camera=own(config.camera),
        intrinsics=own(config.intrinsics),
    )
