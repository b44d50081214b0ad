"""The options of a run in groups, as `--help` shows them; together they are one `RunConfig`."""

from __future__ import annotations

from dataclasses import field, fields, make_dataclass
from pathlib import Path
from typing import Annotated, get_type_hints

import docstring_parser
import tyro

from spark3r_stream.config import RunConfig

# Every option of RunConfig but the sources is in one of them; names and order are those of --help.
GROUPS: dict[str, tuple[str, ...]] = {
    "reading": (
        "camera",
        "intrinsics",
        "max_frames",
        "fps",
        "pace",
        "live",
        "rtsp_transport",
        "max_restarts",
        "low_latency",
    ),
    "sensors": ("gyro", "gyro_offset", "gyro_axes", "odometry", "odometry_offset"),
    "metres": (
        "tag",
        "tag_up",
        "tag_origin",
        "camera_height",
        "baseline",
        "distance",
        "depth_images",
        "depth_scale",
        "depth_offset",
        "gps",
        "gps_frame",
        "gps_offset",
        "gps_clock",
    ),
    "result": ("out", "save_depth", "mesh", "max_points", "map", "localise", "overwrite", "json", "view"),
    "stream": ("publish", "record", "record_only", "images", "metrics", "keys", "insecure"),
    "bandwidth": ("topics", "rate", "depth_every", "cloud_voxel"),
    "model": ("model", "weights", "size", "device", "dtype"),
    "mapping": ("track", "loops", "rig", "map_memory", "window", "refine", "memory", "fill", "eviction"),
}
_METAVARS = {Path | None: "PATH", str | None: "STR", int | None: "INT", float | None: "FLOAT"}
_HELP = {
    one.arg_name: " ".join((one.description or "").split())
    for one in docstring_parser.parse(RunConfig.__doc__ or "").params
}


def _group(title: str, names: tuple[str, ...]) -> type:
    hints = get_type_hints(RunConfig, include_extras=True)
    defaults = {one.name: one.default for one in fields(RunConfig)}
    options = [
        (
            name,
            Annotated[hints[name], tyro.conf.arg(help=_HELP[name], metavar=_METAVARS.get(hints[name]))],
            field(default=defaults[name]),
        )
        for name in names
    ]
    return make_dataclass(title.capitalize(), options, frozen=True, namespace={"__doc__": ""})


_READING, _SENSORS, _METRES, _RESULT, _STREAM, _BANDWIDTH, _MODEL, _MAPPING = (
    _group(title, names) for title, names in GROUPS.items()
)


def run_config(
    source: Annotated[tyro.conf.Positional[str], tyro.conf.arg(help=_HELP["source"])],
    others: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(help=_HELP["others"])],
    reading: tyro.conf.OmitArgPrefixes[_READING],  # type: ignore[valid-type]
    sensors: tyro.conf.OmitArgPrefixes[_SENSORS],  # type: ignore[valid-type]
    metres: tyro.conf.OmitArgPrefixes[_METRES],  # type: ignore[valid-type]
    result: tyro.conf.OmitArgPrefixes[_RESULT],  # type: ignore[valid-type]
    stream: tyro.conf.OmitArgPrefixes[_STREAM],  # type: ignore[valid-type]
    bandwidth: tyro.conf.OmitArgPrefixes[_BANDWIDTH],  # type: ignore[valid-type]
    model: tyro.conf.OmitArgPrefixes[_MODEL],  # type: ignore[valid-type]
    mapping: tyro.conf.OmitArgPrefixes[_MAPPING],  # type: ignore[valid-type]
) -> RunConfig:
    """All of them."""
    groups = (reading, sensors, metres, result, stream, bandwidth, model, mapping)
    return RunConfig(
        source, others, **{one.name: getattr(group, one.name) for group in groups for one in fields(group)}
    )
