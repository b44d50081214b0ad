"""Several cameras in one process, live: what each loses, and how late its results reach a subscriber elsewhere.

    python tools/bench_cameras.py                          # two cameras of 640x480 at 15 frames a second
    python tools/bench_cameras.py --cameras 3 --fps 10 -- --loops off

Rendered videos of one room, from its two ends in turn, are played in real time by `spark3r run a=… b=…`. Latency is
from when a frame was due to its /frame/ message here. Prints JSON. What stands behind -- is passed on to `spark3r run`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from spark3r_stream.pubsub.subscriber import Subscriber
from spark3r_stream.wire.decode import decode
from spark3r_stream.wire.envelope import FRAME, STATUS
from spark3r_stream.wire.messages import FrameResult, SessionState, Status
from tools.bench_reduction import describe_machine
from tools.record_clip import write_video

SPANS = ("0:0.6", "1:0.4")


def main(arguments: list[str] | None = None) -> int:
    args, options = parse(arguments)
    with tempfile.TemporaryDirectory() as folder:
        sources = []
        for number in range(args.cameras):
            world = (
                f"synthetic:room?seed={args.seed}&frames={args.frames}&kind=wander&size={args.picture}&fps={args.fps}"
            )
            video = Path(folder) / f"{number}.mp4"
            write_video(video, f"{world}&span={SPANS[number % 2]}&camera={number}")
            sources.append(f"c{number}={video}")
        rows = [watched(sources, Path(folder), options) for _ in range(args.repeats)]
    report = {
        "what": "spark3r run a=VIDEO b=VIDEO --pace realtime, due to subscriber in another process",
        "excluded": ["rendering", "frames before a camera's first result with a pose"],
        "machine": describe_machine(torch.device("cpu")),
        "settings": {**vars(args), "options": options},
        "runs": rows,
    }
    print(json.dumps(report, indent=2))
    return 0


def watched(sources: list[str], folder: Path, options: list[str]) -> dict[str, Any]:
    """One run: by camera, frames, those lost, and milliseconds."""
    endpoint = f"ipc://{folder}/stream"
    command = [
        sys.executable,
        "-m",
        "spark3r_stream",
        "run",
        *sources,
        "--pace",
        "realtime",
        "--publish",
        endpoint,
        "-q",
    ]
    late: dict[str, list[float]] = defaultdict(list)
    lost: dict[str, int] = defaultdict(int)
    with subprocess.Popen([*command, "-q", *options]) as engine, Subscriber(endpoint, [FRAME, STATUS]) as subscriber:
        is_over = False
        while not is_over and (engine.poll() is None or subscriber.poll(0) is not None):
            message = subscriber.poll(0.25)
            if message is None:
                continue
            now_ns, camera, content = time.time_ns(), message.envelope.camera, decode(message)
            if isinstance(content, FrameResult) and (late[camera] or content.valid):
                late[camera].append((now_ns - content.captured_ns) / 1e6)
                lost[camera] += sum(content.drops_since_last.values()) if len(late[camera]) > 1 else 0
            elif isinstance(content, Status) and not camera:
                is_over = content.state in (SessionState.ENDED, SessionState.FAILED)
    return {
        camera: {
            "published": len(found), "lost": lost[camera],
            **{f"p{share}_ms": round(float(np.percentile(found, share)), 1) for share in (50, 95, 99)},
        }
        for camera, found in sorted(late.items())
    }  # fmt: skip


def parse(arguments: list[str] | None) -> tuple[argparse.Namespace, list[str]]:
    words = sys.argv[1:] if arguments is None else arguments
    own, options = (words[: words.index("--")], words[words.index("--") + 1 :]) if "--" in words else (words, [])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cameras", type=int, default=2)
    parser.add_argument("--fps", type=float, default=15.0)
    parser.add_argument("--picture", default="640x480")
    parser.add_argument("--frames", type=int, default=480, help="of the whole path; each camera has six tenths")
    parser.add_argument("--seed", type=int, default=100702)
    parser.add_argument("--repeats", type=int, default=3)
    return parser.parse_args(own), options


if __name__ == "__main__":
    sys.exit(main())
