"""What a fleet is: cameras, mappers, where it publishes and keeps maps. Read from one YAML file, strictly.

Options of `spark3r run` have their names, with _ or -; everything else that is not expected is an error, not a guess.
"""

from __future__ import annotations

import difflib
import math
import re
import types
import typing
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from spark3r_core.geometry.yaml_weight import is_light
from spark3r_core.user_paths import expand_home
from spark3r_stream.config import ConfigError, RunConfig
from spark3r_stream.running.cameras import with_name
from spark3r_stream.wire.envelope import MOST_CAMERAS, is_camera_name

MAX_FILE_BYTES = 256 << 10
MOST_MAPPERS = 256
_HINTS = typing.get_type_hints(RunConfig)
_PLACE = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")

# Options of a run that may stand in `settings`, for all cameras; those of PER_CAMERA also with one.
PER_CAMERA = ("camera", "live", "pace", "rtsp_transport", "fps", "max_frames", "max_restarts", "low_latency")
FOR_ALL = (
    *("model", "weights", "size", "device", "dtype", "loops", "memory", "map_memory", "fill", "eviction"),
    *("images", "topics", "rate", "depth_every", "cloud_voxel"),
)


@dataclass(frozen=True)
class CameraPlan:
    """config: the settings of its run. place: the Ray resource of the machine it decodes on; empty: anywhere. cpus:
    that Ray counts for it."""

    name: str
    config: RunConfig
    place: str = ""
    cpus: float = 0.25


@dataclass(frozen=True)
class MapperPlan:
    """count: of actors, each with a model of its own. cpus, gpus: that Ray counts for each, fractions allowed. place:
    as of a camera."""

    count: int = 1
    cpus: float = 1.0
    gpus: float = 0.0
    place: str = ""


@dataclass(frozen=True)
class RayPlan:
    """address: of a Ray that runs, "auto" for the one of this machine; empty: one of its own, for this machine alone.
    cpus: of its own Ray; None: as many as there are."""

    address: str = ""
    cpus: int | None = None


@dataclass(frozen=True)
class FleetPlan:
    """settings: of all cameras. maps: folder where maps are kept, and gone on in; None: they are not kept."""

    name: str
    settings: RunConfig
    cameras: tuple[CameraPlan, ...]
    mappers: MapperPlan = MapperPlan()
    maps: Path | None = None
    ray: RayPlan = RayPlan()

    def added(self, name: str, value: object) -> CameraPlan:
        """One more camera, as it would stand in the file. Raises ConfigError."""
        return _camera(name, value, self.settings, f"camera {name}")


def read_plan(path: Path) -> FleetPlan:
    """Raises ConfigError for what is no plan, OSError for a file that cannot be read."""
    import yaml

    path = expand_home(path)
    if path.stat().st_size > MAX_FILE_BYTES:
        raise ConfigError(f"{path} has {path.stat().st_size} bytes; expected a short file of settings")

    class Loader(yaml.SafeLoader):
        """Of two equal keys YAML would silently take the last."""

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            # A list or a table as a key cannot be hashed; the constructor refuses it, twice or not.
            counts = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
            twice = next((key for key, count in counts.items() if count > 1), None)
            if twice is not None:
                raise ConfigError(f"{path}: {twice!r} stands twice (line {node.start_mark.line + 1} on)")
            return super().construct_mapping(node, deep)

    try:
        with path.open(encoding="utf-8") as file:
            content = yaml.load(file, Loader)  # a SafeLoader
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path} is no YAML: {' '.join(str(error).split())[:300]}") from None
    if not is_light(content):
        raise ConfigError(f"{path} repeats itself without end, by YAML's aliases")
    try:
        return plan_of(content, path.stem)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def plan_of(content: object, name: str) -> FleetPlan:
    """The plan of a file's content. name: where it gives none. Raises ConfigError."""
    file = _table(
        content,
        "the file",
        ("name", "publish", "keys", "insecure", "metrics", "maps", "settings", "cameras"),
        ("mappers", "ray"),
    )
    name = _typed(file.get("name", name), str, "name")
    if not is_camera_name(name):
        raise ConfigError(f"name is {name!r}; expected up to 32 letters, digits, _ and -")
    if "publish" not in file:
        raise ConfigError(
            "publish is missing; give the endpoint that all cameras are published on, tcp://127.0.0.1:5555"
        )
    own = {
        "publish": _typed(file["publish"], str, "publish"),
        "keys": None if "keys" not in file else expand_home(_typed(file["keys"], str, "keys")),
        "insecure": _typed(file.get("insecure", False), bool, "insecure"),
        "metrics": None if "metrics" not in file else _address(file["metrics"], "metrics"),
    }
    given = _table(file.get("settings", {}), "settings", FOR_ALL, PER_CAMERA)
    settings = replace(RunConfig(source=""), **own, **_options(given, "settings"))
    settings.check()
    cameras = file.get("cameras")
    if not isinstance(cameras, dict) or not cameras:
        raise ConfigError("cameras is missing; expected NAME: SOURCE for each camera")
    if len(cameras) > MOST_CAMERAS:
        raise ConfigError(f"{len(cameras)} cameras; one endpoint has at most {MOST_CAMERAS}, so make two fleets")
    return FleetPlan(
        name, settings, tuple(_camera(one, value, settings, f"cameras: {one}") for one, value in cameras.items()),
        _mappers(file.get("mappers", {})),
        None if "maps" not in file else expand_home(_typed(file["maps"], str, "maps")),
        _ray(file.get("ray", {})),
    )  # fmt: skip


