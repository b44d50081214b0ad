"""What token reduction costs in quality: every choice of Spark3R as a row, on streams with ground truth.

    python tools/ablate_reduction.py --out docs/reduction
    python tools/ablate_reduction.py --full --sequences DATA/7scenes_redkitchen_a --out docs/reduction

Procedural streams (held-out seeds) and real sequences are encoded once and decoded with every setting: r_Q x r_KV, K/V
pruned or merged, special tokens of all frames kept or not, group size, layers alike or by sensitivity. The last rows
stream the same frames and vary how many of the newest pages are safe from eviction (`recent`). Errors: ATE after
Sim(3) over the spread of the true positions, median rotation error against frame 0, depth AbsRel after one scale per
stream; each is compared with dense on its own stream. Layers are probed first (with ground truth where all of it is
known), or read from a table that `spark3r probe --save` wrote. The default takes about five minutes on two cores.
Writes ablate_reduction.json, .md and .png, and sensitivity.json.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from spark3r_core.attention.plan import AttentionPlan
from spark3r_core.attention.reduced import Reduced
from spark3r_core.errors import Spark3rError
from spark3r_core.memory.config import MemoryConfig
from spark3r_core.models.interface import Backbone, Encoded
from spark3r_core.models.registry import MODELS
from spark3r_core.offline.probe import SensitivityTable, probe_sensitivity
from spark3r_core.offline.reconstruct import encode_in_chunks, reconstruct_encoded
from spark3r_core.stream.session import StreamSession
from spark3r_core.synthetic.seeds import VALIDATION
from spark3r_core.tokens import Reduction
from tools.bench_reduction import describe_machine
from tools.evaluation import ablation, report
from tools.evaluation.ablation import Stream
from tools.evaluation.network import add_arguments, load_network
from tools.reduction_baselines import NoGlobalAttention, UniformMerging

KINDS = ("handheld", "orbit", "loop", "robot", "wander")
FIRST_SEED = VALIDATION.start + 7000
WINDOW = 4  # new frames per window of the streamed rows, as files are streamed

Poses, Depths = NDArray[np.float64], NDArray[np.float32]


@dataclass(frozen=True)
class Amount:
    """How much is measured. groups, recent: besides the defaults (20 frames; one window, a quarter of the pages)."""

    streams: int
    frames: int
    query: tuple[int, ...]
    kv: tuple[int, ...]
    kv_alone: tuple[int, ...]
    groups: tuple[int, ...]
    recent: tuple[int, ...]


QUICK = Amount(4, 64, (1, 2, 4, 8), (1, 4, 16), (4, 16), (1, 5), (0, 8))
FULL = Amount(8, 120, (1, 2, 4, 8, 16), (1, 2, 4, 8, 16, 32), (2, 4, 8, 16, 32), (1, 5, 10, 40), (0, 1, 2, 4, 8))


@dataclass(frozen=True)
class Row:
    """One setting. run: from the model, a stream and its encoded frames to poses (S, 4, 4) and depth (S, H, W)."""

    question: str
    run: Callable[[Backbone, Stream, Encoded], tuple[Poses, Depths]]
    factors: tuple[int, int] | None = None  # (r_Q, r_KV) where nothing else varies


def main(arguments: list[str] | None = None) -> int:
    args = parse_arguments(arguments)
    amount = FULL if args.full else QUICK
    frames, count = args.frames or amount.frames, amount.streams if args.streams is None else args.streams
    model = load_network(args.model, args.weights, args.checkpoint, args.device)
    image_hw = tuple(args.size) if args.size else MODELS[args.model].native_size[::-1]
    streams = load_streams(args, model, image_hw, count, frames)
    args.out.mkdir(parents=True, exist_ok=True)
    table = SensitivityTable.load(args.probe) if args.probe else probe(model, streams)
    table.save(args.out / "sensitivity.json")
    print(sensitivity_entry(args.model, table))
    if args.probe_only:
        return 0
    rows = rows_of(amount, frames, table)
    measured: dict[str, list[dict[str, float]]] = {name: [] for name in (ablation.NO_MOTION, *rows)}
    for index, stream in enumerate(streams):
        encoded = encode_in_chunks(model, stream.images)
        measured[ablation.NO_MOTION].append(ablation.measure_no_motion(stream))
        for done, (name, row) in enumerate(rows.items(), start=1):
            measured[name].append(ablation.measure(*row.run(model, stream, encoded), stream))
            progress(f"stream {index + 1}/{len(streams)}", done, len(rows))
    summary = ablation.summarise(measured)
    groups = {name: row.question for name, row in rows.items()}
    settings = {
        "model": args.model,
        "weights_sha256": model.weights_sha256,
        "dtype": str(model.attention_dtype),
        "image_hw": image_hw,
        "frames": [len(stream.images) for stream in streams],
        "step": args.step,
        "streams": [stream.name for stream in streams],
    }
    document: dict[str, Any] = {
        "what": "quality of reconstruction under token reduction; medians over streams, ratios per stream",
        "machine": describe_machine(torch.device(args.device)),
        "settings": settings,
        "probe": asdict(table) | {"ratios": table.ratios, "sensitive": table.sensitive},
        "rows": [row | {"question": groups.get(row["name"], "reference")} for row in summary],
        "per_stream": measured,
    }
    report.write_json(args.out / "ablate_reduction.json", document)
    text = ablation.table(summary, groups)
    title = f"{args.model} ({str(model.weights_sha256)[:12]}), {len(streams)} streams of up to {frames} frames"
    head = f"# Token reduction: {title}\n\n{sensitivity_entry(args.model, table)}\n\n"
    (args.out / "ablate_reduction.md").write_text(head + text + "\n")
    factors = {name: row.factors for name, row in rows.items() if row.factors is not None}
    ablation.plot(summary, groups, factors, title, args.out / "ablate_reduction.png")
    print(f"{text}\nwritten: {args.out}/ablate_reduction.json, .md, .png, sensitivity.json")
    return 0


def load_streams(
    args: argparse.Namespace, model: Backbone, image_hw: tuple[int, int], count: int, frames: int
) -> list[Stream]:
    """The procedural streams, then the named sequences. Raises Spark3rError when there is none."""
    streams = []
    for index in range(count):
        kind = KINDS[index % len(KINDS)]
        streams.append(ablation.synthetic_stream(FIRST_SEED + index, kind, frames, image_hw, args.step))
        progress("render", index + 1, count)
    streams += [ablation.real_stream(what, frames, image_hw, model.patch_size) for what in args.sequences]
    if not streams:
        raise Spark3rError("there is no stream to measure; give --streams or --sequences")
    return streams


def probe(model: Backbone, streams: Sequence[Stream]) -> SensitivityTable:
    """Against the truth on streams where all of it is known; without any, against dense on all streams."""
    exact = [stream for stream in streams if stream.geometry is not None]
    truth = [stream.geometry for stream in exact if stream.geometry is not None] or None
    images = [stream.images for stream in exact or streams]
    return probe_sensitivity(model, images, truth, progress=lambda done, total: progress("probe", done, total))


def sensitivity_entry(model_name: str, table: SensitivityTable) -> str:
    """The line of SENSITIVE_LAYERS (spark3r_core/tokens/sensitivity.py) that this table stands for."""
    layers = ", ".join(str(layer) for layer in table.sensitive)
    entry = f'"{model_name}": frozenset({{{layers}}})' if layers else f'"{model_name}": frozenset()'
    ratios = " ".join(f"{ratio:.3f}" for ratio in table.ratios)
    return f"SENSITIVE_LAYERS entry: {entry},  (error × {ratios}; compared with {table.compared_with})"


def rows_of(amount: Amount, frames: int, table: SensitivityTable) -> dict[str, Row]:
    """Settings by name; dense is the first. Every row keeps all choices but the named one at their defaults."""

    def offline(question: str, plan: AttentionPlan, factors: tuple[int, int] | None = None) -> Row:
        return Row(question, lambda model, _, encoded: decode(model, encoded, plan), factors)

    def reduced(question: str, reduction: Reduction) -> Row:
        return offline(question, Reduced(reduction))

    rows = {ablation.DENSE: offline("reference", Reduced(Reduction.dense()), (1, 1))}
    pairs = [(q, kv) for q in amount.query for kv in amount.kv if (q, kv) != (1, 1)]
    pairs += [(1, kv) for kv in amount.kv_alone if (1, kv) not in pairs]
    for q, kv in pairs:
        rows[f"r_Q {q} r_KV {kv}"] = offline("factors", Reduced(Reduction.fixed(q, kv)), (q, kv))
    for factor in amount.kv_alone:
        merged = Reduction.fixed(1, factor).with_(kv_mode="merge")
        rows[f"r_KV {factor}, merged"] = reduced("K/V merged instead of pruned", merged)
    for factor in amount.kv_alone:
        special = Reduction.fixed(1, factor).with_(all_special_kv=True)
        rows[f"r_KV {factor}, special tokens of all frames"] = reduced("special tokens", special)
    for group in (*amount.groups, frames):
        rows[f"r_Q 4, group of {group}"] = reduced("group size", Reduction.fixed(4, 1).with_(group_frames=group))
    sensitive = frozenset(table.sensitive)
    # Up to 100 frames the published rule reduces insensitive layers only, threefold: the layers are compared at 4, 4.
    both = Reduction(query_factor=4, kv_factor=4, sensitive=sensitive)
    others = frozenset(range(len(table.errors))) - sensitive
    rows["published, for this length"] = reduced("layers", Reduction.spark3r().with_(sensitive=sensitive))
    rows["r_Q 4 r_KV 4, layers alike"] = reduced("layers", both.with_(insensitive_multiplier=1))
    rows["r_Q 4 r_KV 4, and 12 in insensitive layers"] = reduced("layers", both)
    rows["r_Q 4 r_KV 4, and 12 in sensitive layers"] = reduced("layers", both.with_(sensitive=others))
    rows["FastVGGT-style merging"] = offline("other methods", UniformMerging())
    rows["no global attention"] = offline("other methods", NoGlobalAttention())
    rows["streamed, recent default"] = Row("recent pages", streamed(None))
    for recent in amount.recent:
        rows[f"streamed, recent {recent}"] = Row("recent pages", streamed(recent))
    return rows


def decode(model: Backbone, encoded: Encoded, plan: AttentionPlan) -> tuple[Poses, Depths]:
    result = reconstruct_encoded(model, encoded, plan)
    return result.world_from_camera, result.depth


def streamed(recent: int | None) -> Callable[[Backbone, Stream, Encoded], tuple[Poses, Depths]]:
    """The stream through a session with the model's own number of pages."""

    def run(model: Backbone, stream: Stream, _: Encoded) -> tuple[Poses, Depths]:
        session = StreamSession(model, MemoryConfig(max_new_frames=WINDOW, recent=recent), refine=False)
        frames = [frame for part in stream.images.split(WINDOW) for frame in session.step(part).frames]
        return np.stack([f.world_from_camera for f in frames]), np.stack([f.depth for f in frames])

    return run


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--full", action="store_true", help=f"all factors, {FULL.streams} streams of {FULL.frames}")
    parser.add_argument("--streams", type=int, help=f"procedural streams, of held-out seeds (default {QUICK.streams})")
    parser.add_argument("--frames", type=int, help=f"frames of a stream at most (default {QUICK.frames})")
    parser.add_argument("--step", type=float, default=3.0, help="video frames (30 per second) between samples")
    parser.add_argument(
        "--sequences", nargs="+", default=[], help="real sequences too: folders as shared/data, or URIs"
    )
    parser.add_argument("--probe", type=Path, metavar="TABLE", help="of `spark3r probe --save`, instead of probing")
    parser.add_argument("--probe-only", action="store_true", help="stop once the sensitive layers are known")
    parser.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), help="network input; default: native 4:3")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("out/ablate_reduction"))
    return parser.parse_args(arguments)


def progress(what: str, done: int, total: int) -> None:
    end = "\n" if done == total else "\r"
    print(f"{what}: {done}/{total}", end=end, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except Spark3rError as error:
        raise SystemExit(f"error: {error}") from None
