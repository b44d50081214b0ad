"""What bounded memory costs: one stream with all that it wants, and with a tenth, by the product's rule and by recency.

    python tools/eval_budgets.py --cache /tmp/worlds          # loops shown three times, looks away and back

The map's bytes (`spark3r run --map-memory`) and the pages of keys and values (`--memory`) are bounded one at a time.
"recent" is what our rules are held against at equal bytes: the oldest keyframe goes, but never the first one. ATE after
one Sim(3), of all frames of the final map, over the path. A budget is a share of what the unbounded run came to. Prints
JSON; runs are repeatable, each is made once.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from spark3r_core.errors import Spark3rError
from spark3r_core.memory.config import Eviction, MemoryConfig
from spark3r_core.models.interface import Backbone
from spark3r_core.stream import map_budget
from spark3r_core.stream.keyframe_map import KeyframeMap
from spark3r_core.stream.map_update import MapOptions
from spark3r_core.synthetic.seeds import VALIDATION
from spark3r_stream.engine.local_mapper import LocalMapper
from spark3r_stream.engine.steady import keep_freed_memory
from spark3r_stream.engine.tracking import TrackingReconstructor
from tools.bench_reduction import describe_machine
from tools.evaluation import metrics
from tools.evaluation.map_streams import rendered
from tools.evaluation.map_worlds import make_world
from tools.evaluation.network import add_arguments, load_network
from tools.evaluation.tracked_run import HeldSource, path_numbers, run_tracked

FIRST_SEED = VALIDATION.start + 800
MANY_PAGES = 400
WHERE_DROPPED = "spark3r_core.stream.mapper.to_drop"


@dataclass(frozen=True)
class Stream:
    """images: (H, W, 3) uint8 each. truth: (n, 4, 4) world_from_camera."""

    name: str
    images: list[NDArray[np.uint8]]
    truth: NDArray[np.float64]


@dataclass(frozen=True)
class Setting:
    """None: unbounded. share: of the unbounded run's bytes."""

    name: str
    map_share: float | None = None
    page_share: float | None = None
    eviction: Eviction = "time"
    recent_only: bool = False


def settings(share: float) -> list[Setting]:
    return [
        Setting("map: spread over time and views", map_share=share),
        Setting("map: recent", map_share=share, recent_only=True),
        Setting("pages: spread over time", page_share=share),
        Setting("pages: spread over views", page_share=share, eviction="views"),
    ]


def recent(world: KeyframeMap, max_bytes: int, protected: Collection[int] = ()) -> list[int]:
    """As `map_budget.to_drop`, oldest first."""
    kept = {world.order[0], world.order[-1], *protected, *world.fixed}
    excess, dropped = world.nbytes - max_bytes, []
    for frame_id in world.order:
        if excess > 0 and frame_id not in kept:
            excess -= world.keyframes[frame_id].nbytes
            dropped.append(frame_id)
    return dropped


def run(
    model: Backbone, stream: Stream, setting: Setting, whole: dict[str, Any] | None, size: int | None
) -> dict[str, Any]:
    """Numbers of one run. whole: those of the unbounded one."""
    max_bytes = None if setting.map_share is None or whole is None else int(whole["map_bytes"] * setting.map_share)
    pages = MANY_PAGES
    if setting.page_share is not None and whole is not None:
        pages = max(2, round(whole["keyframes"] * setting.page_share))
    memory = MemoryConfig(max_new_frames=1, max_pages=pages, eviction=setting.eviction)
    host = LocalMapper(model, memory, MapOptions(max_bytes=max_bytes))
    engine = TrackingReconstructor(host, size)
    with patch(WHERE_DROPPED, recent if setting.recent_only else map_budget.to_drop):
        done = run_tracked(HeldSource(stream.name, stream.images), engine)
    engine.close()
    frames = np.arange(len(stream.truth))
    final, published = (
        path_numbers(poses, frames, stream.truth, 1) for poses in (done.collected.final(), done.collected.published)
    )
    length = metrics.path_length(stream.truth)
    return {
        "stream": stream.name,
        "setting": setting.name,
        "keyframes": len(done.collected.keyframe_ids),
        "keyframes_kept": len(host.world.keyframes),
        "map_bytes": host.world.nbytes,
        "map_limit": max_bytes,
        "pages_at_most": None if setting.page_share is None else pages,
        "loops": len(set(engine.loops)),
        "ate_of_path": None if final is None else round(final["ate"] / length, 5),
        "published_ate_of_path": None if published is None else round(published["ate"] / length, 5),
    }


def streams(args: argparse.Namespace) -> list[Stream]:
    found = []
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        for name in args.worlds:
            world = rendered(make_world(name, seed, args.frames, (320, 240)), args.cache)
            laps = args.laps if name == "loop" else 1  # its end is its beginning
            images = [image for _ in range(laps) for image in world.images]
            found.append(Stream(f"{name} {seed}", images, np.concatenate([world.truth] * laps)))
    return found


def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    keep_freed_memory()
    machine = describe_machine(torch.device(args.device))
    model = load_network(args.model, args.weights, args.checkpoint, args.device)
    rows = []
    for stream in track(streams(args), "streams", console=Console(stderr=True)):
        whole = run(model, stream, Setting("unbounded"), None, args.size)
        rows.append(whole)
        for setting in settings(args.share):
            rows.append(run(model, stream, setting, whole, args.size))
        for row in rows[-1 - len(settings(args.share)) :]:
            print(json.dumps(row), file=sys.stderr, flush=True)
    report = {
        "what": "one stream with all the memory that it wants, and with a share of it",
        "machine": machine,
        "settings": {"model": args.model, "share": args.share, "frames": args.frames, "laps": args.laps, "repeats": 1},
        "rows": rows,
    }
    print(json.dumps(report, indent=2))
    return 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", nargs="+", choices=("loop", "look_away"), default=["loop", "look_away"])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED, help=f"default {FIRST_SEED}, for validation")
    parser.add_argument("--share", type=float, default=0.1, help="of the unbounded run's bytes (default 0.1)")
    parser.add_argument("--frames", type=int, default=300, help="of a lap, or of a look away (default 300)")
    parser.add_argument("--laps", type=int, default=3, help="of a loop (default 3)")
    parser.add_argument("--size", type=int, help="longest side of the network input; default: the model's own")
    parser.add_argument("--cache", type=Path, help="folder in which rendered streams are kept")
    parser.add_argument("--device", default="cpu")
    add_arguments(parser)
    args = parser.parse_args(arguments)
    if args.seeds < 1 or args.frames < 60 or args.laps < 1 or not 0 < args.share < 1:
        parser.error("expected at least 1 seed, 60 frames and 1 lap, and a share between 0 and 1")
    return args


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except Spark3rError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
