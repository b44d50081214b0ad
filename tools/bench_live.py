"""`spark3r run` on a source that does not wait, watched by a subscriber in another process: losses, latency, errors.

    python tools/bench_live.py DATA/7scenes_redkitchen_a --source file rtsp http --repeats 3
    python tools/bench_live.py synthetic:room?frames=300 --source http -- --model da3-small --weights random --size 252

The clip is sent at its own frame rate: as a file played in real time (--pace realtime), by a GStreamer RTSP server
(H.264) and by an HTTP camera (MJPEG). What stands behind -- is passed on to `spark3r run`. Prints JSON. Two latencies:
`captured_to_subscriber` from the engine's stamp after decoding (for a file, when the frame was due), and
`sent_to_subscriber` from the server's own stamp before it hands a picture to the network (rtsp, http).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from spark3r_core.errors import Spark3rError
from spark3r_stream.map.trajectory import match_times, read_trajectory
from tests.system_packages import why_skipped
from tools.bench_reduction import describe_machine
from tools.evaluation.tracked_run import path_numbers
from tools.live import numbers
from tools.live.clip import Clip, jpegs, open_clip, write_access_units, write_video
from tools.live.http_camera import HttpCamera
from tools.live.rtsp_camera import RtspCamera

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("file", "rtsp", "http")
EXCLUDED = [
    "loading of weights and imports",
    "encoding of the clip, before the run",
    "file: the time between a frame's due time and its decoding",
    "captured_to_subscriber of rtsp and http: network and decoding (see sent_to_subscriber)",
]
DRAIN_S = 3.0  # what is under way when the last picture was sent


class BenchError(Spark3rError):
    """A part of the benchmark did not start or ended badly."""


def main(arguments: list[str] | None = None) -> int:
    args, passed_on = parse(arguments)
    clip = open_clip(args.clip, args.max_frames, args.fps)
    machine = describe_machine(torch.device("cpu"))
    rows: dict[str, list[dict[str, Any]]] = {}
    facts: dict[str, Any] = {}
    jobs = [(kind, repeat) for kind in args.source for repeat in range(args.repeats)]
    with tempfile.TemporaryDirectory() as folder:
        media = prepared(clip, args.source, Path(folder))
        for number, (kind, _) in enumerate(track(jobs, "runs", console=Console(stderr=True))):
            row, facts = run_once(clip, kind, media, Path(folder) / f"run{number}", passed_on, args)
            rows.setdefault(kind, []).append(row)
            print(f"{kind}: {json.dumps(row)}", file=sys.stderr, flush=True)
    report = {
        "what": "spark3r run, live, to a ZeroMQ subscriber in another process on the same machine",
        "excluded": EXCLUDED,
        "machine": machine,
        "settings": {
            "clip": args.clip, "frames": clip.frames, "fps": round(clip.fps, 3), "repeats": args.repeats,
            "passed_on": passed_on, **facts,
        },
        "sources": {kind: {"spread": spread(repeats), "repeats": repeats} for kind, repeats in rows.items()},
    }  # fmt: skip
    print(json.dumps(report, indent=2))
    return 0


def prepared(clip: Clip, kinds: list[str], folder: Path) -> dict[str, Any]:
    """The clip in the form each kind of source sends; made once."""
    media: dict[str, Any] = {}
    path = Path(clip.what)
    if "file" in kinds:
        whole = (
            clip.frames == len(clip.sequence.time_ns)
            and abs(clip.fps * np.diff(clip.sequence.time_ns[:2])[0] - 1e9) < 1e7
        )
        stored = [one for one in (path / "video.mp4", path / "frames") if one.exists()]
        media["file"] = stored[0] if stored and whole else write_video(clip, folder / "clip.mp4")
    if "rtsp" in kinds:
        media["rtsp"] = write_access_units(clip, folder / "clip.units")
    if "http" in kinds:
        media["http"] = jpegs(clip)
    return media


def run_once(
    clip: Clip, kind: str, media: dict[str, Any], folder: Path, passed_on: list[str], args: argparse.Namespace
) -> tuple[dict[str, Any], dict[str, Any]]:
    """One run of the engine on one source: its numbers, and what it says of its settings."""
    folder.mkdir()
    with contextlib.ExitStack() as closing:
        camera: HttpCamera | RtspCamera | None = None
        if kind == "file":
            source = [str(media["file"]), "--pace", "realtime"]
        else:
            camera = RtspCamera(media["rtsp"], clip.fps) if kind == "rtsp" else HttpCamera(media["http"], clip.fps)
            closing.callback(camera.close)
            source = [camera.url] if kind == "rtsp" else [camera.url, "--live"]
        log = closing.enter_context((folder / "engine.log").open("w"))
        command = [sys.executable, "-m", "spark3r_stream.cli.main", "run", *source, "--out", str(folder / "result")]
        command += ["--publish", "tcp://127.0.0.1:*", *passed_on]
        engine = closing.enter_context(ended(subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)))
        endpoint = endpoint_of(engine, folder / "engine.log", args.patience)
        watch = [sys.executable, "-m", "tools.live.watcher", endpoint, str(folder / "watched.json")]
        watcher = closing.enter_context(ended(subprocess.Popen(watch, cwd=ROOT, stdout=subprocess.DEVNULL)))
        if camera is not None:
            allowed_s = args.patience + 2 * clip.frames / clip.fps
            wait(camera.finished, engine, allowed_s, "the sending of the last picture")
            time.sleep(DRAIN_S)
            engine.send_signal(signal.SIGINT)
        try:
            code = engine.wait(args.patience + 4 * clip.frames / clip.fps)
            watcher.wait(args.patience)
        except subprocess.TimeoutExpired as error:
            raise BenchError(f"{kind}: {error.cmd[2]} did not end in time; see {last_lines(folder)}") from None
        if code != 0:
            raise BenchError(f"{kind}: spark3r run ended with exit code {code}: {last_lines(folder)}")
        sent_ns = None if camera is None else list(camera.sent_ns)
    watched = json.loads((folder / "watched.json").read_text())
    stats = json.loads((folder / "result" / "stats.json").read_text())
    final = read_trajectory(folder / "result" / "trajectory.txt")
    row = summary(clip, watched, sent_ns, stats, (final.time_ns, final.world_from_camera))
    facts = {"dtype": stats["model"]["attention_dtype"], "network_hw": stats["model"]["input_hw"]}
    return row, facts | {"model": stats["model"]["name"], "picture": stats["source"]["size"]}


def summary(
    clip: Clip, watched: dict[str, Any], sent_ns: list[int] | None, stats: dict[str, Any], final: tuple[Any, Any]
) -> dict[str, Any]:
    """Numbers of one run. sent_ns: the server's stamps; None for a file, whose frame ids are its pictures."""
    records = watched["records"]
    captured = [one["captured_ns"] for one in records]
    received = [one["received_ns"] for one in records]
    row: dict[str, Any] = {}
    if sent_ns is None:
        index, by = np.array([one["frame_id"] for one in records], np.int64), "frame id"
        times = [one["pts_ns"] for one in records]  # trajectory.txt of a file has the file's own times
    else:
        index, by = numbers.pictures_of(captured, [one["pts_ns"] for one in records], sent_ns)
        times = captured
    row["pictures"] = numbers.shares(index, clip.frames if sent_ns is None else len(sent_ns))
    row["pictures_matched_by"] = by
    row["latency_ms"] = {"captured_to_subscriber": numbers.latency_ms(captured, received)}
    row["latency_ms"]["captured_to_published"] = numbers.latency_ms(captured, [one["published_ns"] for one in records])
    if sent_ns is not None:
        known = np.flatnonzero(index >= 0)
        begin = [sent_ns[index[i]] for i in known]
        row["latency_ms"]["sent_to_subscriber"] = numbers.latency_ms(begin, [received[i] for i in known])
    row["states"] = dict(Counter(one["state"] for one in records))
    row["keyframes"] = stats["keyframes"]
    row["drops_by_cause"] = stats["frames"]["dropped"]
    row["messages_missed_by_topic"] = watched["missed"]
    row["memory_bytes"] = stats["memory_bytes"]
    row["window_model_ms"] = stats["window_model_ms"]
    focals = [one["focal"] for one in records if one["focal"] is not None]
    if focals and clip.sequence.intrinsics is not None:
        row["focal_error_last_published"] = round(focals[-1] / clip.sequence.intrinsics.fx - 1, 5)
    frames, truth = clip.sequence.truth_of_frames()
    seen = frames < clip.frames
    shape = (4, 4)
    published = {
        int(i): np.array(one["pose"]).reshape(shape)
        for i, one in zip(index, records, strict=True)
        if i >= 0 and one["pose"] is not None
    }
    row["as_published"] = path_numbers(published, frames[seen], truth[seen], 8)
    mine, theirs = match_times(final[0], times, 1_000_000) if None not in times else ([], [])
    placed = {int(index[j]): final[1][i] for i, j in zip(mine, theirs, strict=True) if index[j] >= 0}
    row["final"] = path_numbers(placed, frames[seen], truth[seen], 8)
    return row


