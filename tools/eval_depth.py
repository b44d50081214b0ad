"""Depth of keyframes from several views against the truth: before and after, with pictures, as JSON.

    python tools/eval_depth.py                                          # loops, a room, the kitchen: some minutes
    python tools/eval_depth.py --acceptance                             # the loops of the acceptance suite
    python tools/eval_depth.py ../shared/data/7scenes_redkitchen_a --out out/depth
    python tools/eval_depth.py "synthetic:room?seed=100802&frames=150&kind=handheld&size=320x240"

"before" is the keyframe as first published, with the network's depth bent to sparse points; "after" as published last.
AbsRel with one scale for the whole sequence. A keyframe of a real sequence is held against the nearest depth map in
time, seen from it by the true poses. Rows of a picture: the keyframe; true depth, before, after; error before and
after (0 to 20 percent); confidence.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from spark3r_core.errors import Spark3rError
from spark3r_core.memory.config import MemoryConfig
from spark3r_core.models.interface import Backbone
from spark3r_core.synthetic.seeds import ACCEPTANCE, VALIDATION
from spark3r_stream.engine.local_mapper import LocalMapper
from spark3r_stream.engine.steady import keep_freed_memory
from spark3r_stream.engine.tracking import TrackingReconstructor
from tools.bench_reduction import describe_machine
from tools.evaluation.dense_run import KeyframeCollector, camera_at, depth_numbers, point_numbers, true_depth
from tools.evaluation.network import add_arguments, load_network
from tools.evaluation.sequences import TrueSequence, open_sequence
from tools.evaluation.suite import SuiteConfig, stream_uris
from tools.evaluation.tracked_run import HeldSource, path_numbers, run_tracked

KITCHEN = Path(__file__).resolve().parents[2] / "shared" / "data" / "7scenes_redkitchen_a"
PICTURES = 4  # keyframes of a sequence that are drawn
MOST_DEPTH_MAPS = 100_000  # of a synthetic sequence: each keyframe's is rendered when it is asked for
EXCLUDED = ["rendering", "reading", "publishing", "result files"]
PASSES_IF = {"loops": "AbsRel at most 0.06", "kitchen": "AbsRel at most 0.10", "points": "0.9 within 3 % of the size"}


def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    keep_freed_memory()
    model = load_network(args.model, args.weights, args.checkpoint, args.device)
    rows = {}
    for what in args.sequence or default_sequences(args.acceptance):
        sequence = open_sequence(what, depth_frames=MOST_DEPTH_MAPS)
        rows[what] = run_once(model, what, sequence, args)
        print(f"{what}: {json.dumps(rows[what])}", file=sys.stderr, flush=True)
    report = {
        "what": "a file through the tracker and the mapper, in this process; depth of its keyframes",
        "excluded": EXCLUDED,
        "machine": describe_machine(torch.device(args.device)),
        "settings": {"model": args.model, "dtype": str(model.attention_dtype), "repeats": 1},
        "passes_if": PASSES_IF,
        "sequences": rows,
    }
    print(json.dumps(report, indent=2))
    return 0


def default_sequences(acceptance: bool) -> list[str]:
    """The loops of the evaluation suite, on worlds for validation unless those for acceptance are asked for, and the
    kitchen where it is at hand."""
    seeds = ACCEPTANCE if acceptance else VALIDATION
    return [*stream_uris(SuiteConfig(seeds)), *([str(KITCHEN)] if KITCHEN.exists() else [])]


def run_once(model: Backbone, what: str, sequence: TrueSequence, args: argparse.Namespace) -> dict[str, Any]:
    images = list(sequence.frames())[: args.max_frames]
    collector = KeyframeCollector()
    began = time.monotonic()
    engine = TrackingReconstructor(LocalMapper(model, MemoryConfig(max_new_frames=1)))
    run = run_tracked(HeldSource(what, images), engine, sinks=[collector])
    frames, truth = sequence.truth_of_frames()
    row: dict[str, Any] = {
        "frames": len(images),
        "seconds": round(time.monotonic() - began, 2),
        "finish_seconds": round(run.finish_seconds, 2),
        "final_path": path_numbers(run.collected.final(), frames, truth, 8),
        "before": depth_numbers(collector, sequence, "first"),
        "after": depth_numbers(collector, sequence, "last"),
    }
    if what.startswith("synthetic:"):
        row["points_before"] = point_numbers(collector, sequence, "first")
        row["points_after"] = point_numbers(collector, sequence, "last")
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(args.out / f"{sequence.name}.png"), picture(collector, sequence))
    return row


def picture(collector: KeyframeCollector, sequence: TrueSequence) -> NDArray[np.uint8]:
    """Some keyframes, one per row; BGR."""
    ids = sorted(collector.last)
    rows = []
    for frame_id in [ids[index] for index in np.linspace(0, len(ids) - 1, min(PICTURES, len(ids))).astype(int)]:
        before, after = collector.first[frame_id], collector.last[frame_id]
        height, width = after.depth.shape
        truth = true_depth(sequence, frame_id, camera_at(sequence, after), (height, width))
        known = np.isfinite(truth)
        if not known.any():
            continue
        scale = float(np.median(truth[known] / after.depth[known]))  # of this keyframe: drawn, not measured
        depths = [cv2.resize(before.depth, (width, height)) * scale, after.depth * scale]
        low, high = np.quantile(np.log(truth[known]), [0.01, 0.99])
        errors = [np.where(known, np.abs(depth / np.where(known, truth, 1) - 1), 0) for depth in depths]
        tiles = [cv2.resize(after.image, (width, height))[..., ::-1]]
        tiles += [_coloured(np.log(depth), low, high) for depth in (np.where(known, truth, np.exp(low)), *depths)]
        tiles += [*(_coloured(error, 0, 0.2) for error in errors), _coloured(after.confidence, 0, 1)]
        rows.append(np.hstack(tiles))
    return np.asarray(np.vstack(rows) if rows else np.zeros((1, 1, 3)), np.uint8)


def _coloured(image: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    levels = np.clip((image - low) / max(high - low, 1e-9), 0, 1) * 255
    return np.asarray(cv2.applyColorMap(levels.astype(np.uint8), cv2.COLORMAP_TURBO), np.uint8)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sequence", nargs="*", help="folder with depth/ as in shared/data, or synthetic URI")
    parser.add_argument("--out", type=Path, help="folder for a picture of each sequence")
    parser.add_argument("--acceptance", action="store_true", help="the loops that decide, not those to look at")
    parser.add_argument("--max-frames", type=int)
    parser.add_argument("--device", default="cpu")
    add_arguments(parser)
    args = parser.parse_args(arguments)
    for what in args.sequence:
        if not what.startswith("synthetic:") and not (Path(what) / "depth").is_dir():
            parser.error(f"{what} has no folder depth; expected a folder as in shared/data, or a synthetic URI")
    return args


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except Spark3rError as error:
        raise SystemExit(f"error: {error}") from None
