"""A camera that only turns, fast, in rendered rooms: tracked by its pictures, and with a gyroscope's samples.

    python tools/eval_turn.py                        # 7 degrees per frame, 8 rooms
    python tools/eval_turn.py --degrees 16 --seeds 3

Samples are as a phone's: 200 per second with noise and a bias. Errors are those of the turn since the first frame, of
poses as they were published and of the final map, over all frames. Printed as JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from spark3r_core.geometry import se3
from spark3r_core.memory.config import MemoryConfig
from spark3r_core.models.registry import load_model
from spark3r_core.synthetic.gyro import gyro_samples
from spark3r_core.synthetic.paths import make_path
from spark3r_core.synthetic.sequence import SyntheticSequence
from spark3r_stream.engine.local_mapper import LocalMapper
from spark3r_stream.engine.tracking import TrackingReconstructor
from spark3r_stream.sensors.feed import FileFeed
from spark3r_stream.sensors.gyro import COLUMNS, EXPECTED, GyroSensor
from tools.evaluation.tracked_run import HeldSource, run_tracked, states_of

FIRST_SEED, HERTZ, FPS = 700, 200.0, 30.0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--degrees", type=float, default=7.0, help="per frame")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--picture", type=int, default=320, help="width in pixels")
    parser.add_argument("--samples", type=Path, default=Path("out/turn.csv"), help="scratch file")
    args = parser.parse_args(arguments)
    model = load_model("bundled", device="cpu")
    rows = []
    for seed in range(FIRST_SEED, FIRST_SEED + args.seeds):
        hw = (args.picture * 3 // 4, args.picture)
        room = SyntheticSequence(seed, args.frames, "turn", hw, world_kind="room", step=args.degrees)
        images = [room.frame(index)[0] for index in range(len(room))]
        row: dict[str, Any] = {"seed": seed}
        for name in ("pictures", "gyroscope"):
            engine = TrackingReconstructor(LocalMapper(model, MemoryConfig(max_new_frames=1)))
            if name == "gyroscope":
                engine.sensor = sensor_of(room, args)
            try:
                run = run_tracked(HeldSource("turn", images), engine)
            finally:
                engine.close()
            errors = {
                what: turn_errors(poses, room.world_from_camera)
                for what, poses in (("published", run.collected.published), ("final", run.collected.final()))
            }
            row[name] = {"states": states_of(run.collected.results), "worst_degrees": errors}
        rows.append(row)
        print(json.dumps(row), file=sys.stderr, flush=True)
    print(json.dumps({"settings": {**vars(args), "samples": None}, "rooms": rows}, indent=2))
    return 0


def sensor_of(room: SyntheticSequence, args: argparse.Namespace) -> GyroSensor:
    seconds = np.arange(0, args.frames / FPS, 1 / HERTZ)
    poses = make_path("turn", 0, room.seed, room.worlds, 0, times=seconds * FPS * args.degrees)
    args.samples.parent.mkdir(parents=True, exist_ok=True)
    middle = seconds[:-1] + 0.5 / HERTZ
    np.savetxt(args.samples, np.column_stack([middle, gyro_samples(poses, HERTZ, room.seed)]), "%.7f", ",")
    return GyroSensor(FileFeed(args.samples, COLUMNS, EXPECTED), 0.0, np.eye(3))


def turn_errors(poses: dict[int, np.ndarray], truth: np.ndarray) -> float:
    """The largest, in degrees."""
    first = se3.invert(poses[0])
    errors = [
        se3.relative_angle(se3.compose(first, pose), se3.compose(se3.invert(truth[0]), truth[index]))
        for index, pose in poses.items()
    ]
    return round(float(np.rad2deg(max(errors))), 2)


if __name__ == "__main__":
    sys.exit(main())
