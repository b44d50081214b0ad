"""What positions of a GPS receiver make of a map, on synthetic worlds: its scale, and the drift that they pull in.

    python tools/eval_gps.py OUT.json                             # the worlds of WORLDS, three seeds of noise each
    python tools/eval_gps.py OUT.json --worlds court:27:wander:6 --frames 300 --std 0.5

Each world is tracked and mapped once. All keyframes are then adjusted together as at the end of a file: without
positions, with those of a receiver (white noise, and some that a reflection has thrown off), and with positions that
are garbage. A unit of a synthetic world counts as a metre. Errors are those of keyframes' centres after one similarity
to the truth (ATE, RMS in metres), and of the scale against that similarity's.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from spark3r_core.geometry import umeyama
from spark3r_core.memory.config import MemoryConfig
from spark3r_core.metric.gps import GpsEvidence, KnownPlaces
from spark3r_core.models.interface import Backbone
from spark3r_core.models.registry import load_model
from spark3r_core.stream.keyframe_map import KeyframeMap
from spark3r_core.stream.whole_map import adjust_whole
from spark3r_core.synthetic.sequence import SyntheticSequence
from spark3r_stream.engine.mapper_host import LocalMapper
from spark3r_stream.engine.tracking import TrackingReconstructor
from tools.evaluation.tracked_run import HeldSource, run_tracked

Array = NDArray[np.float64]

WORLDS = "court:27:wander:6,court:28:forward:6,corridor:27:forward:4,room:24:loop:4"
PICTURE_HW, FPS, HERTZ = (240, 320), 30.0, 5.0
OUTLIERS, OUTLIER_M = 0.05, 10.0
ENU_FROM_WORLD = np.array([[1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]])  # y of a world points down


def fixes(path: Array, std: float, kind: str, rng: np.random.Generator) -> Array:
    """(N, 3) of a receiver at places (N, 3), z up."""
    noise = rng.normal(0, std, path.shape)
    if kind == "white garbage":
        return path.mean(0) + rng.normal(0, np.linalg.norm(path.std(0)), path.shape)
    if kind == "walk":
        return path[0] + np.cumsum(rng.normal(0, np.linalg.norm(np.diff(path, axis=0), axis=1).mean(), path.shape), 0)
    if kind == "stuck":
        return path[0] + noise
    if kind == "mirrored":
        return path[:, [1, 0, 2]] + noise  # north and east swapped
    thrown = rng.random(len(path)) < OUTLIERS
    return path + noise + thrown[:, None] * rng.normal(0, OUTLIER_M, path.shape)


def known_by(world: KeyframeMap, truth: Array, std: float, kind: str, seed: int) -> KnownPlaces:
    """What a receiver on the camera says of the map's keyframes. truth: (frames, 4, 4)."""
    evidence = GpsEvidence()
    every = round(FPS / HERTZ)
    indices = np.arange(0, len(truth), every)
    said = fixes(truth[indices, :3, 3] @ ENU_FROM_WORLD.T, std, kind, np.random.default_rng(seed))
    for frame_id in world.order:
        evidence.add_keyframe(frame_id / FPS, frame_id)
    for index, metres in zip(indices.tolist(), said, strict=True):
        evidence.add_fix(index / FPS, metres, np.full(3, std))
    return evidence.known(world.keyframes)


def measured(world: KeyframeMap, known: KnownPlaces | None, truth: Array) -> dict[str, Any]:
    """After the last adjustment."""
    began = time.monotonic()
    after = adjust_whole(world.draft(), closes_loops=True, focal_is_known=False, known=known).map
    seconds = time.monotonic() - began
    ids = after.order
    estimate = np.stack([after.keyframes[one].world_from_camera[:3, 3] for one in ids])
    true = truth[ids, :3, 3]
    found = umeyama(estimate, true)
    ate = float(np.sqrt(np.square(found.apply_to_points(estimate) - true).sum(1).mean()))
    report: dict[str, Any] = {"ate_m": round(ate, 4), "seconds": round(seconds, 1)}
    if known is not None:
        fit = known.fit({one: keyframe.map_from_keyframe for one, keyframe in after.keyframes.items()})
        if fit is not None:
            report |= {
                "scale_error": round(fit.metres_from_map.scale / found.scale - 1, 4),
                "scale_std": round(fit.log_std, 4),
                "positions": len(known.keyframe_ids),
            }
    return report


def evaluate(model: Backbone, world: str, frames: int, std: float, seeds: int) -> dict[str, Any]:
    kind, seed, path, step = world.split(":")
    sequence = SyntheticSequence(int(seed), frames, path, PICTURE_HW, world_kind=kind, step=float(step))
    images, truth = [sequence.frame(i)[0] for i in range(frames)], sequence.world_from_camera
    host = LocalMapper(model, MemoryConfig(max_new_frames=1))
    engine = TrackingReconstructor(host)
    try:
        run_tracked(HeldSource("gps", images, FPS), engine, adjusts_all=False)
    finally:
        engine.close()
    here = host.world
    ways = np.linalg.norm(np.diff(truth[:, :3, 3], axis=0), axis=1)
    report: dict[str, Any] = {
        "world": world, "keyframes": len(here.keyframes), "path_m": round(float(ways.sum()), 1),
        "without": measured(here, None, truth),
        "gps": [measured(here, known_by(here, truth, std, "gps", one), truth) for one in range(seeds)],
    }  # fmt: skip
    for garbage in ("white garbage", "walk", "stuck", "mirrored"):
        report[garbage] = measured(here, known_by(here, truth, std, garbage, 0), truth)
    return report


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--worlds", default=WORLDS, help="KIND:SEED:PATH:STEP, by commas")
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--std", type=float, default=0.5, help="of a position, metres on each axis")
    parser.add_argument("--seeds", type=int, default=3, help="of its noise")
    given = parser.parse_args(arguments)
    model, reports = load_model("bundled", device="cpu"), []
    for world in given.worlds.split(","):
        reports.append(evaluate(model, world, given.frames, given.std, given.seeds))
        print(json.dumps(reports[-1]), flush=True)
        about = {"frames": given.frames, "std_m": given.std, "outliers": OUTLIERS, "hertz": HERTZ}
        given.out.write_text(json.dumps({"settings": about, "worlds": reports}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
