"""Everything that is promised of a network, measured at once: held-out worlds, long streams, real sequences.

The worlds and streams come from reserved seeds (`spark3r_core.synthetic.seeds`): those for validation may be looked at
while training goes on, those for acceptance decide once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spark3r_core.models.interface import Backbone
from tools.evaluation.comparison import Comparison, compare
from tools.evaluation.musts import KITCHEN, musts
from tools.evaluation.pairs import pair_errors
from tools.evaluation.sequences import open_sequence
from tools.evaluation.worlds import worlds_numbers

STREAM_WORLDS = ("room", "court", "corridor")
STREAM_OFFSET = 500  # of the first stream's seed, behind the seeds of the single worlds
KITCHEN_PAIR_STEP = 10


@dataclass(frozen=True)
class SuiteConfig:
    """seeds: the reserved range. worlds: short windows, the network alone. streams: loops through the whole engine.

    data: folder with real sequences as shared/data, each with ground truth is run whole; None: none.
    """

    seeds: range
    worlds: int = 24
    streams: int = 4
    stream_frames: int = 300
    stream_size: tuple[int, int] = (320, 240)
    data: Path | None = None
    distance: int = 8
    odometry: bool = True


def stream_uris(config: SuiteConfig) -> list[str]:
    """Synthetic sources of the loop streams."""
    width, height = config.stream_size
    return [
        f"synthetic:{STREAM_WORLDS[i % len(STREAM_WORLDS)]}?seed={config.seeds.start + STREAM_OFFSET + i}"
        f"&frames={config.stream_frames}&kind=loop&size={width}x{height}"
        for i in range(config.streams)
    ]


def real_sequences(folder: Path) -> list[Path]:
    """Folders below `folder` that have ground truth, in order."""
    return sorted(path.parent for path in folder.glob("*/groundtruth.txt"))


def run_suite(
    model: Backbone, model_name: str, config: SuiteConfig, out: Path, note: Callable[[str], None]
) -> dict[str, Any]:
    """All numbers; a report of every sequence goes to `out`. note: told what is being done."""
    seeds = range(config.seeds.start, config.seeds.start + config.worlds)
    result: dict[str, Any] = {"model": model_name, "weights_sha256": model.weights_sha256}
    result["seeds"] = {"worlds": [seeds.start, seeds.stop], "streams": stream_uris(config)}
    if config.worlds:
        note(f"{config.worlds} worlds, seeds from {seeds.start}")
        result["worlds"] = worlds_numbers(model, seeds)
    groups = {"streams": stream_uris(config)}
    if config.data is not None:
        groups["real"] = [str(path) for path in real_sequences(config.data)]
    for group, sequences in groups.items():
        result[group] = {}
        for what in sequences:
            note(what)
            comparison = compare(
                open_sequence(what),
                config.distance,
                model=model,
                model_name=model_name,
                with_odometry=config.odometry,
            )
            comparison.write(out)
            result[group][comparison.sequence.name] = _without_bins(comparison)
            if comparison.sequence.name == KITCHEN:
                note(f"{KITCHEN}: pairs {config.distance} apart, each on its own")
                for key, refine in (("kitchen_pairs", True), ("kitchen_pairs_unrefined", False)):
                    result[key] = pair_errors(
                        model, comparison.sequence, config.distance, KITCHEN_PAIR_STEP, refine=refine
                    )
    result["musts"] = [must.as_dict() for must in musts(result, model_name)]
    return result


def _without_bins(comparison: Comparison) -> dict[str, Any]:
    """Numbers of each method; the calibration's bins stay in the sequence's own report."""
    rows: dict[str, Any] = {}
    for name, numbers in comparison.numbers.items():
        row = dict(numbers)
        if "calibration" in row.get("depth", {}):
            trust = {key: value for key, value in row["depth"]["calibration"].items() if key != "bins"}
            row["depth"] = row["depth"] | {"calibration": trust}
        rows[name] = row
    return rows
