"""All commands by the names that are typed, in the order of --help.

Their functions are their options, and import what they need when they run.
"""

from __future__ import annotations

from collections.abc import Callable

from spark3r_stream.cli.file_commands import compare, export, inspect, map_, replay
from spark3r_stream.cli.reconstruction_commands import demo, fleet, probe, reconstruct, run
from spark3r_stream.cli.setup_commands import board, calibrate, cameras, doctor, keys, models, tag
from spark3r_stream.cli.stream_commands import echo, foxglove, ros2_bridge, view


def config(json: bool = False) -> int:
    """Show which options come from the configuration file and from SPARK3R_* variables (docs/configuration.md).

    Args:
        json: one JSON object.
    """
    from spark3r_stream.cli.config import config_command

    return config_command(COMMANDS, json)


COMMANDS: dict[str, Callable[..., int]] = {
    "run": run,
    "fleet": fleet,
    "echo": echo,
    "view": view,
    "replay": replay,
    "inspect": inspect,
    "compare": compare,
    "map": map_,
    "export": export,
    "ros2-bridge": ros2_bridge,
    "foxglove": foxglove,
    "reconstruct": reconstruct,
    "probe": probe,
    "cameras": cameras,
    "models": models,
    "doctor": doctor,
    "tag": tag,
    "keys": keys,
    "board": board,
    "calibrate": calibrate,
    "config": config,
    "demo": demo,
}
