"""A disk that is full: the map goes on without its recording, results say what is missing, what was written is read."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO

import numpy as np
import pytest

from spark3r_stream.errors import OutputError
from spark3r_stream.map.trajectory import TrajectoryWriter, read_trajectory
from spark3r_stream.recording.reader import Recording
from spark3r_stream.wire import envelope as wire
from tests.faults.engine_process import ROOT, SYNTHETIC, Engine
from tests.helpers_media import moving_images, write_video

DISK_BYTES = 300_000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of DISK_BYTES that ends with the test; without root, skipped."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "spark3r-test", str(folder)]
    if os.name != "posix" or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root on Linux")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(file: IO[bytes]) -> None:
    with contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


def add_for_ever(writer: TrajectoryWriter) -> None:
    while True:
        writer.add(writer.count, np.eye(4))


def test_a_full_disk_ends_the_recording_and_not_the_map(small_disk: Path) -> None:
    with Engine(SYNTHETIC + "&live=1", "--track", "off", "--record", small_disk / "a.mcap") as engine:
        engine.wait_frames(1)
        while (small_disk / "a.mcap").stat().st_size < DISK_BYTES // 2:
            engine.wait_frames(len(engine.lines) + 1)
        engine.wait_frames(len(engine.lines) + 25)  # far beyond what fits
        engine.signal(signal.SIGINT)
        assert engine.wait() == 0, engine.err
    assert all(line["valid"] for line in engine.lines)
    assert "recording stopped, mapping goes on" in engine.err
    assert "No space left on device" in engine.err
    assert "Traceback" not in engine.err
    recording = Recording(small_disk / "a.mcap")
    kept = [message.envelope.frame_id for message in recording.messages([wire.FRAME])]
    assert kept == [line["frame_id"] for line in engine.lines[: len(kept)]]
    assert not recording.info().complete


def test_results_that_do_not_fit_are_one_clear_error_and_the_poses_are_kept(small_disk: Path) -> None:
    with Engine(SYNTHETIC, "--track", "off", "--out", small_disk, "--max-frames", "12") as engine:
        assert engine.wait(90) == 1, engine.err
    errors = [line for line in engine.err.splitlines() if line.startswith("spark3r: error: ")]
    assert len(errors) == 1, engine.err
    assert "No space left on device" in errors[0]
    assert "Traceback" not in engine.err
    assert len(read_trajectory(small_disk / "trajectory.txt")) == 12
    assert not list(small_disk.glob("*.tmp*"))  # no half file pretends to be a whole one


def test_a_full_disk_ends_the_results_and_not_a_live_run(small_disk: Path) -> None:
    with (small_disk / "filler").open("wb", buffering=0) as filler:
        filler.write(bytes(DISK_BYTES - 20_000))
    with Engine(SYNTHETIC + "&live=1", "--out", small_disk, "--publish", "tcp://127.0.0.1:*", "--save-depth") as engine:
        engine.wait_frames(60)  # far beyond what fits
        engine.signal(signal.SIGINT)
        assert engine.wait() == 1, engine.err
    assert "results are not written any more, mapping goes on" in engine.err
    assert engine.err.count("spark3r: error: ") == 1
    assert "No space left on device" in engine.err
    assert "Traceback" not in engine.err


OPEN_IN_LITTLE_MEMORY = """
import sys
from spark3r_stream.clock import SystemClock
from spark3r_stream.errors import SourceError
from spark3r_stream.sources import SourceOptions, open_source
try:
    open_source(sys.argv[1], SourceOptions(), SystemClock())
except SourceError as error:
    print(error)
"""


def test_shared_memory_that_is_full_is_one_clear_error(small_disk: Path, tmp_path: Path) -> None:
    clip = write_video(tmp_path / "a.ts", moving_images(3, 640, 480))  # four pictures of it are 3.5 MiB
    server = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), server) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{http.server_address[1]}/{clip.name}"
        # a mount of its own over /dev/shm, seen by these processes only
        command = ["unshare", "--mount", "sh", "-c", f'mount --bind {small_disk} /dev/shm && exec "$@"', "sh"]
        done = subprocess.run(
            [*command, sys.executable, "-c", OPEN_IN_LITTLE_MEMORY, url],
            env={**os.environ, "TMPDIR": str(small_disk)},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        http.shutdown()
    assert "no memory to hand over frames, 4 MiB" in done.stdout, done.stderr
    assert "No space left on device" in done.stdout
    assert list(small_disk.iterdir()) == []


def test_poses_that_do_not_fit_end_the_run_with_whole_lines(small_disk: Path) -> None:
    writer = TrajectoryWriter(small_disk / "trajectory.txt")
    with (small_disk / "filler").open("wb", buffering=0) as filler:
        fill(filler)
    with pytest.raises(OutputError, match=r"No space left on device; \d+ poses are kept"):
        add_for_ever(writer)
    writer.close()
    assert writer.count > 10
    assert read_trajectory(small_disk / "trajectory.txt").time_ns.tolist() == list(range(writer.count))
