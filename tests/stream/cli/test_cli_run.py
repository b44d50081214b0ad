"""`spark3r run` as a user meets it: result files, one clear line for each kind of bad input, and clean ends."""

import json
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from spark3r_stream.map.trajectory import read_trajectory
from spark3r_stream.outputs.ply import read_ply
from spark3r_stream.outputs.result_writer import ResultWriter
from spark3r_stream.recording.reader import Recording
from spark3r_stream.wire.decode import decode
from spark3r_stream.wire.envelope import STATUS
from spark3r_stream.wire.messages import Status
from tests.helpers import spark3r
from tests.helpers_media import moving_images, write_video

ROOT = Path(__file__).parents[3]
SMALL = ["--weights", "random", "--size", "96"]


def clip(path: Path, frames: int) -> Path:
    return write_video(path, moving_images(frames, 128, 96))


def test_a_video_becomes_the_result_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video, out = clip(tmp_path / "clip.mp4", 10), tmp_path / "out"
    assert spark3r(monkeypatch, "run", video, *SMALL, "--out", out, "--save-depth") == 0
    rows = [line for line in (out / "trajectory.txt").read_text().splitlines() if not line.startswith("#")]
    assert len(rows) == 10
    assert len(rows[0].split()) == 8
    stats = json.loads((out / "stats.json").read_text())
    assert stats["frames"] == {"in": 10, "processed": 10, "failed": 0, "dropped": {}}
    assert 0 < stats["memory_bytes"]["used"] <= stats["memory_bytes"]["limit"]
    assert stats["settings"]["source"] == str(video)
    assert json.loads((out / "intrinsics.json").read_text())["width"] > 0
    assert Image.open(out / "preview.png").size[0] > 300
    assert (out / "cloud.ply").exists()
    saved = np.load(out / "depth" / "000000.npz")
    assert saved["depth"].ndim == 2
    assert saved["confidence"].shape == saved["depth"].shape


def test_json_lines_are_all_there_is_on_stdout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    video = clip(tmp_path / "clip.mp4", 5)
    assert spark3r(monkeypatch, "run", video, *SMALL, "--json") == 0
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [line["frame_id"] for line in lines] == list(range(5))
    assert all(line["valid"] and len(line["quat_xyzw"]) == 4 for line in lines)


def test_a_run_that_keeps_nothing_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    video = clip(tmp_path / "clip.mp4", 2)
    assert spark3r(monkeypatch, "run", video, *SMALL) == 0
    assert capfd.readouterr().err.count("results are shown and not kept") == 1
    for output in (
        ["--out", tmp_path / "o"],
        ["--json"],
        ["--record", tmp_path / "r"],
        ["--publish", "tcp://127.0.0.1:*"],
    ):
        assert spark3r(monkeypatch, "run", video, *SMALL, *output) == 0
        assert "not kept" not in capfd.readouterr().err


def test_a_run_has_one_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    video, out, recording = clip(tmp_path / "clip.mp4", 8), tmp_path / "out", tmp_path / "run.mcap"
    assert spark3r(monkeypatch, "run", video, *SMALL, "--out", out, "--record", recording) == 0
    err = capfd.readouterr().err
    fps = json.loads((out / "stats.json").read_text())["fps"]
    assert fps > 0
    assert re.findall(r"([0-9.]+) FPS", err) == [f"{fps:.1f}"]
    last = list(Recording(recording).messages([STATUS]))[-1]
    status = decode(last)
    assert isinstance(status, Status)
    assert status.frames_per_second == pytest.approx(fps, abs=0.001)


