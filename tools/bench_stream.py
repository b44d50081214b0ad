"""Speed and memory of a stream: one model over one source, window by window, as JSON on stdout.

    python tools/bench_stream.py bundled synthetic:room?frames=100 --repeats 3
    python tools/bench_stream.py vggt-1b video.mp4 --weights random --dtype bfloat16 --frames 4 --warm-up 0

Timed is `StreamSession.step`: uint8 images at network size in host memory, to poses and depth maps in host memory.
Reading, decoding and resizing happen between the steps and are left out, and so are points, messages and files. Weights
do not change the amount of work, so random ones will do. Timings count only while nothing else runs on the machine:
compare `cpu_seconds` with `seconds` and see `load_average_at_start`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from spark3r_core.errors import Spark3rError
from spark3r_core.memory.budget import SENSITIVE_PAGES
from spark3r_core.memory.config import MemoryConfig
from spark3r_core.models.interface import Backbone
from spark3r_core.models.registry import MODELS, load_model
from spark3r_core.stream.session import StreamSession
from spark3r_core.timing import PeakMemory, Stopwatch
from spark3r_stream.clock import SystemClock
from spark3r_stream.config import parse_bytes
from spark3r_stream.engine.reconstructor import Reconstructor
from spark3r_stream.engine.steady import keep_freed_memory
from spark3r_stream.errors import EndOfStream
from spark3r_stream.sources import SourceOptions, open_source
from spark3r_stream.sources.redact import redact_uri
from tools.bench_reduction import describe_machine

EXCLUDED = ["loading of weights", "reading, decoding and resizing", "points, messages and files", "warm-up windows"]
PARTS = {"encode": "encode", "decode": "decode", "predict": "predict", "poses": "predict"}  # method → part


class Window(NamedTuple):
    """One step: its new frames, its wall time, and whether pages had to go before it (the memory was full)."""

    frames: int
    seconds: float
    is_full: bool


def main() -> None:
    args = parse_arguments()
    keep_freed_memory()  # as `spark3r run` does
    if args.threads:
        torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    host_peak = PeakMemory(torch.device("cpu"))
    device_peak = PeakMemory(device) if device.type == "cuda" else None
    machine = describe_machine(device)
    try:
        model = load_model(args.model, device=device, dtype=getattr(torch, args.dtype), weights=args.weights)
        memory = MemoryConfig(
            max_bytes=None if args.memory is None else parse_bytes(args.memory),
            max_pages=args.pages,
            max_new_frames=args.window,
            support_recent=args.support_recent,
        )
        runs = []
        for repeat in range(args.repeats):
            runs.append(run_once(model, memory, args))
            print(f"repeat {repeat + 1} of {args.repeats}: {runs[-1]['fps']} FPS", file=sys.stderr)
    except Spark3rError as error:
        raise SystemExit(f"bench_stream: {error}") from error
    report = {
        "what": "StreamSession.step, uint8 images at network size to poses and depth maps in host memory",
        "excluded": EXCLUDED,
        "machine": machine,
        "settings": settings(model, memory, args, runs[0]["image_hw"]),
        "median_of_repeats": {
            "fps": statistics.median(run["fps"] for run in runs),
            "window_ms": {
                name: statistics.median(run["window_ms"][name] for run in runs) for name in runs[0]["window_ms"]
            },
        },
        "repeats": runs,
        "peak_host_rss_bytes": host_peak.bytes(),
        "peak_device_bytes": None if device_peak is None else device_peak.bytes(),
    }
    print(json.dumps(report, indent=2))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=list(MODELS))
    parser.add_argument("source", help="as for `spark3r run`; begins again when it is shorter than --frames")
    parser.add_argument("--weights", help='checkpoint file, or "random"; default: the released weights')
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--size", type=int, help="longest side of the network input in pixels; default: native")
    parser.add_argument("--window", type=int, default=4, help="new frames per window")
    parser.add_argument("--support-recent", type=int, default=1, help="newest frames run again, besides frame 0")
    parser.add_argument("--memory", help="byte budget, e.g. 512MiB; default: what --pages asks for")
    parser.add_argument("--pages", type=int, default=SENSITIVE_PAGES, help="pages of a sensitive layer at most")
    parser.add_argument("--warm-up", type=int, default=2, metavar="WINDOWS", help="first windows that do not count")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--no-refine", action="store_true", help="the network alone, where the model refines poses")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"], help="of the trunk")
    parser.add_argument("--threads", type=int, help="torch threads; default: torch's own")
    args = parser.parse_args()
    if min(args.frames, args.window, args.repeats) < 1 or args.warm_up < 0:
        parser.error("--frames, --window and --repeats are at least 1, --warm-up at least 0")
    if args.frames <= args.warm_up * args.window:
        parser.error(f"{args.frames} frames end within the warm-up of {args.warm_up} windows; lower --warm-up")
    return args


def run_once(model: Backbone, memory: MemoryConfig, args: argparse.Namespace) -> dict[str, Any]:
    """A stream from its first frame to its last."""
    session = StreamSession(model, memory, refine=False if args.no_refine else None)
    windows: list[Window] = []
    watch, busy, valid, result = Stopwatch(), 0.0, True, None
    for images in batches(model, memory, args):
        timing = len(windows) >= args.warm_up
        with measured(model, watch) if timing else contextlib.nullcontext():
            cpu, began = time.process_time(), time.perf_counter()
            had_to_evict = result is not None and bool(result.evicted)
            result = session.step(images)  # ends with results on the host, so nothing is still under way
            seconds = time.perf_counter() - began
        busy += (time.process_time() - cpu) if timing else 0.0
        windows.append(Window(len(images), seconds, had_to_evict or (bool(windows) and windows[-1].is_full)))
        valid = valid and all(frame.valid for frame in result.frames)
    assert result is not None
    counted = windows[args.warm_up :]
    full = [window for window in counted if window.is_full]
    parts = watch.seconds()
    per_window = {part: 1e3 * parts.get(part, 0.0) / len(counted) for part in dict.fromkeys(PARTS.values())}
    rest = 1e3 * sum(window.seconds for window in counted) / len(counted) - sum(per_window.values())
    return {
        "image_hw": session.image_hw,
        **summary(counted),
        "with_full_memory": summary(full) if full else None,
        "mean_ms_per_window": {name: round(ms, 3) for name, ms in (per_window | {"rest": rest}).items()},
        "cpu_seconds": round(busy, 3),
        "all_frames_valid": valid,
        "memory_used_bytes": result.memory_used_bytes,
        "memory_limit_bytes": result.memory_limit_bytes,
    }


def summary(windows: list[Window]) -> dict[str, Any]:
    """Rates over all windows; latencies over those of full length, unless there is none."""
    frames, seconds = sum(window.frames for window in windows), sum(window.seconds for window in windows)
    longest = max(window.frames for window in windows)
    latency = 1e3 * np.array([window.seconds for window in windows if window.frames == longest])
    return {
        "frames": frames,
        "windows": len(windows),
        "seconds": round(seconds, 4),
        "fps": round(frames / seconds, 3),
        "window_ms": {
            "p50": round(float(np.percentile(latency, 50)), 2),
            "p95": round(float(np.percentile(latency, 95)), 2),
            "max": round(float(latency.max()), 2),
        },
    }


@contextlib.contextmanager
def measured(model: Backbone, watch: Stopwatch) -> Iterator[None]:
    """The model's own methods with a stopwatch around them."""
    device = next(model.parameters()).device

    def timed(method: str, part: str) -> Any:
        inner = getattr(model, method)

        def call(*args: Any, **kwargs: Any) -> Any:
            with watch.measure(part, device):
                return inner(*args, **kwargs)

        return call

    for method, part in PARTS.items():
        setattr(model, method, timed(method, part))
    try:
        yield
    finally:
        for method in PARTS:
            delattr(model, method)


