"""What token reduction costs in quality: every choice of SPARK3R.md as a row, on streams with exact ground truth.

    python tools/ablate_reduction.py --model bundled --streams 8 --frames 120 --out out/ablation

Each procedural stream (held-out seeds) is encoded once and decoded with every setting. Errors: ATE after Sim(3) over
the spread of the true positions, median rotation error against frame 0, depth AbsRel after one scale per stream. Rows
are compared with dense per stream; streams on which dense does not beat "no motion" are counted, not hidden. Layers are
probed first, with ground truth, for the layer-adaptive rows. Writes ablate_reduction.json, .png and sensitivity.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from spark3r_core.attention.baselines import NoGlobalAttention, UniformMerging
from spark3r_core.attention.plan import AttentionPlan
from spark3r_core.attention.reduced import Reduced
from spark3r_core.errors import GeometryError
from spark3r_core.geometry import umeyama
from spark3r_core.geometry.se3 import compose, invert, relative_angle
from spark3r_core.models.registry import MODELS, load_model
from spark3r_core.offline import Reconstruction, encode_in_chunks, reconstruct_encoded
from spark3r_core.probe import Geometry, SensitivityTable, probe_sensitivity
from spark3r_core.synthetic.seeds import VALIDATION
from spark3r_core.synthetic.sequence import SyntheticSequence
from spark3r_core.tokens import Reduction
from tools.bench_reduction import describe_machine

KINDS = ("handheld", "orbit", "loop", "robot", "wander")
MEASURES = ("ate", "rotation_deg", "depth_absrel")
QUERY_FACTORS, KV_FACTORS = (1, 2, 4, 8, 16), (1, 2, 4, 8, 16, 32)


def main() -> None:
    args = parse_arguments()
    if args.threads:
        torch.set_num_threads(args.threads)
    model = load_model(args.model, device=args.device, weights=args.weights)
    image_hw = tuple(args.size) if args.size else MODELS[args.model].native_size[::-1]
    args.out.mkdir(parents=True, exist_ok=True)
    streams = [render_stream(index, args, image_hw) for index in range(args.streams)]
    images, truths = [stream[0] for stream in streams], [stream[1] for stream in streams]
    table = probe_sensitivity(model, images, truths, progress=lambda done, all_: progress("probe", done, all_))
    table.save(args.out / "sensitivity.json")
    settings = rows_of(args, table)
    measured: dict[str, list[dict[str, float]]] = {name: [] for name in ("no motion", *settings)}
    for index, (pixels, truth) in enumerate(streams):
        encoded = encode_in_chunks(model, pixels)
        measured["no motion"].append(measure(no_motion(truth), truth))
        for done, (name, plan) in enumerate(settings.items(), start=1):
            measured[name].append(measure(reconstruct_encoded(model, encoded, plan), truth))
            progress(f"stream {index + 1}/{len(streams)}", done, len(settings))
    report = {
        "what": "quality of offline reconstruction under token reduction; medians over streams, ratios per stream",
        "machine": describe_machine(torch.device(args.device)),
        "settings": {
            "model": args.model,
            "weights": str(args.weights or "released"),
            "image_hw": image_hw,
            "frames": args.frames,
            "step": args.step,
            "seeds": [seed_of(index) for index in range(args.streams)],
            "paths": [KINDS[index % len(KINDS)] for index in range(args.streams)],
        },
        "probe": asdict(table) | {"ratios": table.ratios, "sensitive": table.sensitive},
        "rows": summarise(measured),
        "per_stream": measured,
    }
    path = args.out / "ablate_reduction.json"
    path.write_text(json.dumps(report, indent=1) + "\n")
    print_table(report["rows"])
    plot(report, args.out / "ablate_reduction.png")
    print(f"written: {path}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="bundled", choices=sorted(MODELS))
    parser.add_argument("--weights", help='checkpoint file, or "random"; default: the released weights')
    parser.add_argument("--streams", type=int, default=6, help="procedural streams, of held-out seeds")
    parser.add_argument("--frames", type=int, default=120)
    parser.add_argument("--step", type=float, default=3.0, help="video frames (30 per second) between samples")
    parser.add_argument("--quick", action="store_true", help="a few rows only, as a rehearsal")
    parser.add_argument("--size", type=int, nargs=2, metavar=("H", "W"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", type=Path, default=Path("out/ablate_reduction"))
    return parser.parse_args()


def rows_of(args: argparse.Namespace, table: SensitivityTable) -> dict[str, AttentionPlan]:
    """Settings by name; "dense" is the first. `fixed` keeps every choice but the named one at its default."""
    reductions = {"dense": Reduction.dense()}
    if args.quick:
        pairs = [(1, 4), (4, 1), (4, 4)]
    else:
        pairs = [(q, kv) for q in QUERY_FACTORS for kv in KV_FACTORS if (q, kv) != (1, 1)]
    reductions |= {f"q {q} kv {kv}": Reduction.fixed(q, kv) for q, kv in pairs}
    factors = (8,) if args.quick else (4, 8, 16)
    reductions |= {f"kv {f}, merged": Reduction.fixed(1, f).with_(kv_mode="merge") for f in factors}
    reductions |= {f"kv {f}, all special": Reduction.fixed(1, f).with_(all_special_kv=True) for f in factors}
    groups = (5,) if args.quick else (1, 5, 10, 40, args.frames)
    reductions |= {f"q 4, group {g}": Reduction.fixed(4, 1).with_(group_frames=g) for g in groups}
    # The published rules for 1000 frames scaled to this length: 40 of 1000 frames' keys, with and without the table.
    sensitive = frozenset(table.sensitive)
    long = Reduction(query_factor=4, kv_factor=max(2, args.frames // 40), sensitive=sensitive)
    reductions["published rule"] = Reduction.spark3r().with_(sensitive=sensitive)
    reductions["layers alike"] = long.with_(insensitive_multiplier=1)
    reductions["layer-adaptive"] = long
    reductions["layer-adaptive reversed"] = long.with_(sensitive=frozenset(range(len(table.errors))) - sensitive)
    plans: dict[str, AttentionPlan] = {name: Reduced(reduction) for name, reduction in reductions.items()}
    return plans | {"fastvggt-style": UniformMerging(), "no global attention": NoGlobalAttention()}


def seed_of(index: int) -> int:
    return VALIDATION.start + 7000 + index


def render_stream(index: int, args: argparse.Namespace, image_hw: tuple[int, int]) -> tuple[torch.Tensor, Geometry]:
    """Images (S, 3, H, W) uint8 at the network's size, and their ground truth."""
    kind = KINDS[index % len(KINDS)]
    sequence = SyntheticSequence(seed_of(index), args.frames, kind, image_hw, step=args.step)
    images, depths, poses, cameras = zip(*(sequence.frame(i) for i in range(len(sequence))), strict=True)
    progress("render", index + 1, args.streams)
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
    return pixels, Geometry(np.stack(poses), np.stack(cameras), np.stack(depths))


