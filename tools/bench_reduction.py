"""Speed of token reduction: dense, Spark3R, K/V stride only, FastVGGT-style merging, and no global attention at all.

    python tools/bench_reduction.py --model bundled --weights random --frames 50 100 300 --repeats 3 --out out/bench

Methods alternate within each repeat, so that a machine that slows down slows all of them. Weights and images do not
change the amount of work, so random ones will do. Writes bench_reduction.json after every run (an interrupted
benchmark keeps its results) and bench_reduction.png. Timings count only while nothing else runs on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from spark3r_core.attention.plan import AttentionPlan, Dense
from spark3r_core.attention.reduced import Reduced
from spark3r_core.models.interface import Backbone
from spark3r_core.models.registry import MODELS, load_model
from spark3r_core.offline.reconstruct import reconstruct_with_plan
from spark3r_core.timing import Stopwatch
from spark3r_core.tokens import Reduction
from tools.reduction_baselines import NoGlobalAttention, UniformMerging

METHODS: dict[str, Callable[[str, Stopwatch], AttentionPlan]] = {
    "dense": lambda name, watch: Reduced(Reduction.dense(), name, watch),  # Dense itself, under the stopwatch
    "spark3r": lambda name, watch: Reduced(Reduction.spark3r(), name, watch),
    "kv-stride": lambda name, watch: Reduced(Reduction.kv_stride_only(), name, watch),
    "fastvggt-style": lambda name, watch: UniformMerging(stopwatch=watch),
    "limit": lambda name, watch: NoGlobalAttention(),
}
PARTS = ("encode", "local", "match", "global", "heads")
WARM_UP_FRAMES = 4


def main() -> None:
    args = parse_arguments()
    device = torch.device(args.device)
    if args.threads:
        torch.set_num_threads(args.threads)
    dtype = getattr(torch, args.dtype)
    model = load_model(args.model, device=device, dtype=dtype, weights=args.weights)
    image_hw = tuple(args.size) if args.size else MODELS[args.model].native_size[::-1]
    report: dict[str, Any] = {
        "what": "seconds and peak memory of one offline reconstruction, images in memory to arrays out",
        "machine": describe_machine(device),
        "settings": {
            "model": args.model,
            "weights": args.weights or "released",
            "dtype": args.dtype,
            "image_hw": image_hw,
            "tokens_per_frame": [layer.tokens_per_frame for layer in model.cross_layers(image_hw)],
            "frames_per_chunk": args.frames_per_chunk,
            "repeats": args.repeats,
            "images": "/".join(Path(args.video).parts[-2:]) if args.video else "uniform noise",
        },
        "runs": [],
    }
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "bench_reduction.json"
    reconstruct_with_plan(model, noise_frames(WARM_UP_FRAMES, image_hw), Dense())  # kernels, allocator, rope tables
    for frames in args.frames:
        for repeat in range(args.repeats):
            for method in args.methods:
                if method == "dense" and frames > args.dense_up_to:
                    continue
                run = run_once(model, args, method, frames, image_hw)
                report["runs"].append({"method": method, "frames": frames, "repeat": repeat, **run})
                report["summary"] = summarise(report["runs"])
                path.write_text(json.dumps(report, indent=1) + "\n")
                print(f"{frames:5d} frames  {method:15s} {run['seconds']['total']:9.2f} s", flush=True)
    print_table(report["summary"])
    plot(report, args.out / "bench_reduction.png")
    print(f"written: {path}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="bundled", choices=sorted(MODELS))
    parser.add_argument("--weights", help='checkpoint file, or "random"; default: the released weights')
    parser.add_argument("--frames", type=int, nargs="+", default=[50, 100, 200], metavar="S")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--dense-up-to", type=int, default=1_000_000, metavar="S", help="longest stream run densely")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--video", help="take real frames from this file, from the start again when it is too short")
    parser.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), help="network input; default: native 4:3")
    parser.add_argument("--frames-per-chunk", type=int, default=8)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--threads", type=int, help="torch threads; default: torch's own")
    parser.add_argument("--out", type=Path, default=Path("out/bench_reduction"))
    return parser.parse_args()


def run_once(
    model: Backbone, args: argparse.Namespace, method: str, frames: int, image_hw: tuple[int, int]
) -> dict[str, Any]:
    watch = Stopwatch()
    plan = METHODS[method](args.model, watch)
    source = video_frames(args.video, frames, image_hw) if args.video else noise_frames(frames, image_hw)
    images = np.stack(list(source))  # decoding and scaling are not what is measured
    before = time.process_time()
    result = reconstruct_with_plan(model, images, plan, watch, frames_per_chunk=args.frames_per_chunk)
    busy = time.process_time() - before  # all threads; beside the wall clock it shows a machine that was shared
    finite = bool(np.isfinite(result.depth).all() and np.isfinite(result.world_from_camera).all())
    return {"seconds": result.seconds, "cpu_seconds": busy, "peak_bytes": result.peak_bytes, "finite": finite}


def noise_frames(frames: int, image_hw: tuple[int, int]) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    for _ in range(frames):
        yield rng.integers(0, 256, (*image_hw, 3), dtype=np.uint8)


def video_frames(path: str, frames: int, image_hw: tuple[int, int]) -> Iterator[np.ndarray]:
    """The first frames of a video stretched to the network's size; a short video is repeated."""
    import av

    left = frames
    while left:
        before = left
        with av.open(path) as container:
            for picture in container.decode(video=0):
                yield picture.reformat(image_hw[1], image_hw[0], "rgb24").to_ndarray()
                left -= 1
                if not left:
                    return
        if left == before:
            raise SystemExit(f"{path} holds no decodable video frame")


