"""A bad hour in minutes: `spark3r run rtsp://…` while its camera breaks again and again and subscribers come and go.

    python tools/soak.py          # 100 disconnects, 20 sizes, 1000 damaged packets, 50 visitors
    python tools/soak.py --disconnects 10 --sizes 2 --corrupt 100 --visitors 5

A real GStreamer server streams H.264 over RTSP through a proxy of ours, which damages packets and cuts connections;
every tenth disconnect kills and restarts the server instead, every tenth freezes it until the engine gives it up. The
engine is a process of its own (random weights, small input), records itself, and is watched by one faithful subscriber.
Prints JSON; exit code 1 if there are `failures`. A step that is not over after --patience seconds is a hang.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from spark3r_stream.pubsub.subscriber import Subscriber
from spark3r_stream.recording.reader import Recording
from spark3r_stream.wire.decode import decode
from spark3r_stream.wire.messages import FrameResult, MapCorrections, SessionState, Status
from tests.helpers_rtsp import RtspServer
from tests.helpers_rtsp_proxy import RtspProxy
from tests.system_packages import why_skipped
from tools.process_usage import Usage, usage_of
from tools.soak_visitors import Visitors

SIZES = [(160, 120), (240, 96), (120, 160), (320, 240)]  # every switch but the last changes the shape by over 25 %
FPS = 15
BURST = 10  # packets damaged at a time


class Hang(Exception):
    """Something that should have happened did not; the message says what."""


class Watcher:
    """The faithful subscriber, in a thread: checks that results go on and that every lost frame is accounted for."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.results = 0
        self.valid = 0
        self.last_frame_id = -1
        self.epochs: set[int] = set()
        self.submaps: set[int] = set()
        self.losses: Counter[str] = Counter()
        self.unexplained: list[str] = []
        self.corrections = 0
        self.last_status: Status | None = None
        self.missed: dict[str, int] = {}
        self.done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)
        self._thread.start()

    def wait_for(self, what: str, condition: Any, patience_s: float) -> None:
        deadline = time.monotonic() + patience_s
        while not condition():
            if time.monotonic() > deadline or self.done.is_set():
                raise Hang(f"{what} did not happen within {patience_s:g} s, at frame {self.last_frame_id}")
            time.sleep(0.02)

    def _run(self) -> None:
        with Subscriber(self.endpoint, ["/frame/", "/status/", "/map_correction/"]) as subscriber:
            while not self.done.is_set():
                message = subscriber.poll(1.0)
                self.missed = {topic: count for topic, count in subscriber.missed.items() if count}
                if message is None:
                    continue
                content = decode(message)
                if isinstance(content, FrameResult):
                    self._frame(content)
                elif isinstance(content, MapCorrections):
                    self.corrections += len(content.corrections)
                elif isinstance(content, Status):
                    self.last_status = content
                    if content.state in (SessionState.ENDED, SessionState.FAILED):
                        self.done.set()

    def _frame(self, result: FrameResult) -> None:
        """Ids count every frame the source handed out: a jump must be explained by the losses that come with it."""
        jump = result.frame_id - self.last_frame_id - 1
        superseded = result.drops_since_last.get("superseded", 0)
        if jump != superseded:
            self.unexplained.append(f"frame {result.frame_id}: {jump} ids passed over, {superseded} counted")
        self.last_frame_id = result.frame_id
        self.losses.update(result.drops_since_last)
        self.submaps.add(result.submap)
        self.epochs.add(result.epoch)
        self.results += 1
        self.valid += result.valid


