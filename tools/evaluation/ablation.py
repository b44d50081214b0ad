"""Streams with ground truth for ablations, three errors per reconstruction, and their summary over streams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from numpy.typing import NDArray

from spark3r_core.geometry.rotation import rotation_angle
from spark3r_core.models.preprocess import StreamResize
from spark3r_core.offline.probe import Geometry
from spark3r_core.synthetic.sequence import SyntheticSequence
from tools.evaluation import metrics
from tools.evaluation.depth_maps import sample_centred
from tools.evaluation.sequences import open_sequence

matplotlib.use("Agg")
import matplotlib.pyplot as plt

Array = NDArray[np.float64]
MEASURES = ("ate", "rotation_deg", "depth_absrel")
TITLES = {"ate": "ATE / spread", "rotation_deg": "rotation °", "depth_absrel": "AbsRel"}
NO_MOTION, DENSE = "no motion", "dense"


@dataclass(frozen=True, eq=False)
class Stream:
    """Frames at network size and what is known of them.

    images: (S, 3, H, W) uint8. known: (m,) frames with a true pose; poses: (m, 4, 4). depth: true maps (H, W) by frame.
    geometry: poses, intrinsics and depth of every frame, where all are known (synthetic streams): for the probe.
    """

    name: str
    images: torch.Tensor
    known: NDArray[np.int64]
    poses: Array
    depth: dict[int, Array]
    geometry: Geometry | None = None


def synthetic_stream(seed: int, kind: str, frames: int, image_hw: tuple[int, int], step: float) -> Stream:
    """A procedural stream rendered at network size; `step` video frames lie between samples."""
    sequence = SyntheticSequence(seed, frames, kind, image_hw, step=step)
    images, depths, poses, cameras = zip(*(sequence.frame(i) for i in range(frames)), strict=True)
    truth = Geometry(np.stack(poses), np.stack(cameras), np.stack(depths))
    depth = {i: np.asarray(depths[i], np.float64) for i in range(frames)}
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
    return Stream(f"{kind} {seed}", pixels, np.arange(frames), np.stack(poses), depth, truth)


def real_stream(what: str, frames: int, image_hw: tuple[int, int], patch_size: int) -> Stream:
    """The first frames of a folder as shared/data, or of a synthetic URI, with about as many patches as `image_hw`."""
    sequence = open_sequence(what)
    patches = image_hw[0] * image_hw[1] // patch_size**2
    resize, images = None, []
    for image in sequence.frames():
        resize = resize or StreamResize.fit_patches(image.shape[:2], patches, patch_size)
        images.append(resize(image)[0])
        if len(images) == frames:
            break
    known, poses = sequence.truth_of_frames()
    inside = known < len(images)
    height, width = images[0].shape[:2]
    depth = {i: sample_centred(load(), height, width) for i, load in sequence.depth.items() if i < len(images)}
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
    return Stream(sequence.name, pixels, known[inside], poses[inside], depth)


def measure(poses: Array, depth: NDArray[np.floating], stream: Stream) -> dict[str, float]:
    """MEASURES of one reconstruction: poses (S, 4, 4), depth (S, H, W). NaN where there is no true depth.

    ATE after Sim(3) over the spread of the true positions; median rotation error against the first known frame; AbsRel
    after one scale for the stream.
    """
    found, true = np.asarray(poses, np.float64)[stream.known], stream.poses
    turned = (np.swapaxes(p[:1, :3, :3], 1, 2) @ p[1:, :3, :3] for p in (found, true))
    mine, theirs = turned
    errors = metrics.depth_errors([np.asarray(depth[i], np.float64) for i in stream.depth], list(stream.depth.values()))
    return {
        "ate": metrics.ate(found, true)[0]["of_spread"],
        "rotation_deg": float(np.degrees(np.median(rotation_angle(np.swapaxes(theirs, 1, 2) @ mine)))),
        "depth_absrel": errors.get("abs_rel", float("nan")),
    }


def measure_no_motion(stream: Stream) -> dict[str, float]:
    """The camera never moves and everything is one unit away: what any reconstruction must beat."""
    frames, _, height, width = stream.images.shape
    return measure(np.tile(np.eye(4), (frames, 1, 1)), np.ones((frames, height, width), np.float32), stream)


def summarise(measured: Mapping[str, Sequence[Mapping[str, float]]]) -> list[dict[str, Any]]:
    """Per setting: medians over streams, and the geometric mean over streams of the ratio to dense.

    Streams without a true depth are left out of the depth's columns.
    """
    dense, still = measured[DENSE], measured[NO_MOTION]
    beats = sum(d["ate"] * 3 <= s["ate"] for d, s in zip(dense, still, strict=True))
    rows = []
    for name, streams in measured.items():
        row: dict[str, Any] = {"name": name, "streams": len(streams), "dense_beats_no_motion_3x": beats}
        for key in MEASURES:
            values, reference = (np.array([stream[key] for stream in group]) for group in (streams, dense))
            known = np.isfinite(values) & np.isfinite(reference)
            row[key] = float(np.median(values[known])) if known.any() else None
            ratios = np.maximum(values[known], 1e-12) / np.maximum(reference[known], 1e-12)
            row[f"{key}_over_dense"] = float(np.exp(np.mean(np.log(ratios)))) if known.any() else None
        rows.append(row)
    return rows


def table(rows: Sequence[Mapping[str, Any]], groups: Mapping[str, str]) -> str:
    """Markdown, a row per setting; groups: which question each setting belongs to."""
    titles = [part for key in MEASURES for part in (TITLES[key], "÷ dense")]
    lines = ["| question | setting | " + " | ".join(titles) + " |", "|---" * (len(titles) + 2) + "|"]
    for row in rows:
        cells = [row[part] for key in MEASURES for part in (key, f"{key}_over_dense")]
        shown = " | ".join("–" if cell is None else f"{cell:.3g}" for cell in cells)
        lines.append(f"| {groups.get(row['name'], 'reference')} | {row['name']} | {shown} |")
    streams, beats = rows[0]["streams"], rows[0]["dense_beats_no_motion_3x"]
    lines.append(f"\nDense has a third of the ATE of no motion, or less, on {beats} of {streams} streams.")
    return "\n".join(lines)


def plot(
    rows: Sequence[Mapping[str, Any]],
    groups: Mapping[str, str],
    factors: Mapping[str, tuple[int, int]],
    title: str,
    path: Path,
) -> None:
    """Left: one factor at a time (the asymmetry). Middle: ATE over r_Q x r_KV. Right: every other row.

    factors: (r_Q, r_KV) of the settings that vary nothing else.
    """
    by_name = {row["name"]: row for row in rows}
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(19, 6), layout="constrained")
    for label, fixed, mark in (("queries", 1, "o"), ("keys and values", 0, "s")):
        line = sorted((pair[1 - fixed], name) for name, pair in factors.items() if pair[fixed] == 1)
        for key, style in (("ate", "-"), ("rotation_deg", "--")):
            ratios = [by_name[name][f"{key}_over_dense"] for _, name in line]
            left.plot([factor for factor, _ in line], ratios, style + mark, label=f"{label}: {TITLES[key]}")
    left.set(xscale="log", xlabel="reduction factor", ylabel="error over dense (geometric mean over streams)")
    used = sorted({factor for pair in factors.values() for factor in pair})
    left.set_xticks(used, [str(factor) for factor in used])
    left.set_xticks([], minor=True)
    left.grid(alpha=0.2)
    left.legend()
    queries, keys = (sorted({pair[i] for pair in factors.values()}) for i in (0, 1))
    grid = np.full((len(queries), len(keys)), np.nan)
    for name, (query, kv) in factors.items():
        at = queries.index(query), keys.index(kv)
        grid[at] = by_name[name]["ate_over_dense"]
        middle.text(at[1], at[0], f"{grid[at]:.2f}", ha="center", va="center")
    middle.imshow(grid, cmap="Oranges", alpha=0.7, aspect="auto")
    middle.set_xticks(range(len(keys)), [str(kv) for kv in keys])
    middle.set_yticks(range(len(queries)), [str(query) for query in queries])
    middle.set(xlabel="r_KV", ylabel="r_Q", title="ATE over dense")
    others = [row for row in rows if row["name"] not in factors and row["name"] != NO_MOTION]
    y = np.arange(len(others))[::-1]
    for offset, key in ((0.27, "ate"), (0.0, "rotation_deg"), (-0.27, "depth_absrel")):
        widths = [row[f"{key}_over_dense"] or 0.0 for row in others]
        right.barh(y + offset, widths, 0.25, label=TITLES[key])
    right.set_yticks(y, [f"{groups[row['name']]}: {row['name']}" for row in others], fontsize=8)
    right.axvline(1.0, color="black", linewidth=0.8)
    right.set(xlabel="error over dense")
    right.legend()
    figure.suptitle(title)
    figure.savefig(path, dpi=110)
    plt.close(figure)
