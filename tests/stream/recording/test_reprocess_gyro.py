"""A camera that only turns, fast: with a gyroscope's samples it is tracked, and it comes out again byte by byte."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spark3r_core.geometry import se3
from spark3r_core.synthetic.gyro import gyro_samples
from spark3r_core.synthetic.paths import make_path
from spark3r_core.synthetic.world import make_worlds
from spark3r_stream.map.trajectory import read_trajectory
from spark3r_stream.recording.reader import Recording
from spark3r_stream.recording.reprocess import RecordedRun
from spark3r_stream.sources.synthetic import SyntheticSource
from spark3r_stream.wire import envelope as wire
from spark3r_stream.wire.decode import decode_payload
from spark3r_stream.wire.messages import TrackingState
from tests.helpers_reprocess import assert_repeated

SEED, STEP, FRAMES, FPS, HERTZ = 2, 16, 10, 30, 200
SOURCE = f"synthetic:room?kind=turn&step={STEP}&frames={FRAMES}&seed={SEED}&size=160x120"


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a gyroscope with noise and a bias says of that camera."""
    seconds = np.arange(0, FRAMES / FPS, 1 / HERTZ)
    poses = make_path("turn", 0, SEED, make_worlds([SEED], kinds=["room"]), 0, times=seconds * FPS * STEP)
    path = tmp_path_factory.mktemp("gyro") / "gyro.csv"
    middle = seconds[:-1] + 0.5 / HERTZ
    np.savetxt(path, np.column_stack([middle, gyro_samples(poses, HERTZ)]), "%.7f", ",", header="time,wx,wy,wz")
    return path


def test_a_camera_that_turns_sixteen_degrees_per_frame(
    tmp_path: Path, samples: Path, spark3r, capfd: pytest.CaptureFixture[str]
) -> None:
    """Without samples it is sure of three of its frames."""
    recording, out = tmp_path / "turn.mcap", tmp_path / "out"
    given = ("--gyro", samples, "--gyro-offset", 0)
    assert spark3r("run", SOURCE, *given, "--record", recording, "--out", out) == 0
    results = [decode_payload(one.topic, one.payload) for one in Recording(recording).messages((wire.FRAME,))]
    assert [one.state for one in results[3:]] == [TrackingState.TRACKING] * (FRAMES - 3), "once the map has begun"
    truth = SyntheticSource(SOURCE).ground_truth.world_from_camera
    found = read_trajectory(out / "trajectory.txt").world_from_camera
    for one, true in zip(found, truth, strict=True):
        off = se3.relative_angle(se3.compose(se3.invert(found[0]), one), se3.compose(se3.invert(truth[0]), true))
        assert np.rad2deg(off) < 4
    hints = [window.new_frames[0].hint for window in RecordedRun.load(recording).decisions]
    assert all(hint is not None and hint.is_sure for hint in hints)
    assert_repeated(spark3r, recording, tmp_path)
    assert spark3r("run", recording, *given) != 0
    assert "holds what that said" in capfd.readouterr().err
