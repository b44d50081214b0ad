"""`spark3r fleet` as a user runs it: from a file to its end, asked and told things on the way."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from spark3r_stream.cli.view import TOPICS as VIEWER_TOPICS
from spark3r_stream.clock import SystemClock
from spark3r_stream.map_file.reading import read_map
from spark3r_stream.pubsub.subscriber import Subscriber
from spark3r_stream.recording.reader import Recording
from spark3r_stream.recording.writer import Recorder
from spark3r_stream.viewer.web_page import WebPage
from spark3r_stream.viewer.web_viewer import WebViewer
from spark3r_stream.wire.decode import decode
from spark3r_stream.wire.envelope import FRAME, STATUS
from spark3r_stream.wire.messages import SessionState
from tests.helpers_browser import Browser
from tests.stream.fleet.following import Following
from tests.stream.metrics.test_metrics import scraped, value
from tests.stream.viewer.test_browser import view

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]

SOURCE = "synthetic:room?seed=3&size=128x96"
PROGRAM = [sys.executable, "-m", "spark3r_stream", "fleet"]
WAIT_S = 240.0  # on a busy machine; in peace each is over within half a minute


class Site:
    """A fleet in a process of its own; what a test leaves running is killed."""

    running: ClassVar[list[subprocess.Popen[str]]] = []

    def __init__(self, folder: Path, cameras: dict[str, Any], **more: Any) -> None:
        self.file = folder / "site.yaml"
        run = folder / "run"
        run.mkdir(mode=0o700, exist_ok=True)
        self.endpoint = f"ipc://{folder}/stream"
        content = {"publish": self.endpoint, "settings": {"weights": "random", "size": 96}, "cameras": cameras, **more}
        self.file.write_text(json.dumps(content))  # which is YAML
        self._environment = {**os.environ, "XDG_RUNTIME_DIR": str(run), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [*PROGRAM, str(self.file)], env=self._environment, stderr=subprocess.PIPE, text=True
        )
        self.running.append(self.process)

    def ask(self, *arguments: str) -> Any:
        """What the command prints as JSON; None where it fails."""
        done = subprocess.run(
            [*PROGRAM, *arguments, "--json"], env=self._environment, capture_output=True, text=True, check=False
        )
        return json.loads(done.stdout) if done.returncode == 0 else None

    def until(self, is_so: Any) -> Any:
        begun_s = time.monotonic()
        while not (found := is_so()):
            assert self.process.poll() is None, self.process.stderr.read() if self.process.stderr else ""
            assert time.monotonic() - begun_s < WAIT_S
            time.sleep(0.3)
        return found

    def end(self) -> str:
        """What it said, once it has ended."""
        _, said = self.process.communicate(timeout=WAIT_S)
        return said


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    yield
    while Site.running:
        process = Site.running.pop()
        process.kill()
        process.wait()


def test_files_to_their_end_give_maps_that_are_gone_on_in(tmp_path: Path) -> None:
    source = "synthetic:room?seed=3&size=192x144"
    cameras = {"left": f"{source}&frames=14", "right": {"source": f"{source}&frames=9&camera=1", "max-frames": 8}}
    more = {"maps": str(tmp_path / "maps"), "settings": {"size": 128}}  # by a network that knows what it sees
    site = Site(tmp_path, cameras, **more)
    following = Following(site.endpoint)
    said = site.end()
    assert site.process.returncode == 0, said
    following.join()
    assert following.last is not None, "the session said that it is over"
    assert (following.last.state, following.last.frames_in) == (SessionState.ENDED, 22)
    following.check_numbers()
    assert {name: len(frames) for name, frames in following.frames.items()} == {"left": 14, "right": 8}
    assert "left: 14 frames" in said
    keyframes = {name: set(read_map(tmp_path / "maps" / f"{name}.s3rmap").world.keyframes) for name in cameras}
    again = Site(tmp_path, {"left": f"{source}&frames=4"}, **more)
    following = Following(again.endpoint)
    said = again.end()
    assert again.process.returncode == 0, said
    following.join()
    assert f"left: goes on in a map with {len(keyframes['left'])} keyframes" in said
    assert following.frames["left"][0].frame_id > max(keyframes["left"])


def test_a_file_that_gives_nothing_ends_with_an_error_and_the_others_go_on(tmp_path: Path) -> None:
    torn = tmp_path / "torn.mp4"
    torn.write_bytes(b"no video at all" * 100)
    site = Site(tmp_path, {"left": str(torn), "right": f"{SOURCE}&frames=5"})
    said = site.end()
    assert site.process.returncode == 1, said
    assert "left: " in said
    assert "ended by an error: left" in said
    assert "begun again" not in said
    assert "right: 5 frames" in said


def test_it_is_asked_and_told_while_it_runs(tmp_path: Path) -> None:
    live = f"{SOURCE}&frames=100000&fps=5&live=1"
    site = Site(tmp_path, {"left": live})
    site.until(lambda: (status := site.ask("status")) and status["cameras"]["left"].get("frames", 0) > 3)
    assert site.ask("add", "left=webcam:0") is None, "there is one already"
    assert site.ask("add", f"right={live}&camera=1") == "right is added"
    with Subscriber(site.endpoint, [FRAME], camera="right", timeout_s=WAIT_S) as subscriber:
        message = subscriber.poll(WAIT_S)
        assert message is not None
        assert decode(message).frame_id == message.envelope.frame_id >= 0  # type: ignore[union-attr]
    status = site.ask("status")
    left, right = status["cameras"]["left"], status["cameras"]["right"]
    assert left["mapper"] == right["mapper"] == "mapper 1"
    assert left["pid"] != right["pid"]
    for key in ("frames_per_second", "latency_p95_ms", "drops", "memory_bytes", "node", "keyframes_late", "restarts"):
        assert key in left
    assert site.ask("remove", "left") == "left is removed"
    site.until(lambda: list(site.ask("status")["cameras"]) == ["right"])
    site.process.send_signal(signal.SIGINT)
    said = site.end()
    assert site.process.returncode == 0, said
    assert "right: " in said
    assert "Traceback" not in said


def test_numbers_of_all_parts_are_on_one_page(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    live = f"{SOURCE}&frames=100000&fps=5&live=1"
    site = Site(tmp_path, {"left": live, "right": f"{live}&camera=1"}, metrics=port)
    url = f"http://127.0.0.1:{port}/metrics"
    site.until(lambda: (status := site.ask("status")) and all(
        one.get("frames", 0) > 5 and one.get("keyframes_asked", 0) > 0 for one in status["cameras"].values()
    ))  # fmt: skip
    before, status, after = scraped(url), site.ask("status"), scraped(url)
    for name, one in status["cameras"].items():
        for metric, labels, shown in (
            ("spark3r_frames_total", {"outcome": "valid"}, one["frames"]),
            ("spark3r_mapper_asked_total", {"mapper": "mapper 1"}, one["keyframes_asked"]),
            ("spark3r_mapper_late_total", {"mapper": "mapper 1"}, one["keyframes_late"]),
            ("spark3r_keyframes_lost_total", {}, one["keyframes_lost"]),
            ("spark3r_site_keyframes", {}, one["keyframes_in_map"]),
        ):
            early, late = (value(samples, metric, camera=name, **labels) for samples in (before, after))
            assert early <= shown <= late, metric
        assert value(after, "spark3r_latency_seconds_count", camera=name) >= one["frames"]
        assert value(after, "spark3r_state", camera=name, state="running") == 1
        assert value(after, "spark3r_part_restarts_total", kind="camera", part=name) == 0
    assert value(after, "spark3r_mapper_mapped_total", mapper="mapper 1") >= 2
    assert value(after, "spark3r_mapper_busy_seconds_total", mapper="mapper 1") > 0
    assert value(after, "spark3r_site_looked_total") >= status["map"]["looked"]
    assert value(after, "spark3r_part_resident_memory_bytes", kind="outlet", part="outlet") > 0
    os.kill(status["cameras"]["left"]["pid"], signal.SIGKILL)
    site.until(lambda: value(scraped(url), "spark3r_part_restarts_total", kind="camera", part="left") == 1)
    assert value(scraped(url), "spark3r_part_restarts_total", kind="camera", part="right") == 0


def test_a_subscriber_a_recorder_and_the_viewer_work_on_it_as_on_a_run(tmp_path: Path) -> None:
    pytest.importorskip("viser")
    live = f"{SOURCE}&frames=100000&fps=5&live=1"
    site = Site(tmp_path, {"left": live, "right": f"{live}&camera=1"})
    site.until(lambda: (status := site.ask("status")) and all(
        one.get("keyframes_in_map", 0) > 0 for one in status["cameras"].values()
    ))  # fmt: skip
    file, taken = tmp_path / "left.mcap", []
    with (
        Subscriber(site.endpoint, camera="left", timeout_s=WAIT_S) as subscriber,
        Recorder(file, {}, SystemClock()) as recorder,
    ):
        for message in subscriber:
            recorder.send([message])
            taken.append(message)
            if sum(one.topic == FRAME for one in taken) >= 8 and any(one.topic == STATUS for one in taken):
                break
    read = list(Recording(file).messages())
    assert [(one.topic, one.envelope, one.payload) for one in read] == [
        (one.topic, one.envelope, one.payload) for one in taken
    ]
    assert {one.envelope.camera for one in read} == {"left"}
    assert not subscriber.missed or not any(subscriber.missed.values())
    with (
        contextlib.closing(WebPage(("127.0.0.1", 0), "test")) as page,
        Subscriber(site.endpoint, VIEWER_TOPICS) as subscriber,
    ):
        viewer = WebViewer(subscriber, page, site.endpoint)
        until_s = time.monotonic() + WAIT_S
        while not (len(viewer.scene.trajectories()) == 2 and len(viewer.scene.cloud().points)):
            assert time.monotonic() < until_s
            viewer.feed.take(0.05, wait_s=0.05)
            viewer.refresh()


@pytest.mark.browser
def test_the_page_of_the_viewer_shows_it(tmp_path: Path) -> None:
    live = f"{SOURCE}&frames=100000&fps=5&live=1"
    site = Site(tmp_path, {"left": live, "right": f"{live}&camera=1"})
    site.until(lambda: (status := site.ask("status")) and all(
        one.get("keyframes_in_map", 0) > 0 for one in status["cameras"].values()
    ))  # fmt: skip
    with view(site.endpoint, "--port", "0") as (url, _), Browser() as browser:
        browser.open(url)
        parts = re.compile(r"\d FPS"), re.compile(r"frame\s+\d")
        assert browser.wait(lambda: all(part.search(browser.text()) for part in parts), WAIT_S), browser.text()


def test_what_cannot_be_run_is_said_in_a_line(tmp_path: Path) -> None:
    for changes, words in (
        ({"settings": {"model": "bundled", "weights": "/nowhere.safetensors"}}, "/nowhere.safetensors"),
        ({"mappers": {"cpus": 40}}, "asks for 40.25 CPUs and Ray has"),
        ({"mappers": {"place": "cellar"}}, "no machine of this Ray is the place cellar"),
        ({"ray": {"address": "127.0.0.1:1"}}, "the Ray at 127.0.0.1:1 cannot be used"),
    ):
        site = Site(tmp_path, {"left": f"{SOURCE}&frames=3"}, **changes)
        said = site.end()
        assert site.process.returncode == 1, said
        assert words in said
        assert "Traceback" not in said
