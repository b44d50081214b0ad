"""Curves of a training run, drawn from the logs that tools/train_bundled.py keeps.

    python tools/plot_training.py runs/bundled runs/streams --out docs/bundled_training.png

Left: errors on validation worlds over those of predicting no motion. Right: what the steps themselves say of matching.
Runs that follow each other are drawn one after the other; a vertical line marks where the next begins.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

ERRORS = (
    ("pair_degrees", "pair_degrees_still", "rotation, pairs"),
    ("window_degrees", "window_degrees_still", "rotation, 6 views"),
    ("stream_degrees", "stream_degrees_still", "rotation, streams of 12"),
    ("pair_shift", None, "translation, pairs"),
    ("pair_abs_rel", None, "depth AbsRel, pairs"),
)
MATCHING = (("accuracy", "share of moved patches matched"), ("flow", "flow, patches"), ("position", "position loss"))


def rows(runs: list[Path], name: str) -> list[dict[str, float]]:
    """All lines of the runs' logs in order; what a run logged beyond the step from which the next one began is left
    out."""
    found: list[dict[str, float]] = []
    for run in runs:
        path = run / name
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        if lines:
            found = [row for row in found if row["step"] < lines[0]["step"]] + lines
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="folders of runs, the earliest first")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    validation, steps = rows(args.runs, "validation.jsonl"), rows(args.runs, "log.jsonl")
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.5), layout="constrained")
    for key, still, label in ERRORS:
        known = [row for row in validation if key in row]
        left.plot(
            [row["step"] for row in known],
            [row[key] / (row[still] if still else 1) for row in known],
            marker=".",
            label=label,
        )
    left.set(title="validation worlds, over no motion (depth: as it is)", xlabel="step", ylim=(0, 1.1))
    for key, label in MATCHING:
        known = [row for row in steps if key in row]
        right.plot([row["step"] for row in known], [row[key] for row in known], label=label, linewidth=1)
    right.set(title="matching while training", xlabel="step", ylim=(0, 1.1))
    for axis in (left, right):
        for run in args.runs[1:]:
            axis.axvline(rows([run], "log.jsonl")[0]["step"], color="black", linewidth=0.8)
        axis.grid(alpha=0.2)
        axis.legend()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.out, dpi=110)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