class Soak:
    """The camera, the engine and everyone who connects to it."""

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self.args = args
        self.random = random.Random(args.seed)
        self.server = RtspServer(size=SIZES[0], fps=FPS)
        self.proxy = RtspProxy(self.server.port, args.seed)
        self.size = SIZES[0]
        self.recording = folder / "soak.mcap"
        endpoint = f"tcp://127.0.0.1:{_free_pair()}"
        self.log = (folder / "engine.log").open("w+")
        command = [sys.executable, "-m", "spark3r_stream.cli.main", "run", self.proxy.url(), "--weights", "random"]
        command += ["--size", "96", "--publish", endpoint, "--record", str(self.recording), "--json"]
        command += ["--max-restarts", str(10 * args.disconnects + 100)]
        self.engine = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=self.log)
        # A subscriber that is refused tries again after up to two seconds, and would miss the first results.
        self._wait_published(folder / "engine.log")
        self.watcher = Watcher(endpoint)
        self.visitors = Visitors(endpoint, args.seed)
        self.samples: list[Usage] = []

    def _wait_published(self, log: Path) -> None:
        deadline = time.monotonic() + self.args.patience
        while "publishing on" not in log.read_text():
            if time.monotonic() > deadline or self.engine.poll() is not None:
                raise Hang(f"the engine did not begin to publish: {log.read_text()[-500:]}")
            time.sleep(0.05)

    def run(self) -> None:
        steps = ["disconnect"] * self.args.disconnects + ["size"] * self.args.sizes
        steps += ["corrupt"] * -(-self.args.corrupt // BURST) + ["visitor"] * self.args.visitors
        self.random.shuffle(steps)
        self.watcher.wait_for("the first result", lambda: self.watcher.results > 3, 2 * self.args.patience)
        for number, step in enumerate(steps):
            if number % max(1, len(steps) // 40) == 0:
                self.sample()
                print(f"{number}/{len(steps)} steps, {self.watcher.results} results", file=sys.stderr)
            getattr(self, f"_{step}")()
            self._wait_results(f"results after step {number} ({step})", 2)

    def end(self) -> None:
        """Ctrl-C when all visitors have left: the engine must end by itself, with its files closed."""
        if staying := self.visitors.wait(self.args.patience):
            raise Hang(f"the leaving of {staying} visitors did not happen")
        self.sample()
        self.engine.send_signal(signal.SIGINT)
        try:
            self.engine.wait(self.args.patience)
        except subprocess.TimeoutExpired:
            raise Hang("the end after SIGINT did not happen") from None
        self.watcher.done.wait(5.0)

    def rerun(self, folder: Path) -> dict[str, Any]:
        """Run the recording again: all of it must come out byte by byte, damage, cuts and new sizes included."""
        command = [sys.executable, "-m", "spark3r_stream.cli.main", "run", str(self.recording), "--out", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=3600, check=False)
        if done.returncode:
            return {"different": -1, "not_recorded": 0, "first_difference": done.stderr.strip().splitlines()[-1]}
        return json.loads((folder / "stats.json").read_text())["compared_with_recording"]

    def close(self) -> None:
        if self.engine.poll() is None:
            self.engine.kill()
            self.engine.wait()
        self.watcher.done.set()
        self.proxy.close()
        self.server.kill()
        self.log.close()

    def sample(self) -> None:
        """After a pause, so that what ends has ended."""
        time.sleep(0.5)
        self.samples.append(usage_of(self.engine.pid))

    def _wait_results(self, what: str, count: int) -> None:
        until = self.watcher.results + count
        self.watcher.wait_for(what, lambda: self.watcher.results >= until, self.args.patience)

    def _disconnect(self) -> None:
        before = max(self.watcher.epochs)
        kind = self.random.randrange(10)
        if kind == 0:
            self.server.kill()
            self.server = RtspServer(self.server.port, size=self.size, fps=FPS)
        elif kind == 1:
            self.server.freeze()
            accepted = self.proxy.accepted
            self.watcher.wait_for("a new attempt", lambda: self.proxy.accepted > accepted, self.args.patience)
            self.server.thaw()
        else:
            self.proxy.cut()
        self.watcher.wait_for("a new epoch", lambda: max(self.watcher.epochs) > before, self.args.patience)

    def _size(self) -> None:
        self.size = SIZES[(SIZES.index(self.size) + 1) % len(SIZES)]
        self.server.switch_size(*self.size)

    def _corrupt(self) -> None:
        before = self.proxy.damaged
        self.proxy.damage(BURST)
        self.watcher.wait_for("damage", lambda: self.proxy.damaged >= before + BURST, self.args.patience)

    def _visitor(self) -> None:
        self.visitors.send_one()


def main() -> None:
    args = parse_arguments()
    if (why := why_skipped("rtsp")) is not None:
        raise SystemExit(f"soak: {why}")
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        soak, failures, again = Soak(args, Path(folder)), [], None
        try:
            soak.run()
            soak.end()
            again = soak.rerun(Path(folder) / "again")
            if again["different"] or again["not_recorded"]:
                failures.append(f"the recording run again: {again}")
        except Hang as hang:
            failures.append(f"hang: {hang}")
        soak.log.flush()
        engine_said = [line for line in Path(soak.log.name).read_text().splitlines() if line]
        report_ = report(soak, failures) | {"recording_run_again": again}
        soak.close()
    report_["seconds"] = round(time.monotonic() - began, 1)
    report_["engine_stderr_tail"] = engine_said[-5:]
    print(json.dumps(report_, indent=2))
    sys.exit(1 if report_["failures"] else 0)


def report(soak: Soak, failures: list[str]) -> dict[str, Any]:
    watcher, samples = soak.watcher, soak.samples
    begin, middle, end = samples[len(samples) // 10], samples[len(samples) // 2], samples[-1]
    status = watcher.last_status
    failures = failures + watcher.unexplained[:5] + [f"visitor failed: {name}" for name in soak.visitors.failed]
    code = soak.engine.poll()
    if code != 0:
        failures.append(f"the engine's exit code is {code}; expected 0 after SIGINT on a live source")
    if len(watcher.epochs) < soak.args.disconnects + 1:
        failures.append(f"{len(watcher.epochs)} epochs after {soak.args.disconnects} disconnects")
    if watcher.missed or watcher.valid < watcher.results:
        failures.append(f"the faithful subscriber missed {watcher.missed}, invalid {watcher.results - watcher.valid}")
    if status is None or status.state is not SessionState.ENDED:
        failures.append(f"the last status says {None if status is None else status.state.name}")
    # Against the middle: allocators and the bounded map of late joiners are still filling up at the beginning.
    if end.rss_bytes > 1.15 * middle.rss_bytes + 16e6:
        failures.append(f"memory grew from {middle.rss_bytes} to {end.rss_bytes} bytes")
    for name in ("threads", "children", "files"):
        if getattr(end, name) > getattr(middle, name) + 2:
            failures.append(f"{name} grew from {getattr(middle, name)} to {getattr(end, name)}")
    recorded = None
    if code is not None and soak.recording.exists():
        info = Recording(soak.recording).info()
        recorded = {"frames": info.counts.get("/frame/", 0), "complete": info.complete, "missed": dict(info.missed)}
        if not info.complete or recorded["frames"] != watcher.results:
            failures.append(f"the recording holds {recorded}, {watcher.results} results were received")
    return {
        "done": vars(soak.args) | {"visitors_by_manner": soak.visitors.came, "damaged_packets": soak.proxy.damaged},
        "frames": {"handed_out": watcher.last_frame_id + 1, "results": watcher.results, "valid": watcher.valid},
        "losses_by_cause": dict(watcher.losses),
        "status_at_end": None if status is None else {"state": status.state.name, "drops": dict(status.drops)},
        "epochs": len(watcher.epochs),
        "submaps": len(watcher.submaps),
        "corrections": watcher.corrections,
        "recording": recorded,
        "engine": {"begin": begin.as_dict(), "middle": middle.as_dict(), "end": end.as_dict()},
        "engine_rss_mb_over_time": [round(sample.rss_bytes / 1e6) for sample in samples],
        "failures": failures,
    }


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--disconnects", type=int, default=100)
    parser.add_argument("--sizes", type=int, default=20, help="changes of the picture's size in mid-stream")
    parser.add_argument("--corrupt", type=int, default=1000, help="damaged RTP packets")
    parser.add_argument("--visitors", type=int, default=50, help="subscribers that come and go")
    parser.add_argument("--patience", type=float, default=90.0, help="seconds after which a step hangs")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def _free_pair() -> int:
    """A port that is free together with the next one, where late joiners ask."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as one:
            port = one.getsockname()[1]
            try:
                socket.create_server(("127.0.0.1", port + 1)).close()
            except (OSError, OverflowError):
                continue
            return port


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
