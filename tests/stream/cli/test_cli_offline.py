"""`spark3r reconstruct` and `spark3r probe` as a user meets them."""

import json
import shutil
from dataclasses import fields
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spark3r_core.offline.probe import SensitivityTable
from spark3r_stream.cli.offline import _OF_STREAMS, read_frames
from spark3r_stream.config import RunConfig
from tests.helpers import spark3r
from tests.helpers_media import moving_images

SMALL = ["--weights", "random", "--size", "96"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four images, one of them cut short."""
    path = tmp_path / "images"
    path.mkdir()
    for i, image in enumerate(moving_images(4, 128, 96)):
        Image.fromarray(image).save(path / f"{i}.png")
    whole = (path / "2.png").read_bytes()
    (path / "2.png").write_bytes(whole[: len(whole) // 2])
    return path


def test_all_frames_become_the_result_files_and_losses_are_told(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert spark3r(monkeypatch, "reconstruct", folder, *SMALL, "--out", out) == 0
    assert "3 frames" in (err := capfd.readouterr().err)
    assert "1 lost" in err
    stats = json.loads((out / "stats.json").read_text())
    assert (stats["frames"], stats["dropped"]) == (3, {"decode_error": 1})
    assert stats["model"] == {"name": "bundled", "weights_sha256": None, "input_hw": [72, 96]}
    rows = [line for line in (out / "trajectory.txt").read_text().splitlines() if not line.startswith("#")]
    assert len(rows) == 3
    assert all((out / name).exists() for name in ("cloud.ply", "intrinsics.json", "preview.png"))


def test_what_cannot_be_done_is_one_line(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    camera = tmp_path / "camera.json"
    camera.write_text(json.dumps({"width": 640, "height": 360, "fx": 500, "fy": 500, "cx": 320, "cy": 180}))
    for arguments, word in [
        (["reconstruct", folder], "--out"),
        (["reconstruct", folder, "--out", tmp_path / "o", "--intrinsics", camera], "aspect ratio"),
        (["probe", folder], "at least 16 frames"),
        (["probe", folder, "--intrinsics", camera], "aspect ratio"),
        *[
            (["reconstruct", folder, "--out", tmp_path / "o", *ignored], f"{ignored[0]} ")
            for ignored in (
                ["--publish", "tcp://127.0.0.1:*"],
                ["--record", tmp_path / "r.mcap"],
                ["--view"],
                ["--eviction", "views"],
                ["--json"],
                ["--pace", "realtime"],
                ["--memory", "64MiB"],
                ["--track", "off"],
            )
        ],
        (["probe", folder, "--out", tmp_path / "o"], "--out "),
    ]:
        assert spark3r(monkeypatch, *arguments, *SMALL) == 1
        err = capfd.readouterr().err
        assert err.count("spark3r: error: ") == 1, err
        assert word in err


SIXTEEN = "synthetic:room?frames=16&size=64x48&augment=0"


def test_a_probe_saves_its_table_and_replaces_nothing_but_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    probe = partial(spark3r, monkeypatch, "probe", SIXTEEN, "--weights", "random", "--size", "64", "--save")
    path, elsewhere = tmp_path / "table.json", tmp_path / "elsewhere.json"
    assert probe(path) == 0
    table = SensitivityTable.load(path)
    shutil.copy(path, elsewhere)
    path.unlink()
    path.symlink_to(elsewhere)
    before = elsewhere.stat().st_mtime_ns
    assert probe(path) == 0  # an older table may go; what a link points to stays
    assert not path.is_symlink()
    assert elsewhere.stat().st_mtime_ns == before
    assert SensitivityTable.load(path) == table
    assert sorted(tmp_path.iterdir()) == [elsewhere, path]

    thesis = tmp_path / "thesis.json"
    for content in ('{"chapter": 1}', "text", "[" * 100_000):
        thesis.write_text(content)
        capfd.readouterr()
        assert probe(thesis) == 1
        assert "is no sensitivity table; choose another name" in capfd.readouterr().err
        assert thesis.read_text() == content
    assert probe(tmp_path / "missing" / "table.json") == 1
    assert "there is no folder" in capfd.readouterr().err


def test_every_setting_is_used_or_refused() -> None:
    used = {"source", "model", "weights", "out", "live", "rtsp_transport", "max_restarts", "fps", "max_frames", "size",
            "camera", "intrinsics", "save_depth", "max_points", "device", "dtype"}  # fmt: skip
    assert used.isdisjoint(_OF_STREAMS)
    assert used | set(_OF_STREAMS) == {field.name for field in fields(RunConfig)}


def test_full_size_frames_are_let_go_as_they_are_read(folder: Path) -> None:
    for path in folder.iterdir():
        if path.name != "2.png":  # the broken one
            Image.open(path).resize((1280, 960)).save(path)
    config = RunConfig(source=str(folder), weights="random", size=96)
    frames, dropped, _ = read_frames(config)
    assert dropped == {"decode_error": 1}
    assert [frame.source_hw for frame in frames] == [(960, 1280)] * 3
    arrays = [value for frame in frames for value in vars(frame).values() if isinstance(value, np.ndarray)]
    assert sum(array.nbytes for array in arrays) < 3 * 960 * 1280  # a third of them at full size
    assert all(getattr(array.base, "nbytes", 0) <= array.nbytes for array in arrays)  # no view of something larger
