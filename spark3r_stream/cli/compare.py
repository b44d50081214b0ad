"""`spark3r compare`: two trajectories as a table, a picture or JSON, with the verdict as exit code."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from spark3r_core.user_paths import expand_home
from spark3r_stream.config import ConfigError
from spark3r_stream.evaluation.compare import Compared, Limits, compare_paths
from spark3r_stream.plain_text import cleaned
from spark3r_stream.recording.comparison import Comparison, compared_recordings
from spark3r_stream.running.targets import check_picture

EXIT_APART = 1


def compare_command(
    estimate: str, reference: str, limits: Limits, tolerance: float, offset: float, as_json: bool, plot: Path | None
) -> int:
    """0 where everything that was asked for holds: the limits; without limits, that two recordings are the same."""
    for name, value in (("ate", limits.ate), ("rotation", limits.rotation_deg), ("coverage", limits.coverage)):
        if value is not None and not 0 <= value < math.inf:
            raise ConfigError(f"--{name} is {value}; expected a number of at least 0")
    if not 0 <= tolerance < math.inf or not math.isfinite(offset):
        raise ConfigError(f"--tolerance is {tolerance} and --offset {offset}; expected seconds")
    if plot is not None:
        check_picture(plot, reference, "--plot")
        check_picture(plot, estimate, "--plot")
    messages = None
    if all(name.lower().endswith(".mcap") for name in (estimate, reference)):
        messages = compared_recordings(expand_home(estimate), expand_home(reference))
    compared = compare_paths(estimate, reference, tolerance, offset)
    failures = compared.failures(limits)
    if messages is not None and not limits.are_given and not _same(messages):
        failures.append(f"the recordings are not the same: {messages.summary()}")
    if plot is not None:
        from spark3r_stream.evaluation.plot import plot_compared

        plot_compared(compared, (cleaned(estimate, 60), cleaned(reference, 60)), plot)
    if as_json:
        verdict: dict[str, Any] = {"ok": not failures, "failures": failures, **compared.as_dict()}
        print(json.dumps(verdict if messages is None else {**verdict, "messages": messages.as_dict()}))
    else:
        console = Console(highlight=False)
        console.print(_table(compared, limits, messages))
        for failure in failures:
            console.print(f"[bold red]no[/]: {cleaned(failure)}")
        if limits.are_given and not failures:
            console.print("[bold green]yes[/]: all limits hold")
        if plot is not None:
            console.print(f"picture: {cleaned(plot)}")
    return EXIT_APART if failures else 0


def _same(messages: Comparison) -> bool:
    return messages.is_repeated and not messages.not_recorded


def _table(compared: Compared, limits: Limits, messages: Comparison | None) -> Table:
    table = Table("", "found", "limit", box=None, pad_edge=False)
    limit = "" if limits.ate is None else f"{limits.ate:g}"
    table.add_row("ATE, of the path's spread", f"{compared.ate:.4f}", limit)
    table.add_row("ATE, units of the reference", f"{compared.ate_units:.4g} (spread {compared.spread:.4g})")
    limit = "" if limits.rotation_deg is None else f"{limits.rotation_deg:g} deg"
    turns = f"{compared.rotation_deg:.3f} deg, 95 % below {compared.rotation_p95_deg:.3f}"
    table.add_row(f"rotation over {compared.apart_s:g} s, median", turns, limit)
    limit = f"{limits.coverage:.0%}" if limits.are_given else ""
    table.add_row("covered of the reference", f"{compared.coverage:.1%} ({compared.poses} poses matched)", limit)
    table.add_row("scale, reference per unit", f"{compared.scale:.4g}")
    if messages is not None:
        table.add_row("recorded messages", "the same, byte by byte" if _same(messages) else cleaned(messages.summary()))
    return table
