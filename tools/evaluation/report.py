"""One sequence's numbers as JSON, a Markdown table and a picture."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from numpy.typing import NDArray

matplotlib.use("Agg")
import matplotlib.pyplot as plt

Array = NDArray[np.float64]

COLUMNS = (
    ("frames", "frames"),
    ("ATE / spread", "ate.of_spread"),
    ("ATE / path", "ate.of_path"),
    ("rotation °", "rpe.rotation_deg"),
    ("direction °", "rpe.direction_deg"),
    ("translation / motion", "rpe.translation_of_motion"),
    ("AUC@5", "auc.auc@5"),
    ("AUC@15", "auc.auc@15"),
    ("AUC@30", "auc.auc@30"),
    ("AbsRel", "depth.abs_rel"),
    ("δ<1.25", "depth.delta_1.25"),
    ("fov error", "fov_error"),
)


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown: one row per method, the columns that any of them has."""
    used = [(title, key) for title, key in COLUMNS if any(_pick(row, key) is not None for row in results.values())]
    lines = ["| method | " + " | ".join(title for title, _ in used) + " |", "|---" * (len(used) + 1) + "|"]
    for name, row in results.items():
        cells = [_format(_pick(row, key)) for _, key in used]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _pick(row: Mapping[str, Any], key: str) -> Any:
    value: Any = row
    for part in key.split(".", 1):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _format(value: Any) -> str:
    if value is None or (isinstance(value, float) and not np.isfinite(value)):
        return "–"
    return str(value) if isinstance(value, int) else f"{value:.3g}"


def write(out: Path, name: str, distance: int, results: Mapping[str, Mapping[str, Any]]) -> None:
    """`name`.json and `name`.md in folder `out`; the conventions stand above the table."""
    out.mkdir(parents=True, exist_ok=True)
    document = {"sequence": name, "rpe_distance_frames": distance, "results": results}
    (out / f"{name}.json").write_text(json.dumps(document, indent=2) + "\n")
    head = (
        f"# {name}\n\nATE after one Sim(3); relative errors are medians over frames {distance} apart, lengths after "
        "the same Sim(3)'s scale; AUC of the larger of rotation and direction error over random pairs; depth after one "
        "scale per sequence.\n\n"
    )
    (out / f"{name}.md").write_text(head + table(results) + "\n")


def plot(path: Path, title: str, truth: Array, aligned: Mapping[str, Array]) -> None:
    """Camera centres seen along the axis in which the true path is flattest, every method after alignment."""
    centres = truth[:, :3, 3]
    _, _, axes = np.linalg.svd(centres - centres.mean(0), full_matrices=False)
    figure, axis = plt.subplots(figsize=(7, 6), layout="constrained")
    for label, poses in (("truth", truth), *aligned.items()):
        flat = (poses[:, :3, 3] - centres.mean(0)) @ axes[:2].T
        axis.plot(flat[:, 0], flat[:, 1], label=label, color="black" if label == "truth" else None, linewidth=1.2)
    axis.set_aspect("equal", adjustable="datalim")
    axis.set(title=title, xlabel="first principal axis of the true path", ylabel="second")
    axis.legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)
