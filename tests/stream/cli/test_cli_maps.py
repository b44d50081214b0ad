"""`run --map`, `spark3r map info` and `spark3r export` as a user meets them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spark3r_core.geometry.sim3 import Sim3
from spark3r_stream.map_file.reading import read_map
from spark3r_stream.map_file.saved_map import Metres
from spark3r_stream.map_file.writing import write_map
from spark3r_stream.recording.reader import Recording
from spark3r_stream.wire.decode import decode
from spark3r_stream.wire.envelope import STATUS
from tests.core.stream import orbit
from tests.helpers import spark3r
from tests.helpers_map import FACTS, IDS, orbit_map

SOURCE = "synthetic:room?seed=3&frames=16&size=160x120"
SMALL = ["--weights", "random", "--size", "96"]


@pytest.fixture
def room(tmp_path: Path) -> Path:
    path = tmp_path / "room.s3rmap"
    write_map(path, orbit_map(), FACTS, overwrite=False)
    return path


def test_a_run_leaves_its_map_and_the_same_one_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    path, out, recording = tmp_path / "room.s3rmap", tmp_path / "out", tmp_path / "run.mcap"
    assert spark3r(monkeypatch, "run", SOURCE, *SMALL, "--map", path, "--out", out, "--record", recording) == 0
    assert "not kept" not in capfd.readouterr().err
    saved = read_map(path)
    assert saved.facts.source_id == SOURCE
    assert (saved.facts.source_kind, saved.facts.captured_clock, saved.facts.model) == (
        "synthetic",
        "source",
        "bundled",
    )
    stats = json.loads((out / "stats.json").read_text())
    assert stats["keyframes"] >= len(saved.world.order) >= 1
    assert stats["map_bytes"]["used"] == saved.world.nbytes or stats["map_bytes"]["used"] > 0
    assert stats["map_bytes"]["limit"] == 256 << 20
    assert stats["keyframes_dropped"] == 0
    status = decode(list(Recording(recording).messages([STATUS]))[-1])
    assert (status.map_bytes, status.map_limit_bytes) == (stats["map_bytes"]["used"], 256 << 20)
    assert all(len(saved.world.keyframes[index].picture) > 1000 for index in saved.world.order)

    assert spark3r(monkeypatch, "run", recording, "--map", path) == 1, "a run that is made again begins as it did"
    assert "--overwrite replaces it" in capfd.readouterr().err
    again = tmp_path / "again.s3rmap"
    assert spark3r(monkeypatch, "run", recording, "--map", again) == 0, "and a recording that is run again has it too"
    assert again.read_bytes() == path.read_bytes() or read_map(again).facts.source_kind == "recording"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--map-memory", "1MiB", "--json"], "--map-memory is 1MiB; expected at least 16MiB"),
        (["--map-memory", "lots", "--json"], "cannot read 'lots' as a size"),
        (["--map", "x.s3rmap", "--track", "off"], "--map needs keyframes"),
        (["--overwrite", "--json"], "give --record or --map with it"),
        (["--map", "run.mcap", "--record", "run.mcap"], "are the same file"),
        (["--localise", "--json"], "--localise needs a map to find the camera in; give its file with --map"),
        (["--localise", "--map", "none.s3rmap"], "there is none in none.s3rmap"),
    ],
)
def test_options_that_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert spark3r(monkeypatch, "run", SOURCE, *SMALL, *options) == 1
    assert said in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--loops", "off"], "--loops off recognises none"),
        (["--model", "da3-small", "--weights", "random"], "was made with --model bundled, this run is with da3-small"),
        ([*SMALL], "is of pictures of 192x144; the source gives 160x120"),
        (["--localise", "--overwrite"], "--localise needs a map"),
    ],
)
def test_runs_that_cannot_go_on_in_a_map(
    room: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    before = room.read_bytes()
    assert spark3r(monkeypatch, "run", SOURCE, *options, "--map", room) == 1
    err = capfd.readouterr().err
    assert said in err
    assert sum("error" in line for line in err.splitlines()) == 1
    assert room.read_bytes() == before


def test_the_map_is_not_written_over_what_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    assert spark3r(monkeypatch, "run", folder, "--map", folder / "room.s3rmap") == 1
    assert "in the folder that is read" in capfd.readouterr().err


def test_info_says_what_is_in_it(
    room: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert spark3r(monkeypatch, "map", "info", room) == 0
    text = capfd.readouterr().out
    for words in ("4 keyframes over 2.4 s", "192x144, focal length 159.8 px (known to 1.3%)", "3 edges", "4 pictures"):
        assert words in text
    assert spark3r(monkeypatch, "map", "info", room, "--json") == 0
    info = json.loads(capfd.readouterr().out)
    assert info["frame_ids"] == list(IDS)
    assert info["source"]["source_id"] == FACTS.source_id
    assert info["tracks"] == len(orbit_map().tracks)


def test_what_is_no_map_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "letters.txt"
    other.write_text("dear all")
    for command in (["map", "info", other], ["export", other, "--to", "tum", "--out", tmp_path / "o"]):
        assert spark3r(monkeypatch, *command) == 1
        err = capfd.readouterr().err
        assert "it is no map file of spark3r" in err
        assert err.count("\n") == 1
    assert not (tmp_path / "o").exists()
    assert spark3r(monkeypatch, "export", tmp_path / "none", "--to", "tum", "--out", tmp_path / "o") == 1
    assert "there is no" in capfd.readouterr().err


def test_map_export_is_export(
    room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert spark3r(monkeypatch, "map", "export", room, "--to", "kitti", "--out", tmp_path / "a") == 0
    assert spark3r(monkeypatch, "export", room, "--to", "kitti", "--out", tmp_path / "b") == 0
    assert (tmp_path / "a" / "poses.txt").read_bytes() == (tmp_path / "b" / "poses.txt").read_bytes()
    assert spark3r(monkeypatch, "map", "export", room) == 1
    assert "give --to and --out" in capfd.readouterr().err


def test_a_folder_with_something_in_it_is_left_alone(
    room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "letters.txt").write_text("dear all")
    (out / "poses.txt").symlink_to(out / "letters.txt")
    assert spark3r(monkeypatch, "export", room, "--to", "kitti", "--out", out) == 1
    assert "is not empty" in capfd.readouterr().err
    assert spark3r(monkeypatch, "export", room, "--to", "kitti", "--out", out, "--overwrite") == 0
    assert (out / "letters.txt").read_text() == "dear all"
    assert not (out / "poses.txt").is_symlink()
    (out / "images").symlink_to(tmp_path)
    assert spark3r(monkeypatch, "export", room, "--to", "colmap", "--out", out, "--overwrite") == 1
    assert "is a symbolic link" in capfd.readouterr().err


def test_a_library_that_is_missing_is_named(
    room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "trimesh", None)
    assert spark3r(monkeypatch, "export", room, "--to", "glb", "--out", tmp_path / "o") == 1
    assert "pip install 'spark3r-stream[export]'" in capfd.readouterr().err


def test_a_result_folder_has_every_frame_and_no_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    result = tmp_path / "result"
    assert spark3r(monkeypatch, "run", SOURCE, *SMALL, "--out", result) == 0
    rows = [row for row in (result / "trajectory.txt").read_text().splitlines() if not row.startswith("#")]
    for to, name in (("tum", "trajectory.txt"), ("kitti", "poses.txt"), ("glb", "cloud.glb"), ("laz", "cloud.laz")):
        assert spark3r(monkeypatch, "export", result, "--to", to, "--out", tmp_path / to) == 0
        assert (tmp_path / to / name).stat().st_size > 100
    assert len((tmp_path / "kitti" / "poses.txt").read_text().splitlines()) == len(rows)
    capfd.readouterr()
    assert spark3r(monkeypatch, "export", result, "--to", "colmap", "--out", tmp_path / "colmap") == 1
    assert "needs pictures" in capfd.readouterr().err
    assert spark3r(monkeypatch, "export", result, "--to", "tum", "--out", result / "in") == 1
    assert "inside of the folder" in capfd.readouterr().err


def test_two_maps_become_a_third(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    a, b, out = (tmp_path / f"{name}.s3rmap" for name in "abc")
    metres = Metres(12, Sim3(2.0), 0.02, "tag", True)
    write_map(a, orbit_map((0, 8, 16)), FACTS, overwrite=False)
    write_map(
        b,
        orbit_map((4, 12, 20)),
        replace(FACTS, source_id="file:other.mp4", fps=25.0, metres=(metres,)),
        overwrite=False,
    )
    before = a.read_bytes(), b.read_bytes()
    assert spark3r(monkeypatch, "map", "merge", a, b, "--out", out, "--json") == 0
    said = json.loads(capfd.readouterr().out)
    saved = read_map(out)
    assert saved.world.order == [0, 8, 16, 21, 29, 37]
    assert said["keyframes"] == 6
    assert said["ids_shift"] == 17
    assert all(first < 17 <= second for first, second in said["pairs"][:4])
    assert (saved.facts.source_id, saved.facts.fps) == (f"{FACTS.source_id} + file:other.mp4", None)
    assert saved.metres is not None, "one of the two is known in metres"
    assert saved.metres.keyframe_id == 29
    assert saved.metres.metres_from_map.scale == pytest.approx(2.0, rel=0.05)
    for index, frame_id in zip((4, 12, 20), (21, 29, 37), strict=True):
        off = saved.world.keyframes[frame_id].world_from_camera[:3, 3] - orbit.pose(index)[:3, 3]
        assert np.linalg.norm(off) < 0.05, "where it was taken, in the first map's frame"
    assert (a.read_bytes(), b.read_bytes()) == before
    whole = out.read_bytes()
    assert spark3r(monkeypatch, "map", "merge", a, b, "--out", out) == 1
    assert "there is a map already" in capfd.readouterr().err
    assert out.read_bytes() == whole
    again = tmp_path / "again.s3rmap"
    assert spark3r(monkeypatch, "map", "merge", a, b, "--out", again) == 0
    assert again.read_bytes() == whole
    assert "pairs of pictures show one place" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("model", "ids", "said"),
    [
        ("da3-small", (4, 12, 20, 28), "with da3-small; one map is of one model"),
        ("bundled", (28,), "no place is common to both maps"),
        ("bundled", (0, 8, 16, 24), "are the same map"),
    ],
)
def test_maps_that_cannot_be_merged(
    room: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    model: str,
    ids: tuple[int, ...],
    said: str,
) -> None:
    other, out = tmp_path / "other.s3rmap", tmp_path / "out.s3rmap"
    write_map(other, orbit_map(ids), replace(FACTS, model=model), overwrite=False)
    assert spark3r(monkeypatch, "map", "merge", room, other, "--out", out) == 1
    assert said in capfd.readouterr().err
    assert not out.exists()
    assert spark3r(monkeypatch, "map", "merge", room, "--out", out) == 1
    assert "map merge needs two maps" in capfd.readouterr().err
    assert spark3r(monkeypatch, "map", "info", room, other) == 1
    assert "takes one file" in capfd.readouterr().err