def test_pictures_flatter_than_a_pixel_of_the_preview(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "flat"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(2):
        Image.fromarray(rng.integers(0, 255, (8, 4096, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    assert spark3r(monkeypatch, "run", folder, *SMALL, "--out", tmp_path / "out") == 0
    assert Image.open(tmp_path / "out" / "preview.png").size[0] > 300


def test_a_file_played_in_real_time_keeps_its_own_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = clip(tmp_path / "clip.mp4", 6)
    times = []
    for pace in ("fast", "realtime"):
        assert spark3r(monkeypatch, "run", video, *SMALL, "--pace", pace, "--out", tmp_path / pace) == 0
        times.append(read_trajectory(tmp_path / pace / "trajectory.txt").time_ns.tolist())
    assert len(times[0]) == 6
    assert times[1]
    assert set(times[1]) <= set(times[0])


def test_one_frame_odd_sizes_grey_and_rgba(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = clip(tmp_path / "one.mp4", 1)
    assert spark3r(monkeypatch, "run", one, *SMALL, "--out", tmp_path / "one") == 0
    folder = tmp_path / "mixed"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i, shape in enumerate([(1001, 33, 3), (1001, 33), (1001, 33, 4)]):
        Image.fromarray(rng.integers(0, 255, shape, dtype=np.uint8)).save(folder / f"{i}.png")
    assert spark3r(monkeypatch, "run", folder, *SMALL, "--out", tmp_path / "odd") == 0
    stats = json.loads((tmp_path / "odd" / "stats.json").read_text())
    assert stats["frames"]["processed"] == 3


def test_bad_input_is_one_line_and_exit_code_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("not a video")
    empty = tmp_path / "empty"
    empty.mkdir()
    video = clip(tmp_path / "clip.mp4", 2)
    foreign = tmp_path / "foreign.json"
    foreign.write_text(json.dumps({"width": 640, "height": 360, "fx": 500, "fy": 500, "cx": 320, "cy": 180}))
    taken = socket.create_server(("127.0.0.1", 0))
    cases = [
        (["run", tmp_path / "missing.mp4", *SMALL], "missing.mp4"),
        (["run", text, *SMALL], "text.mp4"),
        (["run", empty, *SMALL], "empty"),
        (["run", video, "--weights", text], "text.mp4"),
        (["run", video, "--weights", tmp_path / "none.safetensors"], "none.safetensors"),
        (["run", video, "--model", "vgg"], "vggt-1b"),
        (["run", video, *SMALL, "--memory", "1KiB"], "--memory"),
        (["run", video, *SMALL, "--memory", "lots"], "64MiB"),
        (["run", video, *SMALL, "--window", "0"], "--window"),
        (["run", video, *SMALL, "--device", "abacus"], "--device abacus"),
        (["run", video, *SMALL, "--device", "cuda:99"], "--device cuda:99"),
        (["run", video, *SMALL, "--save-depth"], "--out"),
        (["run", video, *SMALL, "--mesh"], "--out"),
        (["run", video, *SMALL, "--mesh", "--out", tmp_path / "out", "--track", "off"], "--track off"),
        (["run", video, *SMALL, "--intrinsics", text], "no known form of a calibration"),
        (["run", video, *SMALL, "--intrinsics", foreign], "aspect ratio differs"),
        (["run", video, *SMALL, "--publish", f"tcp://127.0.0.1:{taken.getsockname()[1]}"], "in use"),
        (["run", video, *SMALL, "--publish", "tcp://0.0.0.0:5999"], "insecure"),
        (["run", "gopher://example/stream", *SMALL], "scheme"),
    ]
    for arguments, word in cases:
        code = spark3r(monkeypatch, *arguments)
        out, err = capfd.readouterr()
        errors = [line for line in err.splitlines() if line.startswith("spark3r: error: ")]
        assert code == 1, arguments
        assert len(errors) == 1, (arguments, err)
        assert word in errors[0], (arguments, errors[0])
        assert "Traceback" not in err
        assert out == ""
    taken.close()


@pytest.mark.parametrize(
    ("more", "number", "code"),
    [
        ("", signal.SIGINT, 130),
        ("&live=1", signal.SIGTERM, 0),
        pytest.param("", signal.SIGTERM, 143, marks=pytest.mark.slow),
        pytest.param("&live=1", signal.SIGINT, 0, marks=pytest.mark.slow),
    ],
)
def test_a_signal_ends_a_run_with_its_results_kept(tmp_path: Path, more: str, number: int, code: int) -> None:
    source = f"synthetic:room?frames=100000&size=96x72&augment=0{more}"
    command = [sys.executable, "-m", "spark3r_stream.cli.main", "run", source, *SMALL, "--json", "--out", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    first = process.stdout.readline()
    assert json.loads(first)["frame_id"] == 0
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    stats = json.loads((tmp_path / "stats.json").read_text())
    rows = [line for line in (tmp_path / "trajectory.txt").read_text().splitlines() if not line.startswith("#")]
    assert len(rows) == stats["frames"]["processed"] >= 1
    assert read_ply(tmp_path / "cloud.ply") is not None


def test_a_signal_while_results_are_written_does_not_lose_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    close = ResultWriter.close

    def interrupted(writer: ResultWriter, *arguments: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        close(writer, *arguments)

    monkeypatch.setattr(ResultWriter, "close", interrupted)
    video = clip(tmp_path / "clip.mp4", 2)
    assert spark3r(monkeypatch, "run", video, *SMALL, "--out", tmp_path / "out") == 130
    assert json.loads((tmp_path / "out" / "stats.json").read_text())["frames"]["processed"] == 2


@pytest.mark.parametrize("refine", ["on", "off"])
def test_square_pixels_have_one_focal_length(refine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = write_video(tmp_path / "clip.mp4", moving_images(5, 130, 96))  # not the shape of whole patches
    results = {}
    for name, command in (("run", ["run", "--track", "off", "--refine", refine]), ("joint", ["reconstruct"])):
        first, *options = command
        assert spark3r(monkeypatch, first, video, *options, *SMALL, "--out", tmp_path / name, "--save-depth") == 0
        results[name] = json.loads((tmp_path / name / "intrinsics.json").read_text())
    for camera in results.values():
        assert camera["fx"] == pytest.approx(camera["fy"], abs=1e-3)
