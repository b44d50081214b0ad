"""`spark3r compare` and `spark3r_stream.testing`: what is read, what is said, and what decides."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import spark3r_stream
from spark3r_core.geometry import se3
from spark3r_stream.errors import OutputError
from spark3r_stream.evaluation.compare import Limits, compare_paths
from spark3r_stream.evaluation.paths import recorded_path
from spark3r_stream.map.trajectory import Trajectory, write_trajectory
from spark3r_stream.testing import assert_ate, assert_same
from tests.helpers import spark3r
from tools.pages import python_blocks

ROOT = Path(__file__).parents[3]
SCENE = "synthetic:room?seed=12&frames=50&kind=handheld&size=192x144"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """out and run.mcap of one run with several keyframes."""
    folder = tmp_path_factory.mktemp("made")
    for _ in spark3r_stream.run(SCENE, size=96, out=folder / "out", record=folder / "run.mcap", keep_map=False):
        pass
    return folder


def spiral(frames: int = 60) -> Trajectory:
    poses = np.stack([se3.exp(np.array([np.cos(a), np.sin(a), 0.1 * a, 0, 0, a])) for a in np.linspace(0, 3, frames)])
    return Trajectory(np.arange(frames, dtype=np.int64) * 100_000_000, poses)


def noisy(path: Trajectory, metres: float = 0.0, degrees: float = 0.0) -> Trajectory:
    twists = np.random.default_rng(0).normal(0, 1, (len(path), 6)) * np.repeat([metres, np.radians(degrees)], 3)
    return Trajectory(path.time_ns, path.world_from_camera @ np.stack([se3.exp(twist) for twist in twists]))


def test_a_recording_has_the_path_of_its_results(made: Path) -> None:
    compared = compare_paths(str(made / "run.mcap"), str(made / "out"))
    assert compared.poses == 50
    assert compared.coverage == 1.0
    assert compared.ate < 0.1, "but for what tracking all frames once more brings, which no message says"
    assert compared.rotation_deg < 0.5
    assert compared.scale == pytest.approx(1, abs=0.05)


def test_limits_decide(
    made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    loose = ("compare", made / "out", SCENE, "--ate", 0.9, "--rotation", 20)
    assert spark3r(monkeypatch, *loose, "--plot", tmp_path / "paths.png") == 0
    assert "all limits hold" in capsys.readouterr().out
    assert Image.open(tmp_path / "paths.png").size[0] > 800
    assert spark3r(monkeypatch, "compare", made / "out", SCENE, "--ate", 1e-5, "--json") == 1
    verdict = json.loads(capsys.readouterr().out)
    assert verdict["ok"] is False
    assert verdict["failures"] == [
        f"the trajectory error is {verdict['ate']:.4f} of the path's spread, more than 1e-05"
    ]
    (tmp_path / "notes.txt").write_text("mine")
    assert spark3r(monkeypatch, *loose, "--plot", tmp_path / "notes.txt") == 1
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_what_is_measured(tmp_path: Path) -> None:
    truth, worse, part = tmp_path / "truth.txt", tmp_path / "worse.txt", tmp_path / "part.txt"
    path = spiral()
    write_trajectory(truth, path)
    write_trajectory(worse, noisy(path, degrees=2.0))
    write_trajectory(part, Trajectory(path.time_ns[:30], path.world_from_camera[:30]))
    turned = compare_paths(str(worse), str(truth))
    assert turned.ate < 1e-6
    assert 2 < turned.rotation_deg < 8  # two turns of about 3.2 degrees each
    assert turned.failures(Limits(ate=0.01)) == []
    assert len(turned.failures(Limits(ate=0.01, rotation_deg=1))) == 1
    short = compare_paths(str(part), str(truth))
    assert short.coverage == pytest.approx(0.5, abs=0.03)
    assert "is covered, less than 80%" in short.failures(Limits(ate=1.0))[0]
    assert short.failures(Limits(ate=1.0, coverage=0.4)) == []
    with pytest.raises(OutputError, match=r"0 poses at the same times .* at least 3 are needed: --offset"):
        compare_paths(str(part), str(truth), offset_s=1000)
    assert compare_paths(str(part), str(truth), offset_s=0.1).ate > 1e-4


def test_kitti_poses(tmp_path: Path) -> None:
    path = spiral()
    write_trajectory(tmp_path / "tum.txt", path)
    rows = "".join(" ".join(map(str, pose[:3].ravel())) + "\n" for pose in path.world_from_camera)
    (tmp_path / "kitti").mkdir()
    (tmp_path / "kitti" / "poses.txt").write_text(rows)
    assert compare_paths(str(tmp_path / "tum.txt"), str(tmp_path / "kitti")).ate < 1e-6  # line by line
    (tmp_path / "kitti" / "poses.txt").write_text(rows.partition("\n")[2])
    with pytest.raises(OutputError, match=r"has no times, .*60 .*59.* put times\.txt"):
        compare_paths(str(tmp_path / "tum.txt"), str(tmp_path / "kitti"))
    (tmp_path / "kitti" / "times.txt").write_text("".join(f"{time / 1e9}\n" for time in path.time_ns[1:]))
    assert compare_paths(str(tmp_path / "tum.txt"), str(tmp_path / "kitti")).poses == 59


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "holds no pose"),
        ("1 2 3\n", "expected time tx ty tz"),
        ("x " * 12, "no KITTI poses"),
        (b"\xff\xfe", "text"),
    ],
)
def test_what_holds_no_path_is_said(tmp_path: Path, content: str | bytes, complaint: str) -> None:
    (tmp_path / "a.txt").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(OutputError, match=complaint):
        compare_paths(str(tmp_path / "a.txt"), str(tmp_path / "a.txt"))
    with pytest.raises(OutputError, match=r"has no trajectory\.txt"):
        compare_paths(str(tmp_path), str(tmp_path))


def test_recordings_that_differ_are_not_the_same(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert spark3r(monkeypatch, "compare", made / "run.mcap", made / "run.mcap") == 0
    assert "the same, byte by byte" in capsys.readouterr().out
    for _ in spark3r_stream.run(SCENE, size=96, record=tmp_path / "less.mcap", max_frames=20, keep_map=False):
        pass
    assert spark3r(monkeypatch, "compare", tmp_path / "less.mcap", made / "run.mcap") == 1
    assert "not the same" in capsys.readouterr().out
    assert (
        spark3r(monkeypatch, "compare", tmp_path / "less.mcap", made / "run.mcap", "--ate", 0.5, "--coverage", 0) == 0
    )


def test_assertions(made: Path) -> None:
    assert_ate(made / "run.mcap", SCENE, 0.9)
    with pytest.raises(AssertionError, match=r"of the path's spread, more than 0\.0001"):
        assert_ate(made / "out", SCENE, 0.0001)
    with pytest.raises(AssertionError, match="ended with code 1"):
        assert_same(made / "none.mcap")
    with pytest.raises(ValueError, match="expected a recording"):
        assert_same(made / "out")


def test_the_snippet_of_the_page(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "corridor.mcap").symlink_to(made / "run.mcap")
    write_trajectory(tmp_path / "clips" / "corridor_truth.txt", recorded_path(made / "run.mcap"))
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(python_blocks(ROOT / "docs" / "testing.md")[0], names)
    names["test_the_corridor"]()


def test_recordings_are_tests(made: Path, tmp_path: Path) -> None:
    """The plugin in a project of its own; a recording that comes out otherwise fails."""
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "good.mcap").write_bytes((made / "run.mcap").read_bytes())
    (tmp_path / "clips" / "bad.mcap").write_bytes((made / "run.mcap").read_bytes()[:5000])
    (tmp_path / "other.mcap").write_bytes(b"")
    (tmp_path / "pytest.ini").write_text("[pytest]\nspark3r_recordings = clips/*.mcap\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "spark3r_stream.testing.plugin", "-q", "-rA"],
        cwd=tmp_path,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "PASSED clips/good.mcap::same" in done.stdout, done.stdout
    assert "FAILED clips/bad.mcap::same" in done.stdout
    assert "1 failed, 1 passed" in done.stdout
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    import_module(project["entry-points"]["pytest11"]["spark3r"])
