"""Two cameras that walk through one rendered world from its two ends, in one process: are they joined, and how well?

    python tools/eval_cameras.py                               # six worlds
    python tools/eval_cameras.py --seeds 2 --kinds wander --calibrated --keep out/

Each world runs as `spark3r run a=… b=… --out FOLDER`: a from the beginning of the path to 0.6 of it, b from its end to
0.4. The error is that of both trajectories after one Sim(3) of both together, over the length of the shorter way, and
`alone` is each after a Sim(3) of its own, from the same run. Printed as JSON.

With --tag b that camera, and no other, sees a tag of 0.8 m on its way, and `metres` says how far each trajectory's
scale is off then, beside the standard deviation that it says itself.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from spark3r_core.geometry.alignment import umeyama
from spark3r_core.synthetic.seeds import VALIDATION
from spark3r_stream.config import RunConfig
from spark3r_stream.map.trajectory import match_times, read_trajectory
from spark3r_stream.running.cameras import cameras_of
from spark3r_stream.running.several import opened_several
from spark3r_stream.sources.synthetic import GroundTruth, SyntheticSource
from tools.bench_reduction import describe_machine
from tools.evaluation import metrics
from tools.evaluation.followed import Followed

FIRST_SEED = VALIDATION.start + 701
TAG_M = 0.8
Array = NDArray[np.float64]
SPANS = {"a": "0:0.6", "b": "1:0.4"}
MOUNT = "&mount=0.2,0,0,90"  # of the second camera
RIG = """
rig_from_camera:
  a: {translation_m: [0, 0, 0], quat_xyzw: [0, 0, 0, 1]}
  b: {translation_m: [0.2, 0, 0], quat_xyzw: [0, 0.7071067811865476, 0, 0.7071067811865476]}
