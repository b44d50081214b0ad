"""An hour of video in a bounded memory: bytes within their budget, and the last frames as quick as the first ones.

    python tools/soak_map.py                               # an hour at 30 FPS in 256 MiB, as fast as it goes
    python tools/soak_map.py --minutes 10 --cache /tmp/worlds

A rendered loop, whose end is its beginning, is shown again and again: the camera comes back to where it was every few
seconds, and keyframes do not stop. The budget is what `spark3r run --map-memory … --memory …` may take together; what
the process has grown since the first tenth is printed beside it. Per tenth of the video: CPU time of a frame on the
tracking thread (that of the clock would be other processes' too), keyframes, loops, bytes. Prints JSON; exit code 1 if
there are `failures`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from spark3r_core.errors import Spark3rError
from spark3r_core.memory.config import MemoryConfig
from spark3r_core.stream.map_update import MapOptions
from spark3r_core.synthetic.seeds import VALIDATION
from spark3r_stream.config import parse_bytes
from spark3r_stream.engine.local_mapper import LocalMapper
from spark3r_stream.engine.steady import keep_freed_memory
from spark3r_stream.engine.tracking import TrackingReconstructor
from spark3r_stream.frame import Frame
from spark3r_stream.wire.messages import TrackingState
from tools.bench_reduction import describe_machine
from tools.evaluation.map_streams import rendered
from tools.evaluation.map_worlds import make_world
from tools.evaluation.network import add_arguments, load_network
from tools.process_usage import usage_of

FPS = 30
PARTS = 10  # of the video, that are compared
MOST_SLOWER = 1.10  # p95 of the last part over that of the second; the first one's map is still small
MEMORY_SHARE = 0.25  # of the budget, for keys and values; the map has the rest


class Part:
    """What one tenth of the video was like."""

    def __init__(self) -> None:
        self.frame_ms: list[float] = []
        self.keyframes = self.dropped = self.tracking = self.map_bytes = self.memory_bytes = 0

    def as_dict(self, loops: int, rss_bytes: int) -> dict[str, Any]:
        return {
            "frame_cpu_ms": {f"p{share}": round(float(np.percentile(self.frame_ms, share)), 2) for share in (50, 95)},
            "tracking_share": round(self.tracking / len(self.frame_ms), 3),
            "keyframes": self.keyframes, "dropped": self.dropped, "loops": loops,
            "map_bytes": self.map_bytes, "memory_bytes": self.memory_bytes, "rss_bytes": rss_bytes,
        }  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    keep_freed_memory()
    machine = describe_machine(torch.device(args.device))
    model = load_network(args.model, args.weights, args.checkpoint, args.device)
    images = rendered(make_world("loop", args.seed, args.loop_frames, args.picture), args.cache).images
    memory_bytes = int(MEMORY_SHARE * args.budget)
    host = LocalMapper(
        model,
        MemoryConfig(max_new_frames=1, max_bytes=memory_bytes),
        MapOptions(max_bytes=args.budget - memory_bytes),
    )
    parts = run(TrackingReconstructor(host, args.size), images, round(args.minutes * 60 * FPS))
    found = failures(parts, args.budget)
    print(json.dumps({
        "what": "a rendered loop, again and again, through the engine as a file", "machine": machine,
        "settings": {"minutes": args.minutes, "budget_bytes": args.budget, "picture": args.picture, "seed": args.seed},
        "rss_grown_bytes": parts[-1]["rss_bytes"] - parts[0]["rss_bytes"],
        "parts": parts, "failures": found,
    }, indent=2))  # fmt: skip
    return 1 if found else 0


def run(engine: TrackingReconstructor, images: NDArray[np.uint8], frames: int) -> list[dict[str, Any]]:
    """Numbers of each tenth of so many frames; the images follow each other round and round."""
    done: list[dict[str, Any]] = []
    part, loops = Part(), 0
    for index in range(frames):
        stamp = round(index * 1e9 / FPS)
        frame = engine.prepare_ahead(Frame(images[index % len(images)], index, 0, stamp, stamp, "soak"))
        began = time.thread_time()
        step = engine.process([frame])
        part.frame_ms.append(1e3 * (time.thread_time() - began))
        part.keyframes += len(step.keyframes)
        result = step.outputs[0].result
        part.tracking += result.valid and result.state is TrackingState.TRACKING
        part.memory_bytes = max(part.memory_bytes, result.memory_bytes)
        if step.map_size is not None:
            part.map_bytes = max(part.map_bytes, step.map_size.used_bytes)
            part.dropped += step.map_size.dropped
        if (index + 1) * PARTS // frames > len(done):
            done.append(part.as_dict(len(engine.loops) - loops, usage_of(os.getpid()).rss_bytes))
            print(json.dumps(done[-1]), file=sys.stderr, flush=True)
            part, loops = Part(), len(engine.loops)
    engine.close()
    return done


def failures(parts: list[dict[str, Any]], budget: int) -> list[str]:
    most = max(part["map_bytes"] + part["memory_bytes"] for part in parts)
    found = [f"map and memory took {most} bytes; expected at most {budget}"] if most > budget else []
    second, last = (parts[place]["frame_cpu_ms"]["p95"] for place in (1, -1))
    if last > MOST_SLOWER * second:
        found.append(f"p95 of a frame is {last} ms at the end and was {second} ms; expected {MOST_SLOWER:g} times that")
    return found


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0, help="of video (default 60)")
    parser.add_argument("--budget", type=parse_bytes, default="256MiB", help="of map and memory together")
    parser.add_argument("--seed", type=int, default=VALIDATION.start + 800)
    parser.add_argument("--loop-frames", type=int, default=300, help="of the loop that is shown (default 300)")
    parser.add_argument("--picture", type=int, nargs=2, default=(320, 240), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--size", type=int, help="longest side of the network input; default: the model's own")
    parser.add_argument("--cache", type=Path, help="folder in which the rendered loop is kept")
    parser.add_argument("--device", default="cpu")
    add_arguments(parser)
    args = parser.parse_args(arguments)
    if args.minutes * 60 * FPS < 10 * PARTS:
        parser.error(f"--minutes {args.minutes:g}: expected at least {10 * PARTS / 60 / FPS:.2g}")
    return args


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except Spark3rError as error:
        raise SystemExit(f"error: {error}") from None
