"""Does the map hold? Loops found and missed, false ones, and what they bring; darkness and kidnap survived.

    python tools/eval_map.py                                       # all worlds, a long run
    python tools/eval_map.py --worlds loop twin_rooms --seeds 2 --pictures out/
    python tools/eval_map.py --reopen ../shared/data/7scenes_redkitchen_a   # that alone: half mapped, half in its map
    python tools/eval_map.py --cut ../shared/data/7scenes_redkitchen_a ../shared/data/lingbot_office_loop --frames 60

Each rendered stream runs with loops closed, and where the camera is never lost without, too. Printed as JSON. A true
revisit is a pair of keyframes, `--apart` frames or more apart, of which half of one is seen in the other; it is found
when a loop was closed within three keyframes of it. A loop is false when its two keyframes truly share less than a
twentieth.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from spark3r_core.errors import Spark3rError
from spark3r_core.geometry.alignment import umeyama
from spark3r_core.memory.config import MemoryConfig
from spark3r_core.models.interface import Backbone
from spark3r_core.stream.map_update import MapOptions
from spark3r_core.synthetic.seeds import VALIDATION
from spark3r_stream.engine.mapper_host import LocalMapper
from spark3r_stream.engine.steady import keep_freed_memory
from spark3r_stream.engine.tracking import TrackingReconstructor
from spark3r_stream.wire.messages import TrackingState
from tools.bench_reduction import describe_machine
from tools.evaluation import metrics
from tools.evaluation.cut import run_cut
from tools.evaluation.map_worlds import MAP_WORLDS, MapWorld, make_world
from tools.evaluation.network import add_arguments, load_network
from tools.evaluation.reopened import run_halves
from tools.evaluation.sequences import open_sequence
from tools.evaluation.tracked_run import HeldSource, TrackedRun, path_numbers, run_tracked, states_of

Array = NDArray[np.float64]
FIRST_SEED = VALIDATION.start + 800
REVISIT, FALSE_BELOW, WITHIN = 0.5, 0.05, 3  # overlaps; keyframes
WRONG_OF_PATH = 0.1


def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    keep_freed_memory()
    machine = describe_machine(torch.device(args.device))
    model = load_network(args.model, args.weights, args.checkpoint, args.device)
    if args.reopen is not None:
        with tempfile.TemporaryDirectory() as folder:
            halves = run_halves(model, open_sequence(str(args.reopen)), Path(folder), args.size)
        what = "half of a sequence mapped and saved, the other half run in the saved map"
        print(json.dumps({"what": what, "machine": machine, "sequence": args.reopen.name, **halves}, indent=2))
        return 0
    if args.cut is not None:
        report = run_cut(model, *args.cut, args.frames, args.size)
        print(json.dumps({"what": "a film joined from two clips", "machine": machine, **report}, indent=2))
        return 0
    jobs = [(name, seed) for name in args.worlds for seed in range(args.first_seed, args.first_seed + args.seeds)]
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in args.worlds}
    for name, seed in track(jobs, "worlds", console=Console(stderr=True)):
        row = run_world(model, make_world(name, seed, args.frames, args.picture), args)
        rows[name].append({"seed": seed, **row})
        print(f"{name} {seed}: {json.dumps(row)}", file=sys.stderr, flush=True)
    report = {
        "what": "rendered streams through the engine as a file, with loops closed and without",
        "machine": machine,
        "settings": {
            "model": args.model, "picture": args.picture, "frames": args.frames, "apart": args.apart,
            "first_seed": args.first_seed, "seeds": args.seeds, "repeats": 1,
        },
        "worlds": {name: summarise(rows[name]) | {"seeds": rows[name]} for name in args.worlds},
    }  # fmt: skip
    print(json.dumps(report, indent=2))
    return 0


def run_world(model: Backbone, world: MapWorld, args: argparse.Namespace) -> dict[str, Any]:
    """Numbers of one stream."""
    images = world.images()

    def run(closes_loops: bool) -> tuple[TrackedRun, TrackingReconstructor]:
        host = LocalMapper(model, MemoryConfig(max_new_frames=1), MapOptions(closes_loops=closes_loops))
        engine = TrackingReconstructor(host, args.size)
        return run_tracked(HeldSource(world.name, images), engine), engine

    on, engine = run(True)
    off = run(False)[0] if world.began is None else None
    keyframes = on.collected.keyframe_ids
    loops = sorted(set(engine.loops))
    revisits = true_revisits(world, keyframes, args.apart)
    found = [one for one in revisits if any(_near(keyframes, one, loop) for loop in loops)]
    row = {
        "frames": len(images),
        "path_length": round(metrics.path_length(world.truth), 3),
        "keyframes": len(keyframes),
        "revisits": len(revisits),
        "revisits_found": len(found),
        "loops": len(loops),
        "false_loops": sum(world.overlap(*loop) < FALSE_BELOW for loop in loops),
        "on": numbers(on, world),
        "off": None if off is None else numbers(off, world),
    }
    if world.began is not None:
        row |= after_loss(on, world, world.began, loops)
    if args.pictures is not None:
        draw(args.pictures / f"{world.name}_{world.sequence.seed}.png", world, on, off, loops)
    return row


def numbers(run: TrackedRun, world: MapWorld) -> dict[str, Any]:
    """States, parts, and ATE over the path of keyframes and of all frames of the final map."""
    final, frames = run.collected.final(), np.flatnonzero(~world.dark)
    keyframes = {i: final[i] for i in run.collected.keyframe_ids if i in final}
    every, only = (path_numbers(poses, frames, world.truth[frames], 1) for poses in (final, keyframes))
    length = metrics.path_length(world.truth)
    return {
        "states": states_of(run.collected.results),
        "parts": len(set(run.collected.part_of.values())),
        "ate_of_path": None if every is None else round(every["ate"] / length, 5),
        "keyframes_ate_of_path": None if only is None else round(only["ate"] / length, 5),
        "finish_seconds": round(run.finish_seconds, 2),
        "fps": round(len(world.frames) / run.seconds, 2),
    }


def true_revisits(world: MapWorld, keyframes: list[int], apart: int) -> list[tuple[int, int]]:
    """Pairs of keyframes (earlier, later): for each later one the earlier one that shares most with it."""
    found = []
    truth = world.truth
    for later in keyframes:
        earlier = [one for one in keyframes if later - one >= apart]
        near = [one for one in earlier if truth[one, :3, 2] @ truth[later, :3, 2] > 0.5]
        shared = {one: world.overlap(one, later) for one in near}
        best = max(shared, key=lambda one: shared[one], default=None)
        if best is not None and shared[best] >= REVISIT:
            found.append((best, later))
    return found


def after_loss(run: TrackedRun, world: MapWorld, began: int, loops: list[tuple[int, int]]) -> dict[str, Any]:
    """What happened from the end of the darkness, or from the kidnap, on. As frames from there: found_again_after, the
    first that is TRACKING in the first map; told_after, the first that is not TRACKING or lies in another map;
    joined_after, the later keyframe of the first loop between that map and another. wrong: share of the frames that
    are TRACKING in the first map more than a tenth of the path from where they are, that map aligned by what it had
    before."""
    parts = run.collected.part_of
    submap_of = {one.frame_id: one.submap for one in run.collected.results if one.valid}
    first = min(parts.values())
    later = [one for one in run.collected.results if one.frame_id >= began]
    tracking = [one for one in later if one.valid and one.state is TrackingState.TRACKING]
    again = next((one.frame_id for one in tracking if parts[one.submap] == first), None)
    told = next(
        (
            one.frame_id
            for one in later
            if not one.valid or one.state is not TrackingState.TRACKING or parts[one.submap] != first
        ),
        None,
    )
    across = [b for a, b in loops if {a, b} <= submap_of.keys() and parts[submap_of[a]] != parts[submap_of[b]]]
    before = sorted(one for one in run.collected.published if one < began)
    placed = umeyama(np.stack([run.collected.published[i][:3, 3] for i in before]), world.truth[before, :3, 3])
    there = [one.frame_id for one in tracking if parts[one.submap] == first]
    off = [
        np.linalg.norm(placed.apply_to_points(run.collected.published[i][:3, 3]) - world.truth[i, :3, 3]) for i in there
    ]
    wrong = np.array(off) > WRONG_OF_PATH * metrics.path_length(world.truth)
    return {
        "found_again_after": None if again is None else again - began,
        "told_after": None if told is None else told - began,
        "joined_after": min(across) - began if across else None,
        "parts_begun": len(set(parts.values())),
        "wrong": round(float(wrong.mean()), 4) if len(wrong) else 0.0,
    }


def _near(keyframes: list[int], pair: tuple[int, int], loop: tuple[int, int]) -> bool:
    place = {frame_id: i for i, frame_id in enumerate(keyframes)}
    return all(abs(place[a] - place[b]) <= WITHIN for a, b in zip(pair, loop, strict=True))


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    def spread(values: list[float]) -> dict[str, float] | None:
        return {"median": float(np.median(values)), "min": min(values), "max": max(values)} if values else None

    revisits = sum(row["revisits"] for row in rows)
    return {
        "false_loops": sum(row["false_loops"] for row in rows),
        "recall": sum(row["revisits_found"] for row in rows) / revisits if revisits else None,
        **{
            f"{which}_{state}": spread(
                [row[state][which] for row in rows if row[state] and row[state][which] is not None]
            )
            for which in ("ate_of_path", "keyframes_ate_of_path")
            for state in ("on", "off")
        },
    }


def draw(path: Path, world: MapWorld, on: TrackedRun, off: TrackedRun | None, loops: list[tuple[int, int]]) -> None:
    """The map from above: truth, with loops, without."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 6))
    truth = world.truth
    axes.plot(truth[:, 0, 3], truth[:, 2, 3], "k-", lw=1, label="truth")
    for run, style in ((off, "r-"), (on, "b-")):
        if run is None:
            continue
        final = run.collected.final()
        ids = [i for i in sorted(final) if not world.dark[i]]
        numbers_, aligned = metrics.ate(np.stack([final[i] for i in ids]), truth[ids])
        label = f"loops {'on' if run is on else 'off'}: {numbers_['of_path']:.2%} of the path"
        axes.plot(aligned[:, 0, 3], aligned[:, 2, 3], style, lw=1, label=label)
        if run is on:
            at = dict(zip(ids, aligned[:, [0, 2], 3], strict=True))
            for a, b in loops:
                if a in at and b in at:
                    axes.plot(*np.stack([at[a], at[b]]).T, "g-", lw=0.7)
    axes.set_aspect("equal")
    axes.legend(fontsize=8)
    axes.set_title(f"{world.name} {world.sequence.seed}: {len(loops)} loops")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", nargs="+", choices=MAP_WORLDS, default=list(MAP_WORLDS))
    parser.add_argument("--reopen", type=Path, help="a sequence as in shared/data, instead of the worlds")
    parser.add_argument("--cut", type=Path, nargs=2, help="two folders as in shared/data, --frames of each, instead")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED, help=f"default {FIRST_SEED}, for validation")
    parser.add_argument("--frames", type=int, default=480)
    parser.add_argument("--apart", type=int, default=60, help="frames between two that make a revisit (default 60)")
    parser.add_argument("--picture", type=_size, default=(320, 240), help="WIDTHxHEIGHT (default 320x240)")
    parser.add_argument("--size", type=int, help="longest side of the network input; default: the model's own")
    parser.add_argument("--pictures", type=Path, help="folder for a picture of each map")
    parser.add_argument("--device", default="cpu")
    add_arguments(parser)
    args = parser.parse_args(arguments)
    if args.seeds < 1 or args.frames < 60:
        parser.error(f"--seeds {args.seeds} --frames {args.frames}: expected at least 1 seed and 60 frames")
    return args


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    return int(width), int(height)


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except Spark3rError as error:
        raise SystemExit(f"error: {error}") from None