def _camera(name: object, value: object, settings: RunConfig, where: str) -> CameraPlan:
    if not isinstance(name, str) or not is_camera_name(name):
        raise ConfigError(f"{name!r} is no name of a camera; expected up to 32 letters, digits, _ and -")
    table = (
        {"source": value} if isinstance(value, str) else _table(value, where, ("source", "place", "cpus"), PER_CAMERA)
    )
    source = _typed(table.get("source", ""), str, f"{where}: source")
    if not source:
        raise ConfigError(f"{where} has no source; expected NAME: SOURCE, or a table with a source")
    options = _options({key: one for key, one in table.items() if key not in ("source", "place", "cpus")}, where)
    config = replace(settings, source=source, **options)
    if config.camera is not None:
        config = replace(config, camera=with_name(config.camera, name))
    config.check()
    cpus = _amount(table.get("cpus", CameraPlan.cpus), f"{where}: cpus")
    return CameraPlan(name, config, _placed(table, where), cpus)


def _mappers(value: object) -> MapperPlan:
    table = _table(value, "mappers", ("count", "cpus", "gpus", "place"))
    count = _typed(table.get("count", MapperPlan.count), int, "mappers: count")
    if not 1 <= count <= MOST_MAPPERS:
        raise ConfigError(f"mappers: count is {count}; expected 1 to {MOST_MAPPERS}")
    cpus, gpus = (_amount(table.get(key, getattr(MapperPlan, key)), f"mappers: {key}") for key in ("cpus", "gpus"))
    return MapperPlan(count, cpus, gpus, _placed(table, "mappers"))


def _ray(value: object) -> RayPlan:
    table = _table(value, "ray", ("address", "cpus"))
    address = _typed(table.get("address", ""), str, "ray: address")
    cpus = table.get("cpus")
    if cpus is not None and (address or not 1 <= _typed(cpus, int, "ray: cpus") <= 4096):
        raise ConfigError("ray: cpus is of a Ray of its own, 1 to 4096; leave it away with an address")
    return RayPlan(address, cpus)


def _placed(table: Mapping[str, Any], where: str) -> str:
    place = _typed(table.get("place", ""), str, f"{where}: place")
    if place and _PLACE.fullmatch(place) is None:
        raise ConfigError(f"{where}: place is {place!r}; expected the name of a resource of Ray, letters and digits")
    return place


def _table(value: object, where: str, known: tuple[str, ...], more: tuple[str, ...] = ()) -> dict[str, Any]:
    """The keys of a table, with _ for -. Raises ConfigError for one that is not expected."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(f"{where} is {value!r:.80}; expected a table of names and values")
    found = {}
    for key, one in value.items():
        name = str(key).replace("-", "_")
        if name not in (*known, *more):
            near = difflib.get_close_matches(name, (*known, *more), n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; expected some of {', '.join((*known, *more))}"
            raise ConfigError(f"{where} has no {str(key)!r:.80}{hint}")
        found[name] = one
    return found


def _options(table: Mapping[str, Any], where: str) -> dict[str, Any]:
    return {key: _option(value, _HINTS[key], f"{where}: {key}") for key, value in table.items()}


def _option(value: object, hint: Any, where: str) -> Any:
    """The value of an option of a run, of its type."""
    if typing.get_origin(hint) is typing.Literal:
        choices = typing.get_args(hint)
        if isinstance(value, bool) and "on" in choices:  # what YAML makes of the word
            value = "on" if value else "off"
        if value not in choices:
            raise ConfigError(f"{where} is {value!r:.80}; expected {' or '.join(map(str, choices))}")
        return value
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if value is None and type(None) in kinds:
        return None
    kind = next(one for one in kinds if one is not type(None))
    if kind is Path:
        return expand_home(_typed(value, str, where))
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    return _typed(value, kind, where)


def _typed(value: object, kind: type, where: str) -> Any:
    if type(value) is not kind:
        words = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
        raise ConfigError(f"{where} is {value!r:.80}; expected {words[kind]}")
    return value


def _address(value: object, where: str) -> str:
    """HOST:PORT, or a port alone, which YAML takes for a number; what it may be is checked when it is opened."""
    return str(value) if type(value) is int else _typed(value, str, where)  # type: ignore[no-any-return]


def _amount(value: object, where: str) -> float:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not 0 <= value <= 64:  # type: ignore[arg-type, operator]
        raise ConfigError(f"{where} is {value!r:.80}; expected 0 to 64")
    if value > 1 and value != int(value):  # type: ignore[operator, call-overload]
        raise ConfigError(f"{where} is {value}; Ray counts fractions of one, and whole ones")
    return float(value)  # type: ignore[arg-type]
