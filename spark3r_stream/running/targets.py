"""What a command writes must not be what it reads: looked at before anything is opened."""

from __future__ import annotations

import contextlib
from pathlib import Path

from spark3r_core.errors import Spark3rError
from spark3r_stream.config import ConfigError, RunConfig
from spark3r_stream.errors import MapFileError
from spark3r_stream.map_file.target import check_map_target
from spark3r_stream.outputs.mesh_files import MESH_NAMES
from spark3r_stream.recording.target import check_apart_from_source, check_target
from spark3r_stream.sources.open import local_path

RESULT_NAMES = ("trajectory.txt", "cloud.ply", "intrinsics.json", "stats.json", "preview.png", *MESH_NAMES)
PNG = b"\x89PNG\r\n\x1a\n"


def check_targets(config: RunConfig) -> None:
    """Raises ConfigError, RecordingError or MapFileError where results, a recording or a map would replace the
    source or be read as one."""
    source = local_path(config.source)
    if config.record is not None:
        if source is not None:
            check_apart_from_source(config.record, source)
        check_target(config.record, config.overwrite)
    if config.map is not None:
        if source is not None:
            check_map_apart(config.map, source)
        check_map_target(config.map, overwrite=True)  # a run goes on in an older one
        if config.record is not None and config.record.resolve() == config.map.resolve():
            raise ConfigError(f"--record and --map are the same file, {config.map}; give another name")
    if config.out is not None and source is not None:
        with contextlib.suppress(OSError, ValueError):  # names that cannot be are complained about where they are used
            check_results(config.out, source)


def check_map_apart(path: Path, source: Path) -> None:
    """Raises MapFileError if the map would be written over the file that is read or into the folder that is."""
    with contextlib.suppress(OSError, ValueError):
        if source.is_dir() and source.resolve() in path.resolve().parents:
            raise MapFileError(f"--map {path} is in the folder that is read; choose another place")
        if path.exists() and source.exists() and path.samefile(source):
            raise MapFileError(f"--map {path} is the file that is read; choose another name")


def check_results(out: Path, source: Path) -> None:
    """Raises ConfigError if the folder `out` is inside of the folder `source`, or holds the file `source` under a name
    of a result."""
    if source.is_dir() and source.resolve() in (out.resolve(), *out.resolve().parents):
        raise ConfigError(
            f"--out {out} is inside of the folder that is read, {source}, so its pictures would be read as frames the"
            " next time; give another folder"
        )
    for name in RESULT_NAMES:
        result = out / name
        if result.exists() and source.exists() and result.samefile(source):
            raise ConfigError(f"--out {out} would replace {source}, which is read; give another folder")


def check_table(path: Path) -> None:
    """Raises ConfigError if a sensitivity table written to `path` would replace something else, or has no folder.

    Imports torch.
    """
    from spark3r_core.offline.probe import SensitivityTable

    if path.suffix != ".json":
        raise ConfigError(f"--save {path} is a JSON file; give it a name that ends in .json")
    if not path.parent.is_dir():
        raise ConfigError(f"--save {path}: there is no folder {path.parent}; make it first")
    if path.exists():
        try:
            SensitivityTable.load(path)
        except Spark3rError:
            raise ConfigError(f"--save {path} exists and is no sensitivity table; choose another name") from None


def check_picture(path: Path, source: str, option: str = "--offscreen") -> None:
    """Raises ConfigError if a picture written to `path` would replace something other than a picture."""
    with contextlib.suppress(OSError):
        if path.exists() and Path(source).exists() and path.samefile(source):
            raise ConfigError(f"{option} {path} is what is read; choose another name")
        if path.is_file() and path.stat().st_size:
            with path.open("rb") as file:
                is_picture = file.read(len(PNG)) == PNG
            if not is_picture:
                raise ConfigError(f"{option} {path} exists and is no PNG; choose another name")
