"""One sequence's numbers as JSON, a Markdown table and a picture."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
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
    ("confidence: rank correlation", "depth.calibration.rank_correlation"),
    ("confidence: sparsification", "depth.calibration.sparsification"),
    ("fov error", "fov_error"),
)
# AUC@5 has no dot, δ<1.25 has one of its own: keys split at the first dots only
PATHS = {key: key.split(".", 2 if "calibration" in key else 1) for _, key in COLUMNS}


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
    for part in PATHS[key]:
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _format(value: Any) -> str:
    if value is None or (isinstance(value, float) and not np.isfinite(value)):
        return "–"
    return str(value) if isinstance(value, int) else f"{value:.3g}"


def write(out: Path, name: str, distance: int, results: Mapping[str, Mapping[str, Any]]) -> None:
    """`name`.json and `name`.md in folder `out`; the conventions stand above the table."""
    document = {"sequence": name, "rpe_distance_frames": distance, "results": results}
    write_json(out / f"{name}.json", document)
    head = (
        f"# {name}\n\nATE after one Sim(3); relative errors are medians over frames {distance} apart, lengths after "
        "the same Sim(3)'s scale; AUC of the larger of rotation and direction error over random pairs; depth after one "
        "scale per sequence. Constant velocity repeats the last true motion. Confidence: Spearman's correlation with "
        "minus the depth's error (1 is perfect), and the area under the sparsification curve (0 is perfect, 1 says "
        "nothing).\n\n"
    )
    (out / f"{name}.md").write_text(head + table(results) + "\n")


def write_json(path: Path, document: Any) -> None:
    """JSON that every reader takes: numbers that are not finite become null."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_finite(document), indent=2, allow_nan=False) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def must_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown of `musts.Must.as_dict` rows."""
    titles = ("value", "network alone", "no motion, flat depth", "ratio", "constant velocity", "OpenCV odometry")
    keys = ("value", "unrefined", "no_motion", "of_no_motion", "constant_velocity", "odometry")
    lines = ["| where | what | " + " | ".join(titles) + " |", "|---" * (len(titles) + 2) + "|"]
    for row in rows:
        unit = f" ({row['unit']})" if row["unit"] else ""
        cells = " | ".join(_format(row[key]) for key in keys)
        lines.append(f"| {row['where']} | {row['what']}{unit} | {cells} |")
    return "\n".join(lines)


def plot(
    path: Path,
    title: str,
    truth: Array,
    aligned: Mapping[str, Array],
    calibration: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Camera centres seen along the axis in which the true path is flattest, every method after alignment.

    calibration: of `metrics.calibration`, by method; drawn beside them when there is any.
    """
    centres = truth[:, :3, 3]
    _, _, axes = np.linalg.svd(centres - centres.mean(0), full_matrices=False)
    figure, panels = plt.subplots(
        1, 2 if calibration else 1, figsize=(12 if calibration else 7, 6), layout="constrained", squeeze=False
    )
    axis = panels[0, 0]
    for label, poses in (("truth", truth), *aligned.items()):
        flat = (poses[:, :3, 3] - centres.mean(0)) @ axes[:2].T
        axis.plot(flat[:, 0], flat[:, 1], label=label, color="black" if label == "truth" else None, linewidth=1.2)
    axis.set_aspect("equal", adjustable="datalim")
    axis.set(title=title, xlabel="first principal axis of the true path", ylabel="second")
    axis.legend()
    if calibration:
        plot_calibration(panels[0, 1], calibration)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def plot_calibration(axis: Any, calibration: Mapping[str, Mapping[str, Any]]) -> None:
    """AbsRel of the pixels of each tenth of the confidence; a falling line is a confidence worth having."""
    for label, numbers in calibration.items():
        error = np.array(numbers["bins"])[:, 1]
        share = 100 * (np.arange(len(error)) + 0.5) / len(error)
        axis.plot(share, error, marker="o", label=f"{label} (rank correlation {numbers['rank_correlation']:.2f})")
    axis.set(title="depth error by confidence", xlabel="% of the pixels that are less confident", ylabel="AbsRel")
    axis.set_ylim(bottom=0)
    axis.grid(alpha=0.2)
    axis.legend()


def plot_musts(path: Path, title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Every number that no motion has too, over that of no motion; odometry's and constant velocity's as marks."""
    shown = [row for row in rows if row["value"] is not None and row["no_motion"]]
    figure, axis = plt.subplots(figsize=(10, 1.5 + 0.32 * len(shown)), layout="constrained")
    y = np.arange(len(shown))[::-1]
    axis.barh(y, [row["value"] / row["no_motion"] for row in shown], height=0.6, label="value")
    for key, mark in (("unrefined", "o"), ("constant_velocity", "d"), ("odometry", "x")):
        known = [(at, row[key] / row["no_motion"]) for at, row in zip(y, shown, strict=True) if row[key] is not None]
        if known:
            axis.plot([ratio for _, ratio in known], [at for at, _ in known], f"k{mark}", label=key.replace("_", " "))
    axis.axvline(1.0, color="black", linewidth=0.8)
    axis.set_yticks(y, [f"{row['where']}: {row['what']}" for row in shown], fontsize=8)
    axis.set(title=title, xlabel="error over that of no motion (depth: of the same depth everywhere)")
    axis.legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)
