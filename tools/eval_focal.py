"""Focal lengths learned without a calibration, in rendered worlds with parallax, and whether their deviations are true.

    python tools/eval_focal.py                       # 20 worlds: a long run
    python tools/eval_focal.py --seeds 5 --frames 60

Each world has its own kind of path and field of view (50 to 80 degrees). Printed as JSON: the relative error of the
focal length after the last adjustment, its published standard deviation, and the shares within 2 % and within one and
two deviations.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from spark3r_core.memory.config import MemoryConfig
from spark3r_core.models.registry import load_model
from spark3r_core.synthetic.sequence import SyntheticSequence
from spark3r_stream.engine.local_mapper import LocalMapper
from spark3r_stream.engine.results import StepOutput
from spark3r_stream.engine.tracking import TrackingReconstructor
from spark3r_stream.frame import Frame
from spark3r_stream.wire.messages import CameraView
from tools.evaluation.tracked_run import HeldSource, run_tracked

FIRST_SEED = 800
PATHS = ("handheld", "wander", "orbit", "loop")


class LastCamera:
    """A sink that keeps the newest camera."""

    def __init__(self) -> None:
        self.view: CameraView | None = None

    def window(self, frames: list[Frame], result: StepOutput) -> None:
        published = [one.result.camera for one in result.outputs if one.result.camera is not None]
        self.view = result.camera or (published[-1] if published else self.view)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED)
    parser.add_argument("--frames", type=int, default=90)
    parser.add_argument("--step", type=float, default=2.0, help="video frames from picture to picture")
    parser.add_argument("--picture", type=int, default=320, help="width in pixels")
    args = parser.parse_args(arguments)
    model = load_model("bundled", device="cpu")
    rows = []
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        fov = float(np.random.default_rng(seed).uniform(50, 80))
        kind = PATHS[seed % len(PATHS)]
        hw = (args.picture * 3 // 4, args.picture)
        world = SyntheticSequence(seed, args.frames, kind, hw, fov, world_kind="room", step=args.step)
        images = [world.frame(index)[0] for index in range(len(world))]
        engine, last = TrackingReconstructor(LocalMapper(model, MemoryConfig(max_new_frames=1))), LastCamera()
        try:
            run_tracked(HeldSource("focal", images), engine, sinks=[last])
        finally:
            engine.close()
        assert last.view is not None
        error = math.log(last.view.matrix[0, 0] / world.intrinsics[0, 0])
        row = {"seed": seed, "kind": kind, "fov": round(fov, 1), "error": round(error, 5), "std": last.view.focal_std}
        rows.append(row)
        print(json.dumps(row), file=sys.stderr, flush=True)
    print(json.dumps({"settings": vars(args), **summary(rows), "worlds": rows}, indent=2))
    return 0


def summary(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Shares of the worlds, and the median of the absolute errors."""
    error, std = (np.abs([row[name] for row in rows]) for name in ("error", "std"))
    return {
        "median_error": round(float(np.median(error)), 5),
        "within_2_percent": float((error < 0.02).mean()),
        "within_1_std": float((error < std).mean()),
        "within_2_std": float((error < 2 * std).mean()),
    }


if __name__ == "__main__":
    sys.exit(main())
