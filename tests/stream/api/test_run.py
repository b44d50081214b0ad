"""`spark3r_stream.run` and `Mapper`: what they hand out, that it is what the command line makes, and their ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import spark3r_stream
from spark3r_core.geometry import se3
from spark3r_stream.config import ConfigError
from spark3r_stream.errors import SourceError
from spark3r_stream.evaluation.paths import recorded_path
from spark3r_stream.map.trajectory import read_trajectory
from spark3r_stream.outputs.ply import read_ply
from spark3r_stream.recording.reader import Recording
from spark3r_stream.wire.decode import decode
from spark3r_stream.wire.envelope import PATH_CORRECTION
from spark3r_stream.wire.messages import PathCorrections
from tests.helpers import running, spark3r

SCENE = "synthetic:room?seed=3&frames=24&size=192x144"
SMALL: dict[str, Any] = {"size": 96}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[spark3r_stream.Result], spark3r_stream.Map, Path]:
    """All of a run that also wrote its files and a recording."""
    folder = tmp_path_factory.mktemp("whole")
    run = spark3r_stream.run(SCENE, out=folder / "out", record=str(folder / "run.mcap"), **SMALL)
    return list(run), run.map(), folder


def test_results_are_plain_arrays_in_the_map(
    whole: tuple[list[spark3r_stream.Result], spark3r_stream.Map, Path],
) -> None:
    results, final, folder = whole
    assert [result.frame_id for result in results] == list(range(24))
    assert results[12].time_s == pytest.approx(0.4)
    for result in results:
        assert result.image.shape == (144, 192, 3)
        assert result.world_from_camera is not None
        assert se3.is_se3(result.world_from_camera, tolerance=1e-6)
        assert result.camera is not None
        assert result.camera.matrix.shape == (3, 3)
    keyframes = [keyframe for result in results for keyframe in result.keyframes]
    assert keyframes[0].frame_id == 0
    for keyframe in keyframes:
        height, width = keyframe.depth.shape
        assert (keyframe.camera.width, keyframe.camera.height) == (width, height)
        assert keyframe.points.shape == keyframe.colours.shape == (len(keyframe.point_confidence), 3)
        seen = se3.transform_points(se3.invert(keyframe.world_from_camera), keyframe.points)
        pixels = seen @ keyframe.camera.matrix.T
        column, row = (pixels[:, :2] / pixels[:, 2:]).astype(int).T
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        assert inside.mean() > 0.95
        depth = keyframe.depth[row[inside], column[inside]]
        assert np.median(np.abs(seen[inside, 2] / depth - 1)) < 0.01
    written = read_trajectory(folder / "out" / "trajectory.txt")
    np.testing.assert_allclose(final.time_s, written.time_ns / 1e9)
    np.testing.assert_allclose(final.world_from_camera, written.world_from_camera, atol=1e-6)
    np.testing.assert_array_equal(final.points, read_ply(folder / "out" / "cloud.ply").points)
    assert not running()


def test_the_command_line_repeats_it_byte_by_byte(
    whole: tuple[list[spark3r_stream.Result], spark3r_stream.Map, Path],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert spark3r(monkeypatch, "run", whole[2] / "run.mcap") == 0
    assert "byte by byte" in capfd.readouterr().err


def test_a_recording_says_where_frames_lie_in_the_end(
    whole: tuple[list[spark3r_stream.Result], spark3r_stream.Map, Path],
) -> None:
    """Tracked once more and all: who reads its messages has the path that trajectory.txt has."""
    written = read_trajectory(whole[2] / "out" / "trajectory.txt")
    said = recorded_path(whole[2] / "run.mcap")
    np.testing.assert_array_equal(said.time_ns, written.time_ns)
    np.testing.assert_allclose(said.world_from_camera, written.world_from_camera, atol=1e-6)
    corrected = [decode(m) for m in Recording(whole[2] / "run.mcap").messages([PATH_CORRECTION])]
    assert sum(len(one.frames) for one in corrected if isinstance(one, PathCorrections)) > 12


def test_leaving_the_loop_ends_everything_at_once(tmp_path: Path) -> None:
    for result in spark3r_stream.run(SCENE, out=tmp_path / "out", **SMALL):
        if result.frame_id == 4:
            break
    assert not running()
    assert len(read_trajectory(tmp_path / "out" / "trajectory.txt")) == 5
    assert (tmp_path / "out" / "stats.json").exists()


def test_own_pictures_give_what_the_file_gives(
    tmp_path: Path,
    whole: tuple[list[spark3r_stream.Result], spark3r_stream.Map, Path],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    results, final, _ = whole
    with spark3r_stream.Mapper(record=tmp_path / "own.mcap", **SMALL) as mapper:
        for result in results:
            own = mapper.process(result.image, result.time_s)
            assert (own.frame_id, own.time_s, own.state) == (result.frame_id, result.time_s, result.state)
            np.testing.assert_array_equal(own.world_from_camera, result.world_from_camera)
        with pytest.raises(SourceError, match="in the order of their times"):
            mapper.process(results[0].image, 0.2)
        with pytest.raises(SourceError, match="expected uint8 of shape"):
            mapper.process(results[0].image[..., 0])
        own_map = mapper.finish()
        assert own_map is not None
        np.testing.assert_array_equal(own_map.points, final.points)
        np.testing.assert_array_equal(own_map.world_from_camera, final.world_from_camera)
        with pytest.raises(SourceError, match="the run is over"):
            mapper.process(results[0].image, 5.0)
    assert not running()
    assert spark3r(monkeypatch, "run", tmp_path / "own.mcap") == 0
    assert "byte by byte" in capfd.readouterr().err


def test_a_live_mapper_does_not_wait(whole: tuple[list[spark3r_stream.Result], spark3r_stream.Map, Path]) -> None:
    with spark3r_stream.Mapper(live=True, keep_map=False, **SMALL) as mapper:
        first = mapper.process(whole[0][0].image)
        assert first.world_from_camera is not None
        assert mapper.process(whole[0][1].image).time_s > first.time_s > 1.7e9  # Unix time
        with pytest.raises(ConfigError, match="keeps no map"):
            mapper.map()
        assert mapper.finish() is None


def test_what_is_no_setting_is_said() -> None:
    with pytest.raises(ConfigError, match="did you mean 'max_frames'"):
        spark3r_stream.run(SCENE, max_frame=3)
    with pytest.raises(ConfigError, match="'json' is no setting"):
        spark3r_stream.run(SCENE, json=True)
    with pytest.raises(ConfigError, match="means nothing to Mapper"):
        spark3r_stream.Mapper(pace="realtime")
    with pytest.raises(SourceError, match="cannot be opened"):
        next(spark3r_stream.run("frames:", weights="random", size=96))
    assert not running()