def batches(model: Backbone, memory: MemoryConfig, args: argparse.Namespace) -> Iterator[np.ndarray]:
    """Windows of `--window` images (n, 3, h, w) uint8, resized as `spark3r run` does; the last may be shorter."""
    resizer = Reconstructor(model, memory, args.size)
    waiting: list[np.ndarray] = []
    left = args.frames
    while left:
        before = left
        with contextlib.closing(open_source(args.source, SourceOptions(), SystemClock())) as source:
            while left:
                try:
                    frame = source.read()
                except EndOfStream:
                    break
                (prepared,), _ = resizer.prepare([frame])
                waiting.append(prepared[1].transpose(2, 0, 1))
                left -= 1
                if len(waiting) == args.window or not left:
                    yield np.stack(waiting)
                    waiting = []
        if left == before:
            raise SystemExit(f"bench_stream: {redact_uri(args.source)} gave no frame")


def settings(
    model: Backbone, memory: MemoryConfig, args: argparse.Namespace, image_hw: tuple[int, int]
) -> dict[str, Any]:
    layers = model.cross_layers(image_hw)
    return {
        "model": args.model,
        "weights": args.weights or "released",
        "trunk_dtype": args.dtype,
        "source": redact_uri(args.source),
        "frames": args.frames,
        "image_hw": image_hw,
        "tokens_per_frame": max(layer.tokens_per_frame for layer in layers),
        "cross_frame_layers": len(layers),
        "new_frames_per_window": args.window,
        "support_frames_per_window": memory.max_support_frames,
        "max_pages": memory.max_pages,
        "max_bytes": memory.max_bytes,
        "refines": model.capabilities.refines and not args.no_refine,
        "warm_up_windows": args.warm_up,
        "repeats": args.repeats,
    }


if __name__ == "__main__":
    main()
