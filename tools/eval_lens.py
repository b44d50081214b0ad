"""What a lens costs: synthetic worlds seen through one, with its calibration and without, and their undistorted twin.

    python tools/eval_lens.py                         # the lenses of LENSES on three worlds
    python tools/eval_lens.py --seeds 5 --frames 150

The twin is rendered by the pinhole that the lens becomes, along the same path, and is given that camera. ATE after one
Sim(3), over the spread of the true positions, of the final map. States are counted beside it: a run without calibration
that is TRACKING all the way and wrong is what a user would not notice.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from spark3r_core.geometry.camera import Intrinsics
from spark3r_core.geometry.rectification import rectified_camera
from spark3r_core.memory.config import MemoryConfig
from spark3r_core.models.interface import Backbone
from spark3r_core.models.registry import load_model
from spark3r_core.synthetic.sequence import SyntheticSequence
from spark3r_stream.engine.local_mapper import LocalMapper
from spark3r_stream.engine.tracking import TrackingReconstructor
from tools.evaluation.tracked_run import HeldSource, path_numbers, run_tracked, states_of

# Field of view of the pinhole with the same focal length in degrees, coefficients, fisheye.
LENSES: dict[str, tuple[float, tuple[float, ...], bool]] = {
    "barrel": (80.0, (-0.28, 0.07, 0.0002, 0.00002), False),
    "pincushion": (62.0, (0.15, 0.03, 0.0, 0.0), False),
    "fisheye": (80.0, (0.02, -0.004, 0.001, -0.0002), True),
}
FIRST_SEED = 900


def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    model = load_model("bundled", device="cpu", weights=args.weights)
    jobs = [(name, seed) for name in args.lens for seed in range(FIRST_SEED, FIRST_SEED + args.seeds)]
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in args.lens}
    for name, seed in track(jobs, "worlds", console=Console(stderr=True)):
        row = run_world(model, name, seed, args)
        rows[name].append(row)
        print(f"{name} {seed}: {json.dumps(row)}", file=sys.stderr, flush=True)
    settings = {"frames": args.frames, "picture": args.picture, "kind": args.kind, "first_seed": FIRST_SEED}
    report = {"settings": settings, "lenses": {name: summary(rows[name]) | {"seeds": rows[name]} for name in rows}}
    print(json.dumps(report, indent=2))
    return 0


def run_world(model: Backbone, name: str, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """ATE and states of the three runs of one world."""
    fov, lens, fisheye = LENSES[name]
    image_hw = (args.picture * 3 // 4, args.picture)

    def rendered(fov_deg: float, **optics: Any) -> SyntheticSequence:
        return SyntheticSequence(seed, args.frames, args.kind, image_hw, fov_deg, world_kind="room", **optics)

    seen = rendered(fov, lens=lens, fisheye=fisheye)
    pinhole = rectified_camera(seen.camera)
    twin = rendered(math.degrees(2 * math.atan(args.picture / 2 / pinhole.fx)))
    runs: dict[str, tuple[SyntheticSequence, Intrinsics | None]] = {
        "twin": (twin, twin.camera),
        "calibrated": (seen, seen.camera),
        "uncalibrated": (seen, None),
    }
    return {"seed": seed} | {what: run_once(model, *given) for what, given in runs.items()}


def run_once(model: Backbone, sequence: SyntheticSequence, camera: Intrinsics | None) -> dict[str, Any]:
    images = [sequence.frame(index)[0] for index in range(len(sequence))]
    engine = TrackingReconstructor(LocalMapper(model, MemoryConfig(max_new_frames=1)), camera=camera)
    try:
        run = run_tracked(HeldSource("lens", images), engine)
    finally:
        engine.close()
    numbers = path_numbers(run.collected.final(), np.arange(len(images)), sequence.world_from_camera, 8)
    ate = None if numbers is None else round(numbers["ate_of_spread"], 4)
    return {"ate_of_spread": ate, "states": states_of(run.collected.results)}


def summary(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Median ATE of each kind of run."""
    kinds = ("twin", "calibrated", "uncalibrated")
    return {what: round(statistics.median(row[what]["ate_of_spread"] for row in rows), 4) for what in kinds}


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lens", nargs="+", choices=sorted(LENSES), default=sorted(LENSES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--frames", type=int, default=90)
    parser.add_argument("--picture", type=int, default=480, help="width in pixels")
    parser.add_argument("--kind", default="handheld", help="of the path")
    parser.add_argument("--weights", help="checkpoint file of the bundled network, or random")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