"""


def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    jobs = [(kind, args.first_seed + i) for kind in args.kinds for i in range(args.seeds)]
    rows = []
    with ExitStack() as closing:
        keep = args.keep or Path(closing.enter_context(tempfile.TemporaryDirectory()))
        for kind, seed in track(jobs, "worlds", console=Console(stderr=True)):
            rows.append({"kind": kind, "seed": seed, **run_world(kind, seed, args, keep / f"{kind}_{seed}")})
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    report = {
        "what": "two cameras through one rendered world from its two ends, in one process",
        "machine": describe_machine(torch.device("cpu")),
        "settings": {"frames": args.frames, "picture": args.picture, "calibrated": args.calibrated, "repeats": 1},
        "joined": sum(row["joined"] for row in rows),
        "worlds": rows,
    }
    print(json.dumps(report, indent=2))
    return 0


def run_world(kind: str, seed: int, args: argparse.Namespace, out: Path) -> dict[str, Any]:
    """Numbers of one world, whose results are left in `out`."""
    spans = dict.fromkeys(SPANS, "0:1") if args.rig else SPANS
    uris = {
        name: f"synthetic:{args.world}?seed={seed}&frames={args.frames}&kind={kind}&size={args.picture}"
        f"&span={span}&camera={number}"
        + (f"&tag={TAG_M}&tag_at={args.tag_at}" if name in args.tag else "")
        + (MOUNT if args.rig and number else "")
        for number, (name, span) in enumerate(spans.items())
    }
    truths = {name: SyntheticSource(uri).ground_truth for name, uri in uris.items()}
    out.mkdir(parents=True, exist_ok=True)
    camera = out / "camera.json"
    camera.write_text(json.dumps(asdict(truths["a"].camera)))
    if args.fleet:
        return fleet_numbers(uris, truths)
    first, *others = (f"{name}={uri}" for name, uri in uris.items())
    tag = f"36h11:{TAG_M}" if args.tag else None
    rig = out / "rig.yaml" if args.rig else None
    if rig is not None:
        rig.write_text(RIG)
    calibration = camera if args.calibrated else None
    config = RunConfig(first, tuple(others), out=out, camera=calibration, tag=tag, rig=rig)
    with opened_several(config, cameras_of(config)) as several:
        several.wait(threading.Event())
    estimates, true = {}, {}
    for name, truth in truths.items():
        found = read_trajectory(out / name / "trajectory.txt")
        mine, its = match_times(found.time_ns, truth.pts_ns, 1_000_000)
        estimates[name], true[name] = found.world_from_camera[mine], truth.world_from_camera[its]
    length = min(metrics.path_length(truth.world_from_camera) for truth in truths.values())
    stats = {name: json.loads((out / name / "stats.json").read_text()) for name in truths}
    joined = len({one["map_frame"] for one in stats.values()}) == 1
    metres = {
        name: {**stats[name]["unit"], "error": round(1 / umeyama(*_centres(estimates, true, name)).scale - 1, 4)}
        for name in truths
    }
    both = metrics.ate(np.concatenate([*estimates.values()]), np.concatenate([*true.values()]))[0]["rmse"]
    return {
        "joined": joined,
        "frames": {name: len(poses) for name, poses in estimates.items()},
        "path_length": round(length, 3),
        "both_ate_of_path": round(both / length, 5),
        "alone_ate_of_path": {
            name: round(metrics.ate(estimates[name], true[name])[0]["rmse"] / length, 5) for name in truths
        },
        **({"metres": metres} if args.tag else {}),
    }


def fleet_numbers(uris: dict[str, str], truths: dict[str, GroundTruth]) -> dict[str, Any]:
    """The same cameras as a fleet on a Ray of two processors, as a subscriber has them."""
    from spark3r_stream.fleet.cluster import connected
    from spark3r_stream.fleet.fleet import started_fleet
    from spark3r_stream.fleet.plan import plan_of

    plan = plan_of({"publish": "tcp://127.0.0.1:*", "ray": {"cpus": 2}, "cameras": uris}, "eval")
    with connected(plan.ray, "eval"), started_fleet(plan, logging.WARNING) as fleet:
        followed = Followed(fleet.address.endpoint)
        while not fleet.is_over:
            fleet.look()
            time.sleep(0.2)
    estimates, true = [], []
    paths = followed.paths()
    for name, truth in truths.items():
        mine, its = match_times(paths[name].time_ns, truth.pts_ns, 1_000_000)
        estimates.append(paths[name].world_from_camera[mine])
        true.append(truth.world_from_camera[its])
    length = min(metrics.path_length(truth.world_from_camera) for truth in truths.values())
    both = metrics.ate(np.concatenate(estimates), np.concatenate(true))[0]["rmse"]
    return {
        "joined": len(set(followed.map_frames.values())) == 1,
        "frames": {name: len(poses) for name, poses in zip(truths, estimates, strict=True)},
        "missed": followed.missed,
        "both_ate_of_path": round(both / length, 5),
        "alone_ate_of_path": {
            name: round(metrics.ate(mine, its)[0]["rmse"] / length, 5)
            for name, mine, its in zip(truths, estimates, true, strict=True)
        },
    }


def _centres(estimates: dict[str, Array], true: dict[str, Array], name: str) -> tuple[Array, Array]:
    return estimates[name][:, :3, 3], true[name][:, :3, 3]


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", default=["wander", "loop"], help="paths, see synthetic:")
    parser.add_argument("--world", default="room")
    parser.add_argument("--seeds", type=int, default=3, help="worlds of each kind")
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED)
    parser.add_argument("--frames", type=int, default=480, help="of the whole path; each camera has six tenths")
    parser.add_argument("--picture", default="320x240")
    parser.add_argument("--calibrated", action="store_true", help="the true camera is given")
    parser.add_argument("--tag", nargs="*", default=[], choices=list(SPANS), help="cameras that see a tag")
    parser.add_argument("--tag-at", type=int, default=40, help="frame of a camera's own way that looks at it")
    parser.add_argument("--rig", action="store_true", help="both go the whole path, on one rig, at right angles")
    parser.add_argument("--fleet", action="store_true", help="as a fleet; paths are those that a subscriber has")
    parser.add_argument("--keep", type=Path, help="folder for the results; default: none are kept")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