def no_motion(truth: Geometry) -> Geometry:
    """The baseline that any reconstruction must beat: the camera never moves, everything is one unit away."""
    poses = np.tile(np.eye(4), (len(np.asarray(truth.depth)), 1, 1))
    return Geometry(poses, truth.intrinsics, np.ones_like(np.asarray(truth.depth)))


def measure(estimate: Geometry | Reconstruction, truth: Geometry) -> dict[str, float]:
    """MEASURES of one stream. A trajectory in one place or on one line has the ATE of a single point: 1."""
    found, expected = np.asarray(estimate.world_from_camera), np.asarray(truth.world_from_camera)
    positions = expected[:, :3, 3]
    spread = float(np.sqrt(np.mean(np.sum((positions - positions.mean(0)) ** 2, 1))))
    try:
        aligned = umeyama(found[:, :3, 3], positions).apply_to_points(found[:, :3, 3])
        ate = float(np.sqrt(np.mean(np.sum((aligned - positions) ** 2, 1)))) / spread
    except GeometryError:
        ate = 1.0
    turned = [
        relative_angle(compose(invert(p[0]), p[-1]), compose(invert(t[0]), t[-1]))
        for p, t in ((found[[0, i]], expected[[0, i]]) for i in range(1, len(found)))
    ]
    return {
        "ate": ate,
        "rotation_deg": float(np.degrees(np.median(turned))),
        "depth_absrel": depth_absrel(np.asarray(estimate.depth), np.asarray(truth.depth)),
    }


