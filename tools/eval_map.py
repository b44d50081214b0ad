"""Does the map hold? Loops found and missed, false ones, and what they bring; darkness and kidnap survived.

    python tools/eval_map.py --cache /tmp/worlds                   # all worlds, a long run
    python tools/eval_map.py --worlds loop twin_rooms --seeds 2 --pictures out/
    python tools/eval_map.py --reopen ../shared/data/7scenes_redkitchen_a   # that alone: half mapped, half in its map
    python tools/eval_map.py --cut ../shared/data/7scenes_redkitchen_a ../shared/data/lingbot_office_loop --frames 60

Each rendered stream runs with loops closed; those that are for what loops bring, without, too. Printed as JSON; how
each number is meant stands in tools/evaluation/map_numbers.py, the worlds in tools/evaluation/map_worlds.py. Rows of
single worlds are printed to standard error as they come.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from spark3r_core.errors import Spark3rError
from spark3r_core.memory.config import MemoryConfig
from spark3r_core.models.interface import Backbone
from spark3r_core.stream.map_update import MapOptions
from spark3r_core.synthetic.seeds import VALIDATION
from spark3r_stream.engine.local_mapper import LocalMapper
from spark3r_stream.engine.steady import keep_freed_memory
from spark3r_stream.engine.tracking import TrackingReconstructor
from tools.bench_reduction import describe_machine
from tools.evaluation import metrics
from tools.evaluation.cut import run_cut
from tools.evaluation.map_numbers import after_loss, places, run_numbers, summarise
from tools.evaluation.map_pictures import Panel, draw, panel
from tools.evaluation.map_streams import MapStream, rendered
from tools.evaluation.map_worlds import MAP_WORLDS, make_world
from tools.evaluation.network import add_arguments, load_network
from tools.evaluation.reopened import run_halves
from tools.evaluation.sequences import open_sequence
from tools.evaluation.tracked_run import HeldSource, TrackedRun, run_tracked

FIRST_SEED = VALIDATION.start + 800
WITHOUT_LOOPS = ("loop", "corridor", "look_away", "moving")  # run so too


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
    panels: dict[str, list[Panel]] = {name: [] for name in args.worlds}
    for name, seed in track(jobs, "worlds", console=Console(stderr=True)):
        row, drawn = run_world(model, rendered(make_world(name, seed, args.frames, args.picture), args.cache), args)
        rows[name].append({"seed": seed, **row})
        panels[name].append(drawn)
        print(f"{name} {seed}: {json.dumps(row)}", file=sys.stderr, flush=True)
        if args.pictures is not None:
            draw(args.pictures / f"{name}.png", name, panels[name])
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


def run_world(model: Backbone, stream: MapStream, args: argparse.Namespace) -> tuple[dict[str, Any], Panel]:
    """Numbers of one stream, and its picture."""

    def run(closes_loops: bool) -> tuple[TrackedRun, TrackingReconstructor, LocalMapper]:
        host = LocalMapper(model, MemoryConfig(max_new_frames=1), MapOptions(closes_loops=closes_loops))
        engine = TrackingReconstructor(host, args.size)
        run = run_tracked(HeldSource(stream.name, list(stream.images)), engine)
        engine.close()
        return run, engine, host

    began_s = time.process_time()
    on, engine, host = run(True)
    cpu_seconds = time.process_time() - began_s
    off = run(False)[0] if stream.name in WITHOUT_LOOPS else None
    loops = sorted(set(engine.loops))
    row = {
        "frames": len(stream.dark),
        "cpu_seconds": round(cpu_seconds, 1),
        "path_length": round(metrics.path_length(stream.truth), 3),
        **places(stream, host.world, on.collected.keyframe_ids, loops, args.apart),
        "on": run_numbers(on, stream),
        "off": None if off is None else run_numbers(off, stream),
    }
    if stream.began is not None:
        row |= after_loss(on, stream, loops)
    return row, panel(stream, on, off, loops)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", nargs="+", choices=MAP_WORLDS, default=list(MAP_WORLDS))
    parser.add_argument("--reopen", type=Path, help="a sequence as in shared/data, instead of the worlds")
    parser.add_argument("--cut", type=Path, nargs=2, help="two folders as in shared/data, --frames of each, instead")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED, help=f"default {FIRST_SEED}, for validation")
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--apart", type=int, default=60, help="frames between two that make a revisit (default 60)")
    parser.add_argument("--picture", type=_size, default=(320, 240), help="WIDTHxHEIGHT (default 320x240)")
    parser.add_argument("--size", type=int, help="longest side of the network input; default: the model's own")
    parser.add_argument("--pictures", type=Path, help="folder for a picture of the maps of each world")
    parser.add_argument("--cache", type=Path, help="folder in which rendered streams are kept, 70 MB each")
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
