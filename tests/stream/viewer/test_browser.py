"""The page in a real browser, served by `spark3r view` as a user starts it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spark3r_core.geometry.sim3 import Sim3
from spark3r_stream.outputs.result_writer import ResultWriter
from spark3r_stream.pubsub.publisher import Publisher
from spark3r_stream.pubsub.snapshot import SnapshotKeeper
from spark3r_stream.wire.encode import encode_map_corrections, encode_status
from spark3r_stream.wire.envelope import Sealer
from spark3r_stream.wire.messages import MapCorrection, SessionState, Status
from tests.helpers_browser import Browser, leaves_the_machine
from tests.stream.viewer.scenes import BLUE, FINE, RED, keyframe, keyframe_messages, place

pytestmark = [pytest.mark.browser, pytest.mark.timeout(400)]

ROOT = Path(__file__).parents[3]
WAIT_S = 100.0  # drawing without a graphics card is slow, on two busy cores
EVIL = "<img src='http://elsewhere.example/x.png'>"


@contextlib.contextmanager
def view(source: str, *options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """`spark3r view`, and the address that it prints."""
    command = [sys.executable, "-m", "spark3r_stream.cli.main", "view", source, *options]
    viewer = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert viewer.stderr is not None
        line = viewer.stderr.readline()
        found = re.search(r"http://\S+", line)
        assert found, line + viewer.stderr.read()
        yield found[0], viewer
    finally:
        viewer.kill()
        viewer.communicate()


def share(picture: np.ndarray, colour: tuple[int, int, int]) -> float:
    """Of the pixels that have about that colour."""
    return float((np.abs(picture.astype(int) - colour).max(-1) < 40).mean())


def middle(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    rows, columns = np.nonzero(np.abs(picture.astype(int) - colour).max(-1) < 40)
    return np.array([columns.mean(), rows.mean()])


def test_the_map_is_seen_moves_and_asks_nobody_else(tmp_path: Path) -> None:
    session = uuid.uuid4()
    sealer = Sealer(session, time.time_ns)
    with Publisher("tcp://127.0.0.1:*", session, snapshot=SnapshotKeeper()) as publisher:
        # Before the viewer comes: it has to ask for the map so far.
        publisher.send(sealer.seal([*keyframe_messages(0, RED, size=FINE), *keyframe_messages(4, BLUE, size=FINE)]))
        with view(publisher.endpoint, "--port", "0") as (url, viewer), Browser() as browser:
            browser.open(url)
            assert browser.wait(lambda: share(browser.screenshot(), BLUE) > 0.01, WAIT_S), browser.text()
            first = browser.screenshot(tmp_path / "first.png")
            assert share(first, RED) > 0.01
            status = Status(SessionState.RECONNECTING, last_error=EVIL, frames_per_second=29.5)
            publisher.send(sealer.seal(keyframe_messages(5, BLUE, size=FINE)))

            def says_so() -> bool:
                publisher.send(sealer.seal([encode_status(status, 1)]))
                return all(
                    part in browser.text() for part in ("29.5 FPS", "RECONNECTING", EVIL, "TRACKING", "frame 50")
                )

            assert browser.wait(says_so, WAIT_S), browser.text()
            up = Sim3(1.0, np.eye(3), place(0).translation - [0, 0.4, 0])
            publisher.send(sealer.seal(encode_map_corrections([MapCorrection(0, 2, up)], 0)))
            moved = browser.wait(lambda: middle(browser.screenshot(), RED)[1] < middle(first, RED)[1] - 10, WAIT_S)
            last = browser.screenshot(tmp_path / "last.png")
            assert moved, "a correction moves the wall up"
            assert abs(middle(last, BLUE)[1] - middle(first, BLUE)[1]) < 20, "and leaves the other one"

            assert any(request.startswith("ws://127.0.0.1:") for request in browser.requests)
            assert [request for request in browser.requests if leaves_the_machine(request)] == []
            assert publisher.wait_sent(WAIT_S)
            viewer.send_signal(signal.SIGINT)
            assert viewer.wait(WAIT_S) == 0
            assert viewer.stdout is not None
            assert viewer.stdout.read() == ""


@pytest.mark.slow
def test_boxes_and_buttons_of_the_page_reach_the_viewer() -> None:
    session = uuid.uuid4()
    sealer = Sealer(session, time.time_ns)
    with Publisher("tcp://127.0.0.1:*", session, snapshot=SnapshotKeeper()) as publisher:
        publisher.send(sealer.seal([*keyframe_messages(0, RED, size=FINE), *keyframe_messages(4, BLUE, size=FINE)]))
        # As from another machine: the token of the printed address becomes a cookie, which the WebSocket needs, too.
        with view(publisher.endpoint, "--port", "0", "--host", "0.0.0.0") as (url, _), Browser() as browser:
            browser.open(url)
            assert "token" in url
            assert "token" not in browser.evaluate("location.href")
            assert browser.wait(lambda: share(browser.screenshot(), RED) > 0.01, WAIT_S), browser.text()
            overview = share(browser.screenshot(), RED)
            browser.click("Follow camera")
            assert browser.wait(lambda: abs(share(browser.screenshot(), RED) - overview) > 0.3 * overview, WAIT_S)
            browser.click("Follow camera")
            browser.click("Reset view")
            assert browser.wait(lambda: abs(share(browser.screenshot(), RED) - overview) < 0.1 * overview, WAIT_S)
            browser.click("Pause")
            assert browser.wait(lambda: "PAUSED" in browser.text(), WAIT_S)
            browser.click("Pause")
            assert browser.wait(lambda: "PAUSED" not in browser.text(), WAIT_S)


@pytest.mark.slow
@pytest.mark.mesh
def test_the_mesh_of_a_folder_of_results_is_seen_the_right_way_up(tmp_path: Path) -> None:
    writer = ResultWriter(tmp_path, mesh=True)
    for submap, colour, height in ((0, RED, 1.5), (1, BLUE, -1.5)):  # red above blue
        one = replace(keyframe(submap, colour, FINE), map_from_submap=place(0, height))
        one = replace(one, image=np.full((*FINE, 3), colour, np.uint8))
        writer.add_keyframe(one)
        writer.refine_keyframe(one)
    writer.close({})
    with view(str(tmp_path), "--port", "0") as (url, _), Browser() as browser:
        browser.open(url)
        assert browser.wait(lambda: bluish(browser.screenshot()).any() and reddish(browser.screenshot()).any(), WAIT_S)
        picture = browser.screenshot(tmp_path / "seen.png")
        assert np.nonzero(reddish(picture))[0].mean() < np.nonzero(bluish(picture))[0].mean() - 50


def reddish(picture: np.ndarray) -> np.ndarray:
    """Where a red wall is, however it is lit; left of the panel."""
    scene = picture[:, :850].astype(int)
    return (scene[..., 0] > 100) & (scene[..., 0] > 3 * scene[..., 2]) & (scene[..., 0] > 3 * scene[..., 1])


def bluish(picture: np.ndarray) -> np.ndarray:
    scene = picture[:, :850].astype(int)
    return (scene[..., 2] > 100) & (scene[..., 2] > 2 * scene[..., 0]) & (scene[..., 2] > 2 * scene[..., 1])


HALF = 700  # keyframes: those of ten minutes and more


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_long_stream_fills_neither_the_viewer_nor_the_page() -> None:
    """After the budget of points is long used up and about as many keyframes came as the page has nodes, twice that."""
    session = uuid.uuid4()
    sealer = Sealer(session, time.time_ns)
    with contextlib.ExitStack() as opened:
        publisher = opened.enter_context(Publisher("tcp://127.0.0.1:*", session))
        url, viewer = opened.enter_context(view(publisher.endpoint, "--port", "0"))
        browser = opened.enter_context(Browser())
        browser.open(url)
        sizes = []
        for submap in range(2 * HALF):
            publisher.send(sealer.seal(keyframe_messages(submap, BLUE, frames=30, size=(60, 80))))
            time.sleep(0.1)
            if submap % HALF == HALF - 1:
                browser.call("HeapProfiler.collectGarbage")
                sizes.append((resident_bytes(viewer.pid), browser.evaluate("performance.memory.usedJSHeapSize")))
        assert browser.wait(lambda: f"frame\t{20 * HALF - 10 + 29:,} in" in browser.text(), WAIT_S), browser.text()
        print("bytes of viewer and page, halfway and at the end:", sizes)
        assert sizes[1][0] < 1.25 * sizes[0][0]
        assert sizes[1][1] < sizes[0][1] + 20_000_000  # what a collection leaves varies by ten


def resident_bytes(process_id: int) -> int:
    pages = int(Path(f"/proc/{process_id}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
