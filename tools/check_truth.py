"""Does a trajectory agree with its own pictures? Epipolar error of matched features, for the truth and for a result.

    python tools/check_truth.py ../shared/data/7scenes_redkitchen_a
    spark3r run ../shared/data/7scenes_redkitchen_a/video.mp4 --out out
    python tools/check_truth.py ../shared/data/7scenes_redkitchen_a --result out

Where the true poses themselves do not explain what the pictures show, errors against them are errors of both. Features
of two pictures some frames apart are matched (RootSIFT, then a fundamental matrix by RANSAC, which knows no camera and
no pose); their Sampson distance (Hartley and Zisserman, 2nd ed., eq. 11.9) to the epipolar geometry of the poses says
by how many pixels these contradict them. No depth and no scale is in it. The truth is judged with the sequence's own
camera, a result with the one that it found. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from spark3r_core.errors import Spark3rError
from spark3r_core.features.rootsift import Features, extract, match
from spark3r_core.features.verify import epipolar_inliers
from spark3r_core.geometry import se3
from spark3r_core.geometry.camera_files import read_camera
from spark3r_stream.map.trajectory import match_times, read_trajectory
from tools.evaluation.sequences import TrueSequence, open_sequence

Array = NDArray[np.float64]

LEAST_MATCHES = 30
LEAST_WAY = 1e-6  # between two cameras, in the trajectory's unit: on less there is no epipolar geometry


def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    sequence = open_sequence(str(args.folder))
    if sequence.intrinsics is None:
        raise SystemExit(f"error: {args.folder} has no intrinsics.json; without a camera poses say nothing of pixels")
    frames, truth = sequence.truth_of_frames()
    judged = {"truth": (dict(zip(frames.tolist(), truth, strict=True)), sequence.intrinsics.matrix)}
    if args.result is not None:
        judged["result"] = result_of(args.result, sequence)
    images = list(sequence.frames())
    pairs = [(first, first + args.apart) for first in range(0, len(images) - args.apart, args.every)]
    rows: dict[str, list[float]] = {name: [] for name in judged}
    for first, second in track(pairs, "pairs", console=Console(stderr=True)):
        if any(one not in poses for one in (first, second) for poses, _ in judged.values()):
            continue
        places = matched_places(extract(images[first]), extract(images[second]), images[first].shape[1])
        if len(places[0]) < LEAST_MATCHES:
            continue
        for name, (poses, camera) in judged.items():
            second_from_first = se3.compose(se3.invert(poses[second]), poses[first])
            rows[name].append(float(np.median(sampson(second_from_first, camera, *places))))
    report: dict[str, Any] = {
        "what": "median Sampson distance of a pair's matches, over pairs, in pixels",
        "sequence": sequence.name, "frames_apart": args.apart, "pairs_tried": len(pairs),
    }  # fmt: skip
    for name, errors in rows.items():
        report[name] = {"pairs": len(errors)} | {
            f"p{share}": round(float(np.percentile(errors, share)), 3) for share in (50, 75, 90) if errors
        }
    print(json.dumps(report, indent=2))
    return 0


def result_of(folder: Path, sequence: TrueSequence) -> tuple[dict[int, Array], Array]:
    """Poses (4, 4) by frame and the camera (3, 3) of a result folder."""
    trajectory = read_trajectory(folder / "trajectory.txt")
    begin = sequence.time_ns[0] if trajectory.time_ns[0] < sequence.time_ns[0] else 0
    frame, row = match_times(sequence.time_ns - begin, trajectory.time_ns, 10_000_000)
    poses = dict(zip(frame.tolist(), trajectory.world_from_camera[row], strict=True))
    return poses, read_camera(folder / "intrinsics.json").matrix


def matched_places(a: Features, b: Features, width: int) -> tuple[Array, Array]:
    """(n, 2) pixels of either picture that any one epipolar geometry explains."""
    pairs = match(a, b)
    if len(pairs) < LEAST_MATCHES:
        return np.zeros((0, 2)), np.zeros((0, 2))
    first, second = a.places[pairs[:, 0]], b.places[pairs[:, 1]]
    good = epipolar_inliers(first, second, width)
    return first[good].astype(np.float64), second[good].astype(np.float64)


def sampson(second_from_first: Array, camera: Array, first: Array, second: Array) -> Array:
    """(n,) distance in pixels of matches to the epipolar geometry of a relative pose (4, 4); infinite without a way."""
    x, y, z = second_from_first[:3, 3]
    if np.linalg.norm(second_from_first[:3, 3]) < LEAST_WAY:
        return np.full(len(first), np.inf)
    essential = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) @ second_from_first[:3, :3]
    inverse = np.linalg.inv(camera)
    fundamental = inverse.T @ essential @ inverse
    a, b = (np.column_stack([places, np.ones(len(places))]) for places in (first, second))
    in_second, in_first = a @ fundamental.T, b @ fundamental
    size = np.square(in_second[:, :2]).sum(1) + np.square(in_first[:, :2]).sum(1)
    return np.asarray(np.abs((b * in_second).sum(1)) / np.sqrt(size), np.float64)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a sequence as in shared/data")
    parser.add_argument("--result", type=Path, help="result folder of a run of it")
    parser.add_argument("--apart", type=int, default=15, help="frames between the two pictures (default 15)")
    parser.add_argument("--every", type=int, default=10, help="frames from one pair to the next (default 10)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except Spark3rError as error:
        raise SystemExit(f"error: {error}") from None
