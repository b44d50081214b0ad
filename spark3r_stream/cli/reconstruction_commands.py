"""Commands that reconstruct what pictures show, live or offline; and the probe of a model, and the demonstration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional

from spark3r_stream.cli.grouped import run_config
from spark3r_stream.config import ConfigError, RunConfig
from spark3r_stream.threads import leave_a_core

Grouped = Annotated[RunConfig, tyro.conf.arg(name="", constructor=run_config)]


def run(config: Grouped) -> int:
    """Reconstruct a live camera, a stream or a recording: poses and geometry, live and as files."""
    if config.track == "on":  # before torch is loaded
        leave_a_core()
    if config.others:
        from spark3r_stream.cli.several import several_command

        return several_command(config)
    from spark3r_stream.cli.run import run_command

    return run_command(config)


def fleet(
    what: Positional[str], camera: Positional[str | None] = None, name: str | None = None, json: bool = False
) -> int:
    """Run many cameras from one file, on one machine or several, as one stream; or ask one that runs (docs/fleet.md).

    Args:
        what: FILE.yaml, which is run; or, of a fleet that runs on this machine, status, add or remove.
        camera: NAME=SOURCE to add, NAME to remove.
        name: of the fleet that is asked; default: the only one that runs here.
        json: the answer as one JSON object.
    """
    from spark3r_stream.cli.fleet import fleet_command

    return fleet_command(what, camera, name, json)


def reconstruct(
    config: Grouped,
    reduction: Literal["spark3r", "dense", "kv-stride"] = "spark3r",
) -> int:
    """Reconstruct all frames of a source jointly (offline), with Spark3R's token reduction.

    Args:
        config: as for run; --out is needed, options of streams are refused.
        reduction: spark3r, dense (the reference), or kv-stride (keys and values only).
    """
    from spark3r_stream.cli.offline import reconstruct_command

    if config.out is None:
        raise ConfigError("reconstruct writes files; give a folder with --out")
    return reconstruct_command(config, reduction, config.out)


def probe(config: Grouped, save: Path | None = None) -> int:
    """Measure which global layers of a model are sensitive to pruned keys and values (Spark3R's table).

    Args:
        config: as for run; options of streams and of results are refused.
        save: JSON file for the table.
    """
    from spark3r_stream.cli.offline import probe_command

    return probe_command(config, save)


def demo(out: Path = Path("out/demo"), frames: int = 120) -> int:
    """Map a synthetic room, receive the result in a second process, and compare it with the truth.

    Args:
        out: where results go.
        frames: length of the stream.
    """
    from spark3r_stream.cli.demo import demo_command

    return demo_command(out, frames)
