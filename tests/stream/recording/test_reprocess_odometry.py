"""Poses of a robot with deviations, by a clock that is off: found, and byte by byte the same without the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spark3r_core.geometry import se3
from spark3r_stream.recording.reprocess import RecordedRun
from spark3r_stream.sources.synthetic import SyntheticSource
from tests.helpers_reprocess import assert_repeated

FRAMES, FPS, SHIFT_S = 200, 30, 0.22
SOURCE = f"synthetic:room?kind=handheld&step=2&frames={FRAMES}&size=160x120&seed=7"


@pytest.fixture
def poses(tmp_path: Path) -> Path:
    """One for each frame, and still ones before and after, each with six deviations that grow."""
    frames = np.arange(-60, FRAMES + 60)
    truth = SyntheticSource(SOURCE).ground_truth.world_from_camera[np.clip(frames, 0, FRAMES - 1)]
    grown = 0.002 * np.sqrt(np.arange(len(frames)))[:, None].repeat(3, axis=1)
    rows = np.column_stack([frames / FPS - SHIFT_S, *se3.to_quat_xyzw(truth), grown, 0.2 * grown])
    np.savetxt(tmp_path / "poses.txt", rows, "%.6f")
    return tmp_path / "poses.txt"


def test_a_run_with_odometry_whose_clock_is_found(
    tmp_path: Path, poses: Path, spark3r, capfd: pytest.CaptureFixture[str]
) -> None:
    recording = tmp_path / "run.mcap"
    assert spark3r("run", SOURCE, "--odometry", poses, "--odometry-offset", "auto", "--record", recording) == 0
    found = [line for line in capfd.readouterr().err.splitlines() if "its clock is off by" in line]
    assert len(found) == 1
    assert float(found[0].split("off by ")[1].split(" ")[0]) == pytest.approx(SHIFT_S, abs=1 / FPS / 4)
    hints = [window.new_frames[0].hint for window in RecordedRun.load(recording).decisions]
    sure = [hint.is_sure for hint in hints if hint is not None]
    assert not sure[0]
    assert sure[-1]
    assert sorted(sure) == sure, "once it is found it stays"
    assert hints[-1] is not None
    assert hints[-1].variances is not None
    assert_repeated(spark3r, recording, tmp_path)
