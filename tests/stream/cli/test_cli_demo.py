"""The commands that need nothing but the package: demo, doctor, cameras; and the bundled network following a camera."""

import json
from pathlib import Path

import pytest

from tests.helpers import spark3r


def test_demo_maps_publishes_receives_and_compares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert spark3r(monkeypatch, "demo", "--out", tmp_path, "--frames", 24) == 0
    out = capfd.readouterr().out
    assert "received 24 of 24 frames" in out
    assert "ATE" in out
    files = {path.name for path in tmp_path.iterdir()}
    assert {"trajectory.txt", "cloud.ply", "intrinsics.json", "stats.json", "preview.png", "accuracy.json"} <= files
    report = json.loads((tmp_path / "accuracy.json").read_text())
    assert report["frames"] == 24
    assert 0 < report["rotation_deg"] < 90


def test_doctor_finds_what_the_tests_run_on(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    assert spark3r(monkeypatch, "doctor") == 0
    out = capfd.readouterr().out
    assert "bundled network" in out
    assert "missing" not in out


def test_cameras_answers_without_a_camera_too(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert spark3r(monkeypatch, "cameras") == 0
    assert capfd.readouterr().out.strip()