def spread(repeats: list[dict[str, Any]]) -> dict[str, Any]:
    """Median, least and most over repeats of what is promised."""
    wanted = {
        "share": ("pictures", "share"),
        "share_from_first": ("pictures", "share_from_first"),
        "keyframes": ("keyframes",),
        "ate_of_spread_as_published": ("as_published", "ate_of_spread"),
        "ate_of_spread_final": ("final", "ate_of_spread"),
    }
    for what in ("captured_to_subscriber", "sent_to_subscriber"):
        wanted |= {f"{what}_{part}_ms": ("latency_ms", what, part) for part in ("p50", "p95", "max")}
    result = {}
    for name, path in wanted.items():
        values = []
        for row in repeats:
            value: Any = row
            for part in path:
                value = None if value is None else value.get(part)
            if value is not None:
                values.append(value)
        if values:
            result[name] = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return result


@contextlib.contextmanager
def ended(process: subprocess.Popen) -> Iterator[subprocess.Popen]:
    """The process, killed when the block is left before it has ended."""
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def endpoint_of(engine: subprocess.Popen, log: Path, patience_s: float) -> str:
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline and engine.poll() is None:
        for line in log.read_text().splitlines():
            if line.startswith("publishing on "):
                return line.removeprefix("publishing on ").strip()
        time.sleep(0.02)
    raise BenchError(f"spark3r run did not begin to publish: {last_lines(log.parent)}")