def depth_absrel(found: NDArray, expected: NDArray) -> float:
    """Mean |d - t| / t over pixels with true depth, after the median ratio of the stream."""
    usable = np.isfinite(expected) & (expected > 0) & np.isfinite(found) & (found > 0)
    found, expected = found[usable].astype(np.float64), expected[usable].astype(np.float64)
    scale = np.median(expected / found)
    return float(np.mean(np.abs(scale * found - expected) / expected))


def summarise(measured: dict[str, list[dict[str, float]]]) -> list[dict[str, Any]]:
    """Per setting: medians over streams, and the geometric mean over streams of the ratio to dense."""
    dense, still = measured["dense"], measured["no motion"]
    beats = sum(d["ate"] * 3 <= s["ate"] for d, s in zip(dense, still, strict=True))
    rows = []
    for name, streams in measured.items():
        row: dict[str, Any] = {"name": name, "streams": len(streams), "dense_beats_no_motion_3x": beats}
        for key in MEASURES:
            values = np.array([stream[key] for stream in streams])
            ratios = values / np.maximum([d[key] for d in dense], 1e-12)
            row[key] = float(np.median(values))
            row[f"{key}_over_dense"] = float(np.exp(np.mean(np.log(np.maximum(ratios, 1e-12)))))
        rows.append(row)
    return rows


def print_table(rows: list[dict[str, Any]]) -> None:
    print(f"\n{'setting':26}" + "".join(f"{key:>14} {'÷ dense':>8}" for key in MEASURES))
    for row in rows:
        cells = "".join(f"{row[key]:14.4f} {row[f'{key}_over_dense']:8.3f}" for key in MEASURES)
        print(f"{row['name']:26}{cells}")
    streams, beats = rows[0]["streams"], rows[0]["dense_beats_no_motion_3x"]
    print(f"dense has a third of the ATE of no motion, or less, on {beats} of {streams} streams")


def plot(report: dict[str, Any], path: Path) -> None:
    """Left: the asymmetry, one factor at a time. Right: every other row."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = {row["name"]: row for row in report["rows"]}
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.8), constrained_layout=True)
    for label, pattern, factors in (
        ("queries", "q {} kv 1", QUERY_FACTORS),
        ("keys and values", "q 1 kv {}", KV_FACTORS),
    ):
        present = [f for f in factors if f > 1 and pattern.format(f) in rows]
        for key, style in (("ate", "-o"), ("rotation_deg", "--s")):
            ratios = [rows[pattern.format(f)][f"{key}_over_dense"] for f in present]
            left.plot([1, *present], [1.0, *ratios], style, label=f"{label}: {key}")
    left.set(xscale="log", xlabel="reduction factor", ylabel="error over dense (geometric mean over streams)")
    left.set_xticks(KV_FACTORS, [str(f) for f in KV_FACTORS])
    left.set_xticks([], minor=True)
    left.grid(alpha=0.2)
    left.legend()
    others = [name for name in rows if not name.startswith("q ") or "group" in name]
    others = [name for name in others if name not in ("no motion", "dense")]
    y = np.arange(len(others))
    for offset, key in ((-0.2, "ate"), (0.2, "depth_absrel")):
        right.barh(y + offset, [rows[name][f"{key}_over_dense"] for name in others], 0.38, label=key)
    right.set_yticks(y, others, fontsize=8)
    right.axvline(1.0, color="black", linewidth=0.8)
    right.set(xlabel="error over dense")
    right.legend()
    settings = report["settings"]
    figure.suptitle(
        f"{settings['model']} ({settings['weights']}), {len(settings['seeds'])} streams of {settings['frames']}"
    )
    figure.savefig(path, dpi=130)


def progress(what: str, done: int, total: int) -> None:
    end = "\n" if done == total else "\r"
    print(f"{what}: {done}/{total}", end=end, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
