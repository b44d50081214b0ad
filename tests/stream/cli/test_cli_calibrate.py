"""`spark3r board` and `spark3r calibrate`: a board through a known lens, and where a calibration is kept."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from spark3r_core.calibration.board import Board
from spark3r_core.calibration.from_motion import MotionCalibration
from spark3r_core.geometry.camera_files import read_camera
from spark3r_stream.cli.calibrate_by_motion import too_little
from spark3r_stream.config import RunConfig
from spark3r_stream.running.remembered import camera_file, remember, with_remembered_camera
from spark3r_stream.sources.synthetic import SyntheticSource
from tests.core.calibration.shown_board import CAMERA, Renderer, poses


@pytest.fixture(autouse=True)
def _config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures."""
    folder, picture = tmp_path_factory.mktemp("shown"), Renderer(CAMERA)
    for number, pose in enumerate(poses(CAMERA)):
        Image.fromarray(picture(pose, number)).save(folder / f"{number:02d}.png")
    return folder


def test_a_lens_is_found_and_written_in_two_forms(tmp_path: Path, shown: Path, spark3r, capfd) -> None:
    out = tmp_path / "camera.json"
    assert spark3r("calibrate", shown, "--out", out) == 0
    found = read_camera(out)
    assert abs(found.fx / CAMERA.fx - 1) < 0.005
    assert abs(found.fy / CAMERA.fy - 1) < 0.005
    assert abs(found.distortion[0] - CAMERA.distortion[0]) < 0.02
    assert read_camera(out.with_suffix(".yaml")) == found
    deviations = json.loads(out.read_text())["deviations"]
    assert set(deviations) == {"fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2", "k3"}
    assert 0 < deviations["fx"] < 0.01 * CAMERA.fx
    said = capfd.readouterr()
    assert "view 12" in said.err
    assert "fx 5" in said.out
    assert "±" in said.out
    assert spark3r("calibrate", shown, "--out", out) == 1, "what is there is not replaced"
    assert "--overwrite replaces it" in capfd.readouterr().err


def test_too_few_views_are_refused_with_what_is_missing(tmp_path: Path, shown: Path, spark3r, capfd) -> None:
    few = tmp_path / "few"
    few.mkdir()
    for name in ("00.png", "05.png"):
        (few / name).write_bytes((shown / name).read_bytes())
    assert spark3r("calibrate", few, "--out", tmp_path / "c.json") == 1
    assert "8 more views" in capfd.readouterr().err
    assert spark3r("calibrate", few, "--out", tmp_path / "c.json", "--board", "9x9") == 1
    assert "nothing was seen of it" in capfd.readouterr().err
    assert not (tmp_path / "c.json").exists()
    assert spark3r("calibrate", few, "--board", "9") == 1
    assert "expected COLUMNSxROWS" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["board.pdf", "board.png"])
