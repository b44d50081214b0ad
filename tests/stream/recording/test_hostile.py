"""Recordings from strangers: valid MCAP, hostile values. Each ends in one clear line or in a clean result."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from spark3r_stream.recording.records import INPUT_IMAGE, INPUT_PACKET
from tests import helpers
from tests.helpers_hostile import Hostile, hostile_recordings
from tests.helpers_media import moving_images, write_video

SMALL = ["--weights", "random", "--size", "64", "--track", "off", "--memory", "3MiB"]
PER_RUN = 20  # files of one test
MORE_BYTES = 256 << 20  # beside what Python and torch take, which is as much


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A recorded video, a recorded folder of images with a camera, a tracked run of a rendered sequence."""
    folder = tmp_path_factory.mktemp("good")
    video = write_video(folder / "clip.mp4", moving_images(3, 64, 48))
    images = folder / "images"
    images.mkdir()
    for i, image in enumerate(moving_images(3, 64, 48)):
        Image.fromarray(image).save(images / f"{i}.png")
    recorded = [folder / "video.mcap", folder / "images.mcap", folder / "tracked.mcap"]
    with pytest.MonkeyPatch.context() as patch:
        run = partial(helpers.spark3r, patch, "run")
        assert run(video, *SMALL, "--record", recorded[0]) == 0
        assert run(images, *SMALL, "--record", recorded[1]) == 0
        assert run("synthetic:room?frames=4&size=64x48", "--size", "64", "--record", recorded[2]) == 0
    return recorded


def peak_bytes(*, since_now: bool = False) -> int:
    """The most that this process has held since it last was asked with `since_now`; 0 where the system does not say."""
    try:
        if since_now:
            Path("/proc/self/clear_refs").write_text("5")
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def check(
    hostile: Hostile, number: int, good: list[Path], folder: Path, monkeypatch, capfd: pytest.CaptureFixture[str]
) -> None:
    spark3r = partial(helpers.spark3r, monkeypatch)
    kind = {INPUT_PACKET: 0, INPUT_IMAGE: 1}.get(hostile.topic, number % len(good))
    path = hostile.write(good[kind], folder / "hostile.mcap")
    for command in (("inspect", path, *(["--json"] if number % 2 else [])), ("run", path, "--max-frames", "3")):
        capfd.readouterr()
        before = peak_bytes(since_now=True)
        code = spark3r(*command)
        assert peak_bytes() - before <= MORE_BYTES, (hostile.name, command)
        out, err = capfd.readouterr()
        assert code in (0, 1), (hostile.name, command, err)
        assert "Traceback" not in err, (hostile.name, command, err)
        assert "\x1b" not in out + err, (hostile.name, command, err)
        errors = [line for line in err.splitlines() if line.startswith("spark3r: error: ")]
        assert len(errors) <= 1, (hostile.name, command, err)
        assert all(len(line) < 5000 for line in errors), hostile.name


ALL = hostile_recordings(500)


@pytest.mark.parametrize("start", range(0, 20, PER_RUN))
def test_each_ends_in_one_line_or_a_result(start: int, good: list[Path], tmp_path: Path, monkeypatch, capfd) -> None:
    for number, hostile in enumerate(ALL[start : start + PER_RUN]):
        check(hostile, number, good, tmp_path, monkeypatch, capfd)


@pytest.mark.slow
@pytest.mark.parametrize("start", range(20, 500, PER_RUN))
def test_all_of_them(start: int, good: list[Path], tmp_path: Path, monkeypatch, capfd) -> None:
    assert len(ALL) == 500
    for number, hostile in enumerate(ALL[start : start + PER_RUN]):
        check(hostile, number, good, tmp_path, monkeypatch, capfd)
