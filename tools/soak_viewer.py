"""Half an hour of stream into `spark3r view` and a page of a real browser, in minutes: does either grow?

    python tools/soak_viewer.py                     # 30 minutes at 30 FPS, as fast as they are shown
    python tools/soak_viewer.py --minutes 3

A real publisher sends what a camera in motion makes: every frame, a keyframe each second, each keyframe once more with
better depth, and now and then a correction of all of them. The viewer is a process of its own, as a user starts it; the
page is in headless Chromium, which draws without a graphics card. Prints JSON; exit code 1 if there are `failures`:
what is in use at the end is held against two thirds of the way, when every bound has been reached. What a busy machine
lost on the way is sent again, as what is not shown takes no memory.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import subprocess
import sys
import time
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from spark3r_core.geometry.sim3 import Sim3
from spark3r_stream.pubsub.publisher import Publisher
from spark3r_stream.pubsub.snapshot import SnapshotKeeper
from spark3r_stream.wire.encode import encode_frame, encode_keyframe, encode_map_corrections
from spark3r_stream.wire.envelope import Sealer, Unsealed
from spark3r_stream.wire.messages import KeyframeOutput, MapCorrection
from tests.helpers_browser import Browser, leaves_the_machine
from tests.stream.viewer.scenes import keyframe, place, tracked
from tests.system_packages import why_skipped
from tools.process_usage import usage_of

FPS = 30
SAMPLES = 9
PAGE_WH = (640, 400)  # small: it is drawn by the processor
LOOP_EVERY = 60  # keyframes, after which all that there are so far move
REFINED_AFTER = 2  # keyframes
BATCH = 5  # keyframes that are sent before the page is waited for: more might be lost on the way, as it is slow
PATIENCE_S = 20.0  # for a batch to be shown; beyond, it is sent again
MOST_AGAIN = 200
GROWTH, SLACK_BYTES = 1.1, 32e6  # from two thirds to the end; what a collection leaves varies by some MB
SIZE = (120, 160)  # of a keyframe's depth: 19,200 points


def main() -> None:
    args = parse_arguments()
    if (why := why_skipped("browser")) is not None:
        raise SystemExit(f"soak_viewer: {why}")
    began = time.monotonic()
    session = uuid.uuid4()
    with contextlib.ExitStack() as opened:
        publisher = opened.enter_context(Publisher("tcp://127.0.0.1:*", session, snapshot=SnapshotKeeper()))
        viewer, url = opened.enter_context(viewing(publisher.endpoint))
        browser = opened.enter_context(Browser(PAGE_WH))
        browser.open(url)
        samples, said = run(args, publisher, Sealer(session, time.time_ns), viewer, browser)
    report = {
        "done": vars(args) | {"frames": keyframes_of(args) * FPS, "keyframes": keyframes_of(args)},
        "samples": samples,
        "page_says": said,
        "failures": grown(samples) + [f"the page asked for {one}" for one in said["asked_elsewhere"]],
        "seconds": round(time.monotonic() - began, 1),
    }
    print(json.dumps(report, indent=2))
    sys.exit(1 if report["failures"] else 0)


def keyframes_of(args: argparse.Namespace) -> int:
    return max(SAMPLES, round(60 * args.minutes))


def run(
    args: argparse.Namespace, publisher: Publisher, sealer: Sealer, viewer: subprocess.Popen[str], browser: Browser
) -> tuple[list[dict[str, int]], dict[str, Any]]:
    """Send it all, and look now and then at what is in use; and what the page says in the end."""
    count, samples, revision = keyframes_of(args), [], 1
    waiting: list[int] = []
    again = 0
    due = {round((index + 1) * count / SAMPLES) - 1 for index in range(SAMPLES)}
    for number in range(count):
        unsealed = second_of_stream(number)
        if number % LOOP_EVERY == LOOP_EVERY - 1:
            revision += 1
            unsealed += encode_map_corrections(corrected(number, revision), 0)
        publisher.send(sealer.seal(unsealed))
        waiting.append(number)
        if number % BATCH == BATCH - 1 or number in due:
            while not shown(browser, number):
                again += 1
                if again > MOST_AGAIN:
                    raise SystemExit(f"the page does not show keyframe {number}: {browser.text()}")
                publisher.send(sealer.seal([one for late in waiting for one in second_of_stream(late)]))
            waiting.clear()
        if number in due:
            samples.append(sample(number + 1, viewer, browser))
            print(json.dumps(samples[-1]), file=sys.stderr, flush=True)
    lines = [line.replace("\t", " ") for line in browser.text().splitlines()]
    return samples, {
        "map": [line for line in lines if line.startswith("map ")],
        "batches_sent_again": again,
        "asked_elsewhere": [one for one in browser.requests if leaves_the_machine(one)],
    }


def shown(browser: Browser, number: int) -> bool:
    """Whether the page comes to say that it has the last frame of a keyframe."""
    deadline = time.monotonic() + PATIENCE_S
    while f"frame\t{number * FPS + FPS - 1:,} " not in browser.text():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def second_of_stream(number: int) -> list[Unsealed]:
    """A keyframe, the frames that are tracked on it, and an older keyframe with better depth."""
    unsealed = encode_map_corrections([MapCorrection(number, 1, lies(number))], 0) + encode_keyframe(mapped(number))
    for index in range(FPS):
        unsealed += encode_frame(tracked(number * FPS + index, number, keyframe_id=number * FPS))
    if number >= REFINED_AFTER:
        unsealed += encode_keyframe(mapped(number - REFINED_AFTER))
    return unsealed


def mapped(number: int) -> KeyframeOutput:
    """A wall in colours of its own; the same each time."""
    rng = np.random.default_rng(number)
    one = keyframe(number, (0, 0, 0), SIZE)
    colours = rng.integers(0, 256, one.colours.shape, np.uint8)
    return replace(one, frame_id=number * FPS, captured_ns=number * FPS, colours=colours, map_from_submap=lies(number))


def lies(number: int) -> Sim3:
    """A walk in rounds."""
    at = place(number).translation[0]
    return Sim3(1.0, np.eye(3), np.array([10 * np.sin(at / 10), 0.0, 10 * np.cos(at / 10)]))


def corrected(newest: int, revision: int) -> list[MapCorrection]:
    """All keyframes so far, moved by a little."""
    shift = np.array([0.0, 0.01 * (revision % 5), 0.0])
    return [
        MapCorrection(number, revision, Sim3(1.0, np.eye(3), lies(number).translation + shift))
        for number in range(newest + 1)
    ]


def sample(keyframes: int, viewer: subprocess.Popen[str], browser: Browser) -> dict[str, int]:
    """What is in use now, garbage of the page not counted."""
    browser.call("HeapProfiler.collectGarbage")
    heap = int(browser.evaluate("performance.memory.usedJSHeapSize"))
    renderers = [child for child in psutil.Process(browser.pid).children(True) if "--type=renderer" in child.cmdline()]
    return {
        "keyframes": keyframes,
        "viewer_rss_bytes": usage_of(viewer.pid).rss_bytes,
        "page_heap_bytes": heap,
        "page_process_rss_bytes": max(child.memory_info().rss for child in renderers),
    }


def grown(samples: list[dict[str, int]]) -> list[str]:
    """What is larger at the end than after two thirds."""
    middle, end = samples[2 * len(samples) // 3], samples[-1]
    names = [name for name in middle if name.endswith("_bytes")]
    return [
        f"{name} grew from {middle[name]} to {end[name]}"
        for name in names
        if end[name] > GROWTH * middle[name] + SLACK_BYTES
    ]


@contextlib.contextmanager
def viewing(endpoint: str) -> Any:
    """`spark3r view`, and the address that it prints."""
    command = [sys.executable, "-m", "spark3r_stream.cli.main", "view", endpoint, "--port", "0", "--no-browser"]
    viewer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert viewer.stderr is not None
        found = re.search(r"http://\S+", line := viewer.stderr.readline())
        assert found, line
        yield viewer, found[0]
    finally:
        viewer.kill()
        viewer.wait()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0, help="of the stream")
    return parser.parse_args()


if __name__ == "__main__":
    main()
