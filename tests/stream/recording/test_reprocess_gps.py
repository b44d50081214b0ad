"""A run with the positions of a receiver is in metres and upright, and comes out again byte by byte without them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from spark3r_core.geometry import umeyama
from spark3r_core.geometry.geodesy import LocalFrame
from spark3r_core.geometry.sim3 import Sim3
from spark3r_stream.map.trajectory import read_trajectory
from spark3r_stream.recording.reprocess import RecordedRun
from spark3r_stream.sources.synthetic import SyntheticSource
from tests.helpers_reprocess import assert_repeated

FRAMES, FPS = 70, 10
SOURCE = f"synthetic:room?kind=orbit&step=8&frames={FRAMES}&fps={FPS}&size=160x120&seed=6"
ORIGIN = LocalFrame(48.1, 11.5, 520.0)
ENU_FROM_WORLD = np.array([[1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]])  # y of a world points down
ANTENNA = np.array([0.1, -0.2, 0.0])


def degrees_of(enu: np.ndarray) -> np.ndarray:
    """(N, 3) latitude, longitude, altitude of places near the origin, by Newton's method."""
    found = np.tile((48.1, 11.5, 520.0), (len(enu), 1))
    for _ in range(4):
        north, east = (ORIGIN.enu(found + step) - ORIGIN.enu(found) for step in ([1e-6, 0, 0], [0, 1e-6, 0]))
        off = enu - ORIGIN.enu(found)
        found += np.stack([off[:, 1] / north[:, 1] * 1e-6, off[:, 0] / east[:, 0] * 1e-6, off[:, 2]], 1)
    return found


@pytest.fixture(scope="module")
def fixes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five per second with 2 cm of noise; the fourth and the seventeenth are false."""
    truth = SyntheticSource(SOURCE).ground_truth.world_from_camera[::2]
    places = truth[:, :3, 3] + truth[:, :3, :3] @ ANTENNA
    enu = places @ ENU_FROM_WORLD.T + np.random.default_rng(0).normal(0, 0.02, (len(truth), 3))
    enu[[4, 17]] += 8
    rows = np.column_stack([2 * np.arange(len(truth)) / FPS, degrees_of(enu), np.full(len(truth), 0.02)])
    path = tmp_path_factory.mktemp("gps") / "gps.txt"
    np.savetxt(path, rows, ["%.3f", "%.9f", "%.9f", "%.4f", "%.3f"])
    return path


def test_a_run_with_a_receiver(tmp_path: Path, fixes: Path, spark3r, capfd: pytest.CaptureFixture[str]) -> None:
    recording, out = tmp_path / "gps.mcap", tmp_path / "out"
    given = ("--gps", fixes, "--gps-offset=0.1,-0.2,0")
    assert spark3r("run", SOURCE, *given, "--record", recording, "--out", out) == 0
    stats = json.loads((out / "stats.json").read_text())
    assert (stats["unit"]["length"], stats["unit"]["source"], stats["unit"]["z_up"]) == ("metre", "gps", True)
    known = stats["gps"]
    assert known["keyframes"] >= 12
    assert known["lacks"] == ""
    assert known["keyframes"] - 4 <= known["agreeing"] < known["keyframes"], "two fixes are false"
    truth = SyntheticSource(SOURCE).ground_truth.world_from_camera[:, :3, 3]
    trajectory = read_trajectory(out / "trajectory.txt").world_from_camera[:, :3, 3]
    to_truth = umeyama(trajectory, truth)
    assert to_truth.scale == pytest.approx(1.0, abs=max(0.03, 3 * stats["unit"]["relative_std"]))
    lies = known["enu_from_map"]
    enu_from_map = Sim3.from_quat_xyzw(lies["scale"], lies["quat_xyzw"], lies["translation"])
    np.testing.assert_allclose(enu_from_map.rotation[2, 2], 1.0, atol=0.02, err_msg="z of the map is up")
    first = LocalFrame(**{f"{name}_{'m' if name == 'altitude' else 'deg'}": v for name, v in known["origin"].items()})
    shift = ORIGIN.enu((first.latitude_deg, first.longitude_deg, first.altitude_m))
    off = enu_from_map.apply_to_points(trajectory) + shift - truth @ ENU_FROM_WORLD.T
    assert np.sqrt(np.square(off).sum(1).mean()) < 0.15 * np.linalg.norm(truth.std(0))
    held = [fix for window in RecordedRun.load(recording).decisions for fix in window.new_frames[0].fixes]
    assert len(held) == FRAMES // 2
    again = assert_repeated(spark3r, recording, tmp_path)
    assert again["gps"] == known
    assert spark3r("run", recording, *given) != 0
    assert "holds what that said" in capfd.readouterr().err