def wait(event: threading.Event, engine: subprocess.Popen, timeout_s: float, what: str) -> None:
    deadline = time.monotonic() + timeout_s
    while not event.wait(0.1):
        if engine.poll() is not None or time.monotonic() > deadline:
            raise BenchError(f"{what} did not happen; exit code of the engine: {engine.poll()}")


def last_lines(folder: Path) -> str:
    return " | ".join((folder / "engine.log").read_text().strip().splitlines()[-3:])


def parse(arguments: list[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """The tool's own arguments, and what stands behind -- for `spark3r run`."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    cut = given.index("--") if "--" in given else len(given)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", help="folder with ground truth as in shared/data, or a synthetic URI")
    parser.add_argument("--source", nargs="+", choices=SOURCES, default=list(SOURCES))
    parser.add_argument("--max-frames", type=int, help="send only the first ones")
    parser.add_argument("--fps", type=float, help="send at this rate; default: the clip's own")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--patience", type=float, default=120.0, help="seconds for the engine to start or end")
    args = parser.parse_args(given[:cut])
    if args.max_frames is not None and args.max_frames < 10:
        parser.error(f"--max-frames {args.max_frames}: expected at least 10")
    if "rtsp" in args.source and (why := why_skipped("rtsp")) is not None:
        parser.error(f"--source rtsp: {why}")
    return args, given[cut + 1 :]


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except Spark3rError as error:
        raise SystemExit(f"bench_live: {error}") from None