def summarise(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per method and length: median and spread of the total, median parts, ratios to dense and to the limit."""
    rows = []
    for frames in sorted({run["frames"] for run in runs}):
        totals = {}
        for run in runs:
            if run["frames"] == frames:
                totals.setdefault(run["method"], []).append(run)
        median = {m: statistics.median(r["seconds"]["total"] for r in group) for m, group in totals.items()}
        for method, group in totals.items():
            seconds = [r["seconds"]["total"] for r in group]
            rows.append(
                {
                    "frames": frames,
                    "method": method,
                    "repeats": len(group),
                    "seconds": median[method],
                    "spread": [min(seconds), max(seconds)],
                    "cpu_seconds": statistics.median(r["cpu_seconds"] for r in group),
                    "parts": {part: statistics.median(r["seconds"][part] for r in group) for part in PARTS},
                    "peak_bytes": max(r["peak_bytes"] for r in group),
                    "speedup_over_dense": median["dense"] / median[method] if "dense" in median else None,
                    "ratio_to_limit": median[method] / median["limit"] if "limit" in median else None,
                }
            )
    return rows


def print_table(rows: list[dict[str, Any]]) -> None:
    print(
        f"\n{'S':>5} {'method':15} {'seconds':>9} {'× dense':>8} {'÷ limit':>8} {'peak GB':>8} {'CPU s':>8}  "
        + "  ".join(PARTS)
    )
    for row in rows:
        faster = f"{row['speedup_over_dense']:.2f}" if row["speedup_over_dense"] else "-"
        limit = f"{row['ratio_to_limit']:.2f}" if row["ratio_to_limit"] else "-"
        parts = "  ".join(f"{row['parts'][part]:.2f}" for part in PARTS)
        print(
            f"{row['frames']:5d} {row['method']:15} {row['seconds']:9.2f} {faster:>8} {limit:>8} "
            f"{row['peak_bytes'] / 1e9:8.2f} {row['cpu_seconds']:8.1f}  {parts}"
        )


def describe_machine(device: torch.device) -> dict[str, Any]:
    """What a reader needs to judge a timing."""
    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        cpu = names[0].split(":", 1)[1].strip() if names else cpu
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit.stdout.strip() or None,
        "cpu": cpu,
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "load_average_at_start": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "torch": torch.__version__,
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "cuda": torch.version.cuda if device.type == "cuda" else None,
    }


def plot(report: dict[str, Any], path: Path) -> None:
    """Totals over the length, and what the longest stream that all methods ran is made of."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = report["summary"]
    methods = list(dict.fromkeys(row["method"] for row in rows))
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), constrained_layout=True)
    for method in methods:
        mine = [row for row in rows if row["method"] == method]
        seconds = [row["seconds"] for row in mine]
        low, high = ([abs(row["spread"][side] - row["seconds"]) for row in mine] for side in (0, 1))
        left.errorbar([row["frames"] for row in mine], seconds, yerr=[low, high], marker="o", capsize=3, label=method)
    left.set(xscale="log", yscale="log", xlabel="frames S", ylabel="seconds (median; bars: min to max)")
    lengths = sorted({row["frames"] for row in rows})
    left.set_xticks(lengths, [str(length) for length in lengths])
    left.set_xticks([], minor=True)
    left.grid(True, which="both", alpha=0.2)
    left.legend()
    longest = max(row["frames"] for row in rows)
    last = [row for row in rows if row["frames"] == longest]
    base = np.zeros(len(last))
    for part in PARTS:
        heights = np.array([row["parts"][part] for row in last])
        right.bar([row["method"] for row in last], heights, bottom=base, label=part)
        base += heights
    right.set(ylabel="seconds", title=f"S = {longest}")
    right.tick_params(axis="x", rotation=20)
    right.legend()
    settings, machine = report["settings"], report["machine"]
    height, width = settings["image_hw"]
    where = machine["gpu"] or f"{machine['cpu']}, {machine['torch_threads']} threads"
    figure.suptitle(f"{settings['model']} ({settings['weights']}), {width}x{height}, {settings['dtype']}, {where}")
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main()
