"""Latency of the wire alone: from "a frame's results exist" to "a subscriber holds them as arrays"; JSON on stdout.

    python tools/bench_wire.py --seconds 30 --repeats 3

Every 1/30 s a frame of 640x480 depth and 50,000 points is encoded, sealed and published, with its pose, transforms,
calibration and result; two subscribers, processes of their own, receive and decode all of it. The latency of a frame
is the time from before its encoding until the last of its messages is decoded. No model. Both ends read the monotonic
clock of one machine.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from spark3r_stream.clock import SystemClock
from spark3r_stream.engine.steady import keep_freed_memory, long_lived_objects
from spark3r_stream.pubsub.publisher import Publisher
from spark3r_stream.pubsub.snapshot import SnapshotKeeper
from spark3r_stream.pubsub.subscriber import Subscriber
from spark3r_stream.wire.decode import decode
from spark3r_stream.wire.encode import encode_frame
from spark3r_stream.wire.envelope import CLOUD, Sealer
from spark3r_stream.wire.messages import CameraView, FrameOutput, FrameResult


def main() -> None:
    args = parse_arguments()
    keep_freed_memory()  # as `spark3r run` does
    import torch  # not by the subscribers, which import this file

    from tools.bench_reduction import describe_machine

    machine = describe_machine(torch.device("cpu"))
    with long_lived_objects():  # as there, too
        repeats = [run_once(args) for _ in range(args.repeats)]
    print(
        json.dumps(
            {
                "what": "encode, seal, publish, receive and decode one frame's messages; until the last is decoded",
                "machine": machine,
                "settings": vars(args),
                "worst_of_repeats_ms": {name: max(r["all"][name] for r in repeats) for name in repeats[0]["all"]},
                "repeats": repeats,
            },
            indent=2,
        )
    )


def run_once(args: argparse.Namespace) -> dict[str, Any]:
    """One session of `args.seconds`: latencies of every subscriber and of all of them, and where the time goes."""
    frames = round(args.seconds * args.fps)
    outputs = [make_output(i, args) for i in range(8)]
    clock, session = SystemClock(), uuid.uuid4()
    context = multiprocessing.get_context("spawn")
    with Publisher("tcp://127.0.0.1:*", session, snapshot=SnapshotKeeper() if args.snapshot else None) as publisher:
        results: Any = context.Queue()
        ready: Any = context.Barrier(args.subscribers + 1)
        children = [
            context.Process(target=subscribe, args=(publisher.endpoint, frames, args.fps, ready, results))
            for _ in range(args.subscribers)
        ]
        for child in children:
            child.start()
        ready.wait(60)
        sealer, made_ns, encode_ns = Sealer(session, clock.unix_ns), [], []
        cpu, began = time.process_time(), time.monotonic_ns()
        for i in range(frames):
            due_ns = began + round(i * 1e9 / args.fps)
            time.sleep(max(0, due_ns - time.monotonic_ns()) / 1e9)
            output = outputs[i % len(outputs)]
            output = replace(output, result=replace(output.result, frame_id=i))
            made_ns.append(time.monotonic_ns())
            messages = sealer.seal(encode_frame(output))
            encode_ns.append(time.monotonic_ns() - made_ns[-1])
            publisher.send(messages)
        cpu = time.process_time() - cpu
        received = [results.get(timeout=60) for _ in children]
        for child in children:
            child.join()
    report: dict[str, Any] = {"frames": frames, "publisher_cpu_share": round(cpu / args.seconds, 3)}
    report["encode"] = quantiles(np.array(encode_ns) / 1e6)
    every = []
    for number, (done_ns, missed) in enumerate(received):
        latency = np.array([(done_ns[i] - made_ns[i]) / 1e6 for i in sorted(done_ns)][args.warm_up :])
        every.append(latency)
        report[f"subscriber_{number}"] = quantiles(latency) | {"frames": len(done_ns), "missed_messages": missed}
    report["all"] = quantiles(np.concatenate(every))
    return report


def subscribe(endpoint: str, frames: int, fps: float, ready: Any, results: Any) -> None:
    """In a process of its own: when each frame's cloud, its last message, was decoded (monotonic ns)."""
    keep_freed_memory()  # as docs/wire.md advises programs that take many maps
    done_ns: dict[int, int] = {}
    with long_lived_objects(), Subscriber(endpoint) as subscriber:
        assert subscriber.wait_connected(30.0)
        ready.wait(60)
        while len(done_ns) < frames and (message := subscriber.poll(3.0)) is not None:
            decode(message)
            if message.topic == CLOUD:
                done_ns[message.envelope.frame_id] = time.monotonic_ns()
        results.put((done_ns, sum(subscriber.missed.values())))


def make_output(frame_id: int, args: argparse.Namespace) -> FrameOutput:
    """A frame as the engine makes them; random numbers, so that nothing is smaller than it would be."""
    rng = np.random.default_rng(frame_id)
    width, height = args.width, args.height
    camera = CameraView(np.array([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1.0]]), width, height)
    result = FrameResult(
        frame_id=frame_id,
        source_id="bench",
        epoch=0,
        submap=0,
        captured_ns=time.time_ns(),
        published_ns=time.time_ns(),
        pts_ns=0,
        world_from_camera=np.eye(4),
        camera=camera,
        depth_camera=camera,
    )
    return FrameOutput(
        result,
        depth=rng.random((height, width), dtype=np.float32) + 1,
        points=rng.normal(size=(args.points, 3)).astype(np.float32),
        colours=rng.integers(0, 256, (args.points, 4), dtype=np.uint8),
        point_confidence=rng.random(args.points, dtype=np.float32),
    )


def quantiles(milliseconds: np.ndarray) -> dict[str, float]:
    p50, p95, p99 = np.percentile(milliseconds, [50, 95, 99])
    values = {"p50": p50, "p95": p95, "p99": p99, "max": milliseconds.max()}
    return {name: round(float(value), 3) for name, value in values.items()}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--fps", type=float, default=30.0)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--points", type=int, default=50_000)
    parser.add_argument("--subscribers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--warm-up", type=int, default=30, metavar="FRAMES", help="first frames that do not count")
    parser.add_argument("--snapshot", action=argparse.BooleanOptionalAction, default=True, help="keep a map to join")
    return parser.parse_args()


if __name__ == "__main__":
    main()
