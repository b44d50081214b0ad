"""Every sequence with ground truth through the engine as a file, with its files: speed, states, errors, as JSON.

    python tools/eval_tracking.py                                   # all of ../shared/data
    python tools/eval_tracking.py DATA/7scenes_redkitchen_a --repeats 3
    python tools/eval_tracking.py DATA/kitti06_0_50 --track off     # windows of every frame, for comparison

Frames per second count from the first frame asked for until trajectory, cloud and preview are on the disk; weights are
loaded before. ATE after one Sim(3) over the spread of the true positions: of the poses as they were published, and of
the final map. A sequence without ground truth is run all the same: its states, and how far its end is from its start.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from spark3r_core.errors import Spark3rError
from spark3r_stream.clock import SystemClock
from spark3r_stream.config import RunConfig
from spark3r_stream.engine.mapper_process import MapperProcess
from spark3r_stream.engine.scheduler import plan_window
from spark3r_stream.engine.steady import keep_freed_memory
from spark3r_stream.running.build import build_reconstructor
from spark3r_stream.sources.open import open_source
from spark3r_stream.sources.options import SourceOptions
from tools.bench_reduction import describe_machine
from tools.evaluation import metrics
from tools.evaluation.sequences import open_sequence
from tools.evaluation.tracked_run import TrackedRun, focal_at, path_numbers, run_tracked, states_of
from tools.evaluation.truth_of_states import wrong_tracking

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
EXCLUDED = ["loading of weights and imports", "opening of the source", "publishing"]


def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    keep_freed_memory()  # as `spark3r run` does
    machine = describe_machine(torch.device("cpu"))
    jobs = [(folder, repeat) for folder in args.folder for repeat in range(args.repeats)]
    rows: dict[str, list[dict[str, Any]]] = {}
    facts: dict[str, Any] = {}
    for folder, _ in track(jobs, "sequences", console=Console(stderr=True)):
        row, facts = run_once(folder, args)
        rows.setdefault(folder.name, []).append(row)
        print(f"{folder.name}: {json.dumps(row)}", file=sys.stderr, flush=True)
    report = {
        "what": "spark3r run FILE --out DIR",
        "excluded": EXCLUDED,
        "machine": machine,
        "settings": {
            "model": args.model, "weights": args.weights or "released", "track": args.track, "refine": args.refine,
            "device": args.device, "max_frames": args.max_frames, "repeats": args.repeats, **facts,
        },
        "sequences": {name: spread_of(repeats) for name, repeats in rows.items()},
    }  # fmt: skip
    print(json.dumps(report, indent=2))
    return 0


def run_once(folder: Path, args: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    """Numbers of one run, and what the settings came to (dtype)."""
    path = folder / "video.mp4" if (folder / "video.mp4").exists() else folder / "frames"
    with tempfile.TemporaryDirectory() as out:
        config = RunConfig(
            str(path), model=args.model, weights=args.weights, size=args.size, track=args.track, refine=args.refine,
            device=args.device, dtype=args.dtype, max_frames=args.max_frames, out=Path(out),
        )  # fmt: skip
        mapper = MapperProcess() if args.track == "on" else None
        reconstructor = build_reconstructor(config, mapper=mapper)
        plan = None if args.track == "on" else plan_window(False, None, reconstructor.memory.max_new_frames)
        source = open_source(str(path), SourceOptions(), SystemClock())
        run = run_tracked(source, reconstructor, plan=plan, max_frames=args.max_frames, out=Path(out))
        if mapper is not None:
            mapper.close()
    return numbers_of(run, folder, args.distance), {"dtype": reconstructor.facts.dtype}


def numbers_of(run: TrackedRun, folder: Path, distance: int) -> dict[str, Any]:
    collected = run.collected
    frames = len(collected.results)
    row: dict[str, Any] = {
        "frames": frames,
        "seconds": round(run.seconds, 3),
        "fps": round(frames / run.seconds, 2),
        "final_adjustment_seconds": round(run.finish_seconds, 3),
        "network_hw": run.image_hw,
        "keyframes": len(collected.keyframe_ids),
        "states": states_of(collected.results),
        "submaps": len({one.submap for one in collected.results}),
    }
    final = collected.final()
    if (folder / "groundtruth.txt").exists():
        sequence = open_sequence(str(folder))
        ids, truth = sequence.truth_of_frames()
        seen = ids < frames
        row["as_published"] = path_numbers(collected.published, ids[seen], truth[seen], distance)
        row["final"] = path_numbers(final, ids[seen], truth[seen], distance)
        if collected.keyframe_ids:
            true = dict(zip(ids.tolist(), truth, strict=True))
            row["tracking_frames"] = wrong_tracking(collected, true)
            row["tracking_frames_in_the_end"] = wrong_tracking(collected, true, final)
    elif final:
        poses = np.stack([final[frame] for frame in sorted(final)])
        length = metrics.path_length(poses)
        row["end_to_start_of_path"] = float(np.linalg.norm(poses[-1, :3, 3] - poses[0, :3, 3]) / max(length, 1e-12))
    known = known_focal(folder)
    camera = run.stats["camera"]
    found = {"last_published": focal_at(collected.results, frames), "final": None if camera is None else camera["fx"]}
    for name, focal in found.items():
        if focal is not None:
            row[f"focal_px_{name}"] = round(focal, 2)
            if known is not None:
                row[f"focal_error_{name}"] = round(focal / known - 1, 5)
    return row


def known_focal(folder: Path) -> float | None:
    """Of intrinsics.json, in pixels; None where there is none, or where nobody knows it."""
    path = folder / "intrinsics.json"
    found = json.loads(path.read_text()).get("fx") if path.exists() else None
    return None if found is None else float(found)


def spread_of(repeats: list[dict[str, Any]]) -> dict[str, Any]:
    """The last run's numbers, and median, least and most of what varies with timing."""
    varying = {}
    for name in ("fps", "seconds", "final_adjustment_seconds"):
        values = [row[name] for row in repeats]
        varying[name] = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    same = all(row.get("final") == repeats[0].get("final") for row in repeats)
    return {**repeats[-1], "over_repeats": varying, "repeats_agree": same}


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="*", help=f"folders as in shared/data; default: all of {DATA}")
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--weights", help='checkpoint file, or "random"')
    parser.add_argument("--size", type=int, help="longest side of the network input; default: the model's own")
    parser.add_argument("--track", choices=["on", "off"], default="on", help="off: windows of every frame")
    parser.add_argument("--refine", choices=["auto", "on", "off"], default="auto", help="with --track off")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=["auto", "float32", "bfloat16"], default="auto")
    parser.add_argument("--max-frames", type=int)
    parser.add_argument("--distance", type=int, default=8, help="frames between the two of a relative rotation")
    parser.add_argument("--repeats", type=int, default=1)
    args = parser.parse_args(arguments)
    args.folder = args.folder or sorted(path.parent for path in DATA.glob("*/meta.json"))
    if not args.folder:
        parser.error(f"there are no sequences in {DATA}; give their folders")
    for folder in args.folder:
        if not (folder / "video.mp4").exists() and not (folder / "frames").is_dir():
            parser.error(f"{folder} has no video.mp4 and no folder frames; expected a sequence as in {DATA}")
    return args


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except Spark3rError as error:
        raise SystemExit(f"error: {error}") from None