def test_a_board_is_printed_and_nothing_is_replaced(tmp_path: Path, name: str, spark3r, capfd) -> None:
    out = tmp_path / name
    assert spark3r("board", out) == 0
    assert out.read_bytes().startswith(b"%PDF" if name.endswith("pdf") else b"\x89PNG")
    if name.endswith("png"):
        with Image.open(out) as page:
            assert round(page.width / page.info["dpi"][0] * 25.4) == 9 * 32, "eight squares and the border"
            small = page.convert("L").resize((page.width // 12, page.height // 12))
        import numpy as np

        assert len(Board().find(np.asarray(small))[0]) == Board().corners
    assert spark3r("board", out) == 1
    assert "there already" in capfd.readouterr().err
    assert spark3r("board", tmp_path / "board.svg") == 1


def test_a_camera_is_known_by_its_device_or_its_host(tmp_path: Path) -> None:
    by_id = tmp_path / "by-id"
    by_id.mkdir()
    (by_id / "usb-Maker_Cam_1234-video-index0").symlink_to("/dev/video7")
    names = {
        source: None if (path := camera_file(source, by_id)) is None else path.name
        for source in (
            "webcam:7", "/dev/video7", "webcam:3", "/dev/v4l/by-id/usb-Other", "webcam:FaceTime HD",
            "rtsp://user:secret@10.0.0.5:554/token/abc", "http://cam.local/video?pwd=secret", "clip.mp4",
            "synthetic:room",
        )
    }  # fmt: skip
    assert names == {
        "webcam:7": "device-usb-Maker_Cam_1234-video-index0.json",
        "/dev/video7": "device-usb-Maker_Cam_1234-video-index0.json",
        "webcam:3": None,
        "/dev/v4l/by-id/usb-Other": "device-usb-Other.json",
        "webcam:FaceTime HD": "device-FaceTime_HD.json",
        "rtsp://user:secret@10.0.0.5:554/token/abc": "host-10.0.0.5-554.json",
        "http://cam.local/video?pwd=secret": "host-cam.local.json",
        "clip.mp4": None,
        "synthetic:room": None,
    }


def test_what_was_kept_is_taken_unless_another_camera_or_none_is_given(tmp_path: Path) -> None:
    source = "rtsp://u:p@camera.local/1"
    plain = RunConfig(source)
    assert with_remembered_camera(plain) == plain
    kept = remember(source, b"{}")
    assert kept is not None
    assert "u:p" not in str(kept)
    assert with_remembered_camera(plain).camera == kept
    given = RunConfig(source, intrinsics=Path("own.yaml"))
    assert with_remembered_camera(given) == given
    for none in (RunConfig(source, camera=Path("none")), RunConfig(source, intrinsics=Path("none"))):
        assert with_remembered_camera(none).camera is None
        assert with_remembered_camera(none).camera_file is None
        assert none.camera_file is None, "commands that remember nothing take it as well"
    assert remember("clip.mp4", b"{}") is None


def test_a_camera_is_calibrated_by_its_motion_without_a_board(tmp_path: Path, spark3r, capfd) -> None:
    """A room through a lens, and what is written serves the next run."""
    out = tmp_path / "camera.json"
    source = "synthetic:room?seed=4&frames=40&size=256x192&step=5&kind=loop&lens=-0.15,0.02,0,0"
    assert spark3r("calibrate", source, "--no-board", "--out", out) == 0
    found, true = read_camera(out), SyntheticSource(source).ground_truth.camera
    assert abs(found.fx / true.fx - 1) < 0.02
    assert abs(found.distortion[0] - true.distortion[0]) < 0.05
    assert read_camera(out.with_suffix(".yaml")) == found
    said = json.loads(out.read_text())
    assert set(said["deviations"]) == {"fx", "fy", "cx", "cy", "k1", "k2"}
    assert abs(found.fx - true.fx) < 3 * said["deviations"]["fx"] < 0.06 * true.fx
    assert "sightings in" in capfd.readouterr().out


def test_motion_that_says_too_little_writes_nothing(tmp_path: Path, spark3r, capfd) -> None:
    out = tmp_path / "camera.json"
    source = "synthetic:room?seed=4&frames=6&size=160x120&kind=still"
    assert spark3r("calibrate", source, "--no-board", "--out", out) == 1
    assert "nothing is written" in (said := capfd.readouterr().err)
    assert "move sideways" in said
    assert spark3r("calibrate", source, "--no-board", "--fisheye", "--out", out) == 1
    assert "calibrate a fisheye by a board" in capfd.readouterr().err
    assert not list(tmp_path.glob("camera.*"))
    known = MotionCalibration(CAMERA, 0.3, dict.fromkeys(("fx", "fy", "cx", "cy", "k1", "k2"), 0.001), 9, 4000)
    assert too_little(known) == ""
    for name, value, words in (
        ("fx", 0.03 * CAMERA.fx, "the focal length is known to 3.0% only"),
        ("cy", 0.03 * CAMERA.width, "the centre"),
        ("k1", 0.1, "the lens is known to 0.1"),
        ("fx", float("nan"), "the focal length"),
    ):
        assert words in too_little(replace(known, deviations=known.deviations | {name: value}))
