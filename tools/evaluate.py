"""Compare results with ground truth: one sequence, or everything that is promised of a network.

    python tools/evaluate.py --truth DATA/7scenes_redkitchen_a --result result/ --out docs/evaluation
    python tools/evaluate.py --truth "synthetic:room?seed=100001&frames=300" --run --odometry --out DIR
    python tools/evaluate.py --acceptance --data DATA --out docs/evaluation/acceptance

A result is a folder written by `spark3r run` (trajectory.txt, and with --save-depth its depth maps) or any TUM file;
--run streams the frames through the engine here. The truth is a folder laid out like shared/data, or a synthetic URI.
Beside every result stand two baselines, no motion and constant velocity, and with --odometry OpenCV's visual odometry
with the true intrinsics. --acceptance (or --validation, which may be looked at during training) measures reserved
worlds, 300-frame loops through the engine, and every sequence of --data that has ground truth.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from spark3r_core.errors import Spark3rError
from spark3r_core.synthetic.seeds import ACCEPTANCE, VALIDATION
from tools.bench_reduction import describe_machine
from tools.evaluation import report
from tools.evaluation.comparison import compare
from tools.evaluation.network import add_arguments, load_network
from tools.evaluation.sequences import open_sequence
from tools.evaluation.suite import SuiteConfig, run_suite


def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    if args.truth is None:
        return evaluate_suite(args)
    named = {}
    for text in args.result:
        name, _, path = text.rpartition("=")
        named[name or Path(path).stem] = Path(path)
    comparison = compare(
        open_sequence(args.truth),
        args.distance,
        results=named,
        model=load_network(args.model, args.weights, args.checkpoint) if args.run else None,
        model_name=args.model,
        long_side=args.size,
        with_odometry=args.odometry,
    )
    comparison.write(args.out, args.name)
    print(json.dumps(comparison.numbers) if args.json else report.table(comparison.numbers))
    return 0


def evaluate_suite(args: argparse.Namespace) -> int:
    """Writes NAME.json, .md and .png beside the reports of the single sequences; prints the table."""
    config = SuiteConfig(
        seeds=ACCEPTANCE if args.acceptance else VALIDATION,
        worlds=args.worlds,
        streams=args.streams,
        stream_frames=args.frames,
        data=args.data,
        distance=args.distance,
        odometry=not args.no_odometry,
    )
    name = args.name or ("acceptance" if args.acceptance else "validation")
    args.out.mkdir(parents=True, exist_ok=True)
    model = load_network(args.model, args.weights, args.checkpoint)
    result = run_suite(model, args.model, config, args.out, lambda text: print(text, file=sys.stderr, flush=True))
    result = {"machine": describe_machine(torch.device("cpu")), "dtype": str(model.attention_dtype)} | result
    report.write_json(args.out / f"{name}.json", result)
    table = report.must_table(result["musts"])
    head = (
        f"# {name}: {args.model}\n\n"
        f"`tools/evaluate.py` at {result['machine']['commit']}, weights {str(model.weights_sha256)[:12]}. Worlds: the "
        "network alone, against frame 0, medians over all views. Streams: the whole engine, relative errors over "
        f"frames {args.distance} apart, ATE after one Sim(3). Kitchen: a real clip, never trained on.\n\n"
    )
    (args.out / f"{name}.md").write_text(head + table + "\n")
    report.plot_musts(args.out / f"{name}.png", f"{name}: {args.model}", result["musts"])
    print(json.dumps(result["musts"]) if args.json else table)
    return 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--truth", help="folder with groundtruth.txt, or synthetic:URI")
    what.add_argument("--acceptance", action="store_true", help="everything, on the worlds reserved for acceptance")
    what.add_argument("--validation", action="store_true", help="everything, on the worlds reserved for validation")
    parser.add_argument("--out", type=Path, required=True, help="folder for NAME.json, NAME.md and NAME.png")
    parser.add_argument("--name", help="name of the files (default: the sequence's, acceptance, or validation)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--distance", type=int, default=8, help="frames between the two of a relative pose (default 8)")
    one = parser.add_argument_group("one sequence (--truth)")
    one.add_argument("--result", action="append", default=[], help="[name=]folder or TUM file; may be repeated")
    one.add_argument("--run", action="store_true", help="also stream the frames through the engine here")
    one.add_argument("--odometry", action="store_true", help="also run OpenCV's visual odometry")
    one.add_argument("--size", type=int, help="longest side of the network input with --run (default: the model's own)")
    suite = parser.add_argument_group("everything (--acceptance, --validation)")
    suite.add_argument("--data", type=Path, help="folder with real sequences, as shared/data")
    suite.add_argument("--worlds", type=int, default=24, help="worlds of short windows (default 24)")
    suite.add_argument("--streams", type=int, default=4, help="synthetic loops (default 4)")
    suite.add_argument("--frames", type=int, default=300, help="frames of each loop (default 300)")
    suite.add_argument("--no-odometry", action="store_true", help="leave OpenCV's visual odometry out")
    add_arguments(parser.add_argument_group("the network (--run, --acceptance, --validation)"))
    return parser.parse_args(arguments)


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except Spark3rError as error:
        raise SystemExit(f"error: {error}") from None
