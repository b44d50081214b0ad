"""The network alone on keyframes: field of view, depth and confidence, of several weights side by side, as JSON.

    python tools/eval_network.py                                            # the shipped weights, validation worlds
    python tools/eval_network.py shipped runs/second/last.pt --data ../shared/data
    python tools/eval_network.py shipped runs/second/last.pt --acceptance   # the seeds that decide

Worlds are rendered once for all weights: "before" as training knew them so far, "all" with every kind of world and
fields of view from 30 to 110 degrees. A real sequence counts where its intrinsics are known; its keyframes are chosen
by what can be followed in the pictures, so that they are the same for any weights. Float32 throughout.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from spark3r_core.models.interface import Backbone
from spark3r_core.models.registry import load_model
from spark3r_core.synthetic.seeds import ACCEPTANCE, VALIDATION
from tools.evaluation.alone import FIRST_KEYFRAMES, Keyframes, choose, medians, run_alone, world_keyframes
from tools.evaluation.network import load_averaged
from tools.evaluation.sequences import frames_of, known_camera, true_depth_maps

SEED_OFFSET = 2000  # behind the seeds of the other suites
KINDS_OFFSET = 500


def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    models = {name: load(name) for name in args.weights}
    rows: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in models}
    seeds = ACCEPTANCE if args.acceptance else VALIDATION
    groups: dict[str, list[str]] = {}
    for group, offset in (("before", SEED_OFFSET), ("all", SEED_OFFSET + KINDS_OFFSET)):
        first = seeds.start + offset
        made = world_keyframes(range(first, first + args.worlds), args.keyframes, as_before=group == "before")
        for one in track(made, group, args.worlds, console=Console(stderr=True)):
            groups.setdefault(group, []).append(one.name)
            for name, model in models.items():
                rows[name][one.name] = run_alone(model, one)
    for folder in sorted(args.data.iterdir()) if args.data else []:
        sequence = real_keyframes(folder) if (folder / "intrinsics.json").exists() else None
        if sequence is not None:
            for name, model in models.items():
                rows[name][sequence.name] = run_alone(model, sequence)
                print(f"{name} {sequence.name}: {json.dumps(rows[name][sequence.name])}", file=sys.stderr, flush=True)
    report = {
        "what": "the network alone on keyframes, one step of a stream each",
        "settings": {"seeds": "acceptance" if args.acceptance else "validation", "worlds": args.worlds},
        "medians": {
            name: {group: medians([found[one] for one in names]) for group, names in groups.items()}
            for name, found in rows.items()
        },
        "sequences": rows,
    }
    print(json.dumps(report, indent=2))
    return 0


def load(name: str) -> Backbone:
    if name == "shipped":
        return load_model("bundled", device="cpu", dtype=torch.float32)
    return load_averaged(Path(name))


def real_keyframes(folder: Path) -> Keyframes | None:
    """Keyframes of a folder as in shared/data, those that have true depth among them; None without a known camera."""
    camera = known_camera(folder)
    if camera is None:
        return None
    depth = true_depth_maps(folder)
    chosen = choose(frames_of(folder), sorted(depth), None if depth else 2 * FIRST_KEYFRAMES)
    place = {frame: index for index, frame in enumerate(chosen)}
    return Keyframes(
        folder.name, list(chosen.values()), camera, {place[frame]: read() for frame, read in depth.items()}
    )


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", nargs="*", default=["shipped"], help='"shipped", or last.pt of a training run')
    parser.add_argument("--worlds", type=int, default=24, help="of each of the two groups")
    parser.add_argument("--keyframes", type=int, default=10, help="of each world")
    parser.add_argument("--acceptance", action="store_true", help="the worlds that decide, not those to look at")
    parser.add_argument("--data", type=Path, help="folder of real sequences, as shared/data; default: none")
    args = parser.parse_args(arguments)
    for name in args.weights:
        if name != "shipped" and not Path(name).is_file():
            parser.error(f'there is no file {name}; expected "shipped" or a checkpoint of tools/train_bundled.py')
    if args.data is not None and not args.data.is_dir():
        parser.error(f"there is no folder {args.data}; expected one of sequences, as shared/data")
    return args


if __name__ == "__main__":
    raise SystemExit(main())
