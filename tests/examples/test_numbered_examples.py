"""The numbered examples do what they say, as scripts of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from spark3r_stream.pubsub.publisher import Publisher
from spark3r_stream.wire.encode import encode_frame
from tests.helpers_media import moving_images, write_video
from tests.helpers_wire import SESSION, make_sealer, make_tracked

ROOT = Path(__file__).parents[2]
WAIT_S = 60.0


def start(name: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, str(ROOT / "examples" / name), *map(str, arguments)]
    # As for a user: numpy has threads then, and the mapping process is no fork of the script but runs beside it.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "OPENBLAS_"))}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    )


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("clip") / "video.mp4", moving_images(6, 128, 96))


def test_all_are_run_here() -> None:
    assert [path.name for path in sorted((ROOT / "examples").glob("[0-9]*.py"))] == [
        "01_run.py",
        "02_own_frames.py",
        "03_async_subscriber.py",
    ]


def test_run(tmp_path: Path, video: Path) -> None:
    out, err = start("01_run.py", video, tmp_path / "map.npz").communicate(timeout=WAIT_S)
    assert err == ""
    assert re.findall(r"^(\d) (?:[\d.]+ s|no pose)", out, re.MULTILINE) == list("012345")
    assert "keyframe 0: depth " in out
    kept = np.load(tmp_path / "map.npz")
    assert kept["world_from_camera"].shape == (6, 4, 4)
    assert f"{len(kept['points'])} points and 6 cameras" in out


def test_own_frames(video: Path) -> None:
    out, err = start("02_own_frames.py", video).communicate(timeout=WAIT_S)
    assert err == ""
    assert re.findall(r"^(\d) [A-Z_]+ [\d.]+$", out, re.MULTILINE) == list("012345")
    assert out.rstrip().endswith("6 cameras")


def test_async_subscriber() -> None:
    with Publisher("tcp://127.0.0.1:*", SESSION) as publisher:
        reader = start("03_async_subscriber.py", publisher.endpoint)
        deadline_s = time.monotonic() + WAIT_S
        while publisher.subscribers < 1:
            assert time.monotonic() < deadline_s, "it never subscribed"
            time.sleep(0.01)
        sealer = make_sealer()
        for frame_id in range(3):
            publisher.send(sealer.seal(encode_frame(make_tracked(frame_id))))
        out, err = reader.communicate(timeout=WAIT_S)
    assert (reader.returncode, err) == (0, "")
    assert re.findall(r"^(\d) [A-Z_]+$", out, re.MULTILINE) == ["0", "1", "2"]
    assert out.count("still responsive") >= 3  # three seconds of silence end it
    assert out.rstrip().endswith("3 frames")
