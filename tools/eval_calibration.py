"""Cameras calibrated without a board, by their motion through rendered rooms: errors, and whether deviations are true.

    python tools/eval_calibration.py                     # ten rooms: a long run
    python tools/eval_calibration.py --seeds 3 --frames 60

Each room has its own kind of path, field of view (50 to 80 degrees) and lens. Printed as JSON: of each number the error
and its deviation, and over all rooms the share within two deviations; of the focal length the share within 2 %.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from spark3r_core.errors import GeometryError
from spark3r_core.memory.config import MemoryConfig
from spark3r_core.models.interface import Backbone
from spark3r_core.models.registry import load_model
from spark3r_core.stream.self_calibration import calibrated_by_map
from spark3r_core.synthetic.sequence import SyntheticSequence
from spark3r_stream.cli.calibrate_by_motion import too_little
from spark3r_stream.engine.local_mapper import LocalMapper
from spark3r_stream.engine.tracking import TrackingReconstructor
from tools.evaluation.tracked_run import HeldSource, run_tracked

FIRST_SEED = 700
PATHS = ("handheld", "wander", "orbit", "loop")
NUMBERS = ("fx", "cx", "cy", "k1", "k2")


def calibrated(model: Backbone, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    fov, kind = float(rng.uniform(50, 80)), PATHS[seed % len(PATHS)]
    lens = (float(rng.uniform(-0.3, 0.1)), float(rng.uniform(-0.02, 0.08)), 0.0, 0.0)
    hw = (args.picture * 3 // 4, args.picture)
    world = SyntheticSequence(seed, args.frames, kind, hw, fov, world_kind="room", step=args.step, lens=lens)
    images = [world.frame(index)[0] for index in range(len(world))]
    host = LocalMapper(model, MemoryConfig(max_new_frames=1))
    engine = TrackingReconstructor(host)
    try:
        run_tracked(HeldSource("calibration", images), engine)
    finally:
        engine.close()
    row: dict[str, Any] = {
        "seed": seed,
        "kind": kind,
        "fov": round(fov, 1),
        "lens": [round(one, 3) for one in lens[:2]],
    }
    row["keyframes"] = len(host.world.keyframes)
    try:
        found = calibrated_by_map(host.world)
    except GeometryError as error:
        return row | {"refused": str(error)}
    true, camera = replace(world.camera, distortion=lens), found.camera
    errors = {
        "fx": camera.fx / true.fx - 1,
        "cx": camera.cx - true.cx,
        "cy": camera.cy - true.cy,
        "k1": camera.distortion[0] - lens[0],
        "k2": camera.distortion[1] - lens[1],
    }
    stds = found.deviations | {"fx": found.deviations["fx"] / camera.fx}
    row |= {name: [float(f"{one[name]:.3g}") for one in (errors, stds)] for name in NUMBERS}
    why = too_little(found)
    return row | {"rms": round(found.rms, 3)} | ({"refused": why} if why else {})


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--step", type=float, default=3.0, help="video frames from picture to picture")
    parser.add_argument("--picture", type=int, default=480, help="width in pixels")
    args = parser.parse_args(arguments)
    model, rows = load_model("bundled", device="cpu"), []
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        rows.append(calibrated(model, seed, args))
        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    print(json.dumps({"settings": vars(args), **summary(rows), "rooms": rows}, indent=2))
    return 0


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Over the rooms that were not refused: the median absolute error, and the shares within two deviations."""
    taken = [row for row in rows if "refused" not in row]
    found: dict[str, Any] = {"rooms_taken": len(taken), "rooms_refused": len(rows) - len(taken)}
    for name in NUMBERS if taken else ():
        error, std = np.abs([row[name] for row in taken]).T
        found[name] = {"median": float(np.median(error)), "within_2_std": float((error < 2 * std).mean())}
        if name == "fx":
            found[name]["within_2_percent"] = float((error < 0.02).mean())
    return found


if __name__ == "__main__":
    sys.exit(main())
