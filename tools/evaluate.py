"""Compare results with ground truth.

    python tools/evaluate.py --truth DATA/7scenes_redkitchen_a --result result/ --out docs/evaluation
    python tools/evaluate.py --truth "synthetic:room?seed=100001&frames=300" --result mine=traj.txt --odometry --out DIR

A result is a folder written by `spark3r run` (trajectory.txt, and with --save-depth its depth maps) or any TUM file.
The truth is a folder laid out like shared/data, or a synthetic URI. Beside every result stand two baselines, no motion
and constant velocity, and with --odometry OpenCV's visual odometry with the true intrinsics.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from spark3r_core.errors import Spark3rError
from spark3r_stream.outputs.trajectory import match_times, read_trajectory
from tools.evaluation import baselines, metrics, report
from tools.evaluation.depth_maps import result_depth_errors, result_fov_error
from tools.evaluation.sequences import TrueSequence, open_sequence

Array = NDArray[np.float64]


def trajectory_numbers(estimate: Array, truth: Array, distance: int) -> tuple[dict[str, Any], Array]:
    """All numbers of one trajectory, matched frame by frame with the truth, and its aligned poses."""
    errors, aligned = metrics.ate(estimate, truth)
    moved = metrics.spread(estimate)
    scale = 1.0 if moved == 0 else metrics.spread(aligned) / moved
    numbers = {
        "frames": len(truth),
        "ate": errors,
        "rpe": metrics.rpe(estimate, truth, distance, scale),
        "auc": metrics.pose_auc(estimate, truth),
    }
    return numbers, aligned


def evaluate_result(path: Path, sequence: TrueSequence, distance: int) -> tuple[dict[str, Any], Array]:
    """Numbers of one result; frames without a pose are left out and counted."""
    found = read_trajectory(path / "trajectory.txt" if path.is_dir() else path)
    frames, truth = sequence.truth_of_frames()
    mine, theirs = match_times(found.time_ns, sequence.time_ns[frames], 10_000_000)
    if len(mine) <= distance:
        raise SystemExit(f"{path}: {len(mine)} poses match the truth's times; expected more than {distance}")
    numbers, aligned = trajectory_numbers(found.world_from_camera[mine], truth[theirs], distance)
    numbers["frames_missing"] = len(truth) - len(mine)
    if path.is_dir():
        numbers |= result_depth_errors(path, sequence) | result_fov_error(path, sequence)
    return numbers, aligned


def main() -> int:
    args = parse()
    sequence = open_sequence(args.truth)
    frames, truth = sequence.truth_of_frames()
    results: dict[str, dict[str, Any]] = {}
    lines: dict[str, Array] = {}
    for text in args.result:
        name, _, path = text.rpartition("=")
        path = Path(path)
        results[name or path.stem], lines[name or path.stem] = evaluate_result(path, sequence, args.distance)
    still = baselines.no_motion(len(truth))
    results["no motion"], _ = trajectory_numbers(still, truth, args.distance)
    if len(truth) > 2 * args.distance:
        velocity = baselines.constant_velocity_rpe(truth, args.distance)
        results["constant velocity"] = {"frames": len(truth), "rpe": velocity}
    if args.odometry and sequence.intrinsics is not None:
        poses, lost = baselines.visual_odometry(sequence.frames(), sequence.intrinsics)
        results["OpenCV odometry"], lines["OpenCV odometry"] = trajectory_numbers(poses[frames], truth, args.distance)
        results["OpenCV odometry"]["frames_lost"] = lost
    name = args.name or sequence.name
    report.write(args.out, name, args.distance, results)
    report.plot(args.out / f"{name}.png", name, truth, lines)
    print(json.dumps(results) if args.json else report.table(results))
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--truth", required=True, help="folder with groundtruth.txt, or synthetic:URI")
    parser.add_argument("--result", action="append", default=[], help="[name=]folder or TUM file; may be repeated")
    parser.add_argument("--distance", type=int, default=8, help="frames between the two of a relative pose (default 8)")
    parser.add_argument("--odometry", action="store_true", help="also run OpenCV's visual odometry")
    parser.add_argument("--out", type=Path, required=True, help="folder for NAME.json, NAME.md and NAME.png")
    parser.add_argument("--name", help="name of the files (default: the sequence's)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except Spark3rError as error:
        raise SystemExit(f"error: {error}") from None
