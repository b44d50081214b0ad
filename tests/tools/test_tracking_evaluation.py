"""The numbers of eval_tracking and eval_worlds, on cases whose answer is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spark3r_core.errors import GeometryError
from spark3r_core.geometry import se3
from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.memory.config import MemoryConfig
from spark3r_core.stream import mapper
from spark3r_core.stream.map_update import MapOptions
from spark3r_core.synthetic.sequence import SyntheticSequence
from spark3r_stream.engine.local_mapper import LocalMapper
from spark3r_stream.engine.results import StepOutput
from spark3r_stream.engine.tracking import TrackingReconstructor
from spark3r_stream.errors import EndOfStream
from spark3r_stream.map.trajectory import read_trajectory
from spark3r_stream.wire.messages import (
    CameraView,
    FrameOutput,
    FrameResult,
    KeyframeOutput,
    MapCorrection,
    TrackingState,
)
from tools.eval_tracking import known_focal
from tools.eval_worlds import Rendered, passes
from tools.evaluation import covariance
from tools.evaluation.network import load_network
from tools.evaluation.tracked_run import Collector, HeldSource, focal_at, path_numbers, run_tracked, states_of
from tools.evaluation.truth_of_states import wrong_tracking

DEVIATIONS = np.array([0.02, 0.01, 0.03, 0.004, 0.006, 0.002])


def _result(frame_id: int, pose: np.ndarray | None = None, **fields) -> FrameResult:
    return FrameResult(frame_id, "test", 0, 0, frame_id, 0, world_from_camera=pose, **fields)


def _tracked(frames: int, scale: float, deviations: np.ndarray, seed: int = 0):
    """Results of frames on keyframe 0 with errors drawn from what they say, in a unit of `scale`, and the truth."""
    rng = np.random.default_rng(seed)
    base = se3.exp(rng.normal(0, 1, 6))
    relative = se3.exp(rng.normal(0, 1.0, (frames, 6)))
    relative[0] = np.eye(4)
    truth = {i: se3.compose(base, relative[i]) for i in range(frames)}
    results = []
    for i in range(1, frames):
        mine = relative[i].copy()
        mine[:3, 3] *= scale
        found = se3.compose(mine, se3.exp(-rng.normal(0, deviations)))
        results.append(_result(i, found, keyframe_id=0, covariance=np.diag(DEVIATIONS**2)))
    return results, truth


def test_errors_as_large_as_they_are_said_to_be_are_calibrated_in_any_unit() -> None:
    results, truth = _tracked(3000, 3.7, DEVIATIONS)
    found = covariance.calibration(*covariance.pose_errors(results, truth))
    assert found["frames"] == 2999
    for part in ("pose", "translation", "rotation"):
        assert found[part]["sigma_factor"] == pytest.approx(1, abs=0.06)
        assert found[part]["within_95_percent"] == pytest.approx(0.95, abs=0.02)


def test_errors_twice_as_large_as_they_are_said_to_be_show() -> None:
    found = covariance.calibration(*covariance.pose_errors(*_tracked(2000, 1.0, 2 * DEVIATIONS)))
    assert found["pose"]["sigma_factor"] == pytest.approx(2, abs=0.12)


def test_only_tracked_frames_with_a_truth_count() -> None:
    results, truth = _tracked(20, 1.0, DEVIATIONS)
    unsure = [_result(i, np.eye(4), keyframe_id=0, covariance=np.eye(6), state=state, mapped=mapped)
              for i, state, mapped in ((1, TrackingState.LOST, False), (2, TrackingState.TRACKING, True))]  # fmt: skip
    unsure += [_result(500, np.eye(4), keyframe_id=0, covariance=np.eye(6)), _result(3, np.eye(4), keyframe_id=0)]
    errors, covariances = covariance.pose_errors(results + unsure, truth)
    assert errors.shape == (19, 6)
    assert covariances.shape == (19, 6, 6)
    assert covariance.calibration(*covariance.pose_errors(unsure, truth)) == {"frames": 0}


def test_a_singular_covariance_is_refused() -> None:
    with pytest.raises(GeometryError, match="singular"):
        covariance.nees(np.ones((1, 6)), np.zeros((1, 6, 6)))


def test_the_collector_keeps_poses_as_published_and_moves_the_final_ones() -> None:
    pose = se3.make_pose(np.eye(3), [1.0, 0.0, 0.0])
    collector = Collector()
    none = np.zeros((0, 3), np.float32)
    keyframe = KeyframeOutput(
        0, 0, 0, 0, 0, CameraView(np.eye(3), 2, 2), np.ones((2, 2), np.float32), np.ones((2, 2), np.float32),
        np.zeros((2, 2, 3), np.uint8), none, np.zeros((0, 4), np.uint8), np.zeros(0, np.float32), Sim3(),
    )  # fmt: skip
    collector.window([], StepOutput([FrameOutput(_result(0, pose, keyframe_id=0))], keyframes=[keyframe]))
    collector.window([], StepOutput([FrameOutput(_result(1, None, valid=False))]))
    moved = MapCorrection(0, 1, Sim3(2.0, np.eye(3), np.array([0.0, 1.0, 0.0])))
    collector.window([], StepOutput([], corrections=[moved]))
    np.testing.assert_allclose(collector.published[0][:3, 3], [1, 0, 0])
    np.testing.assert_allclose(collector.final()[0][:3, 3], [2, 1, 0])
    assert set(collector.published) == set(collector.final()) == {0}
    assert states_of(collector.results) == {"TRACKING": 1, "FAILED": 1}


def test_path_numbers_leave_out_what_has_no_pose() -> None:
    truth = np.stack([se3.make_pose(np.eye(3), [i, i % 3, 0.1 * i * i]) for i in range(30)])
    found = {i: truth[i] for i in range(30) if i not in (4, 5)}
    numbers = path_numbers(found, np.arange(30), truth, 8)
    assert numbers is not None
    assert numbers["frames"] == 28
    assert numbers["ate_of_spread"] < 1e-9
    assert numbers["rotation_8_apart_deg"] < 1e-5
    assert path_numbers({0: truth[0]}, np.arange(30), truth, 8) is None


def test_the_focal_length_is_that_of_the_newest_frame_up_to_the_one_asked_for() -> None:
    results = [_result(i, camera=CameraView(np.diag([100.0 + i, 1, 1]), 4, 3) if i != 5 else None) for i in range(8)]
    assert focal_at(results, 5) == 104
    assert focal_at(results[:1], 100) == 100
    assert focal_at([], 5) is None


def test_a_world_passes_by_the_issue() -> None:
    row = {"final": {"ate": 1.04, "ate_of_path": 0.03}, "tracking_alone": {"ate": 1.0}, "focal_error": -0.1}
    assert passes(row) == {"focal": True, "ate_of_path": True, "not_worse": True}
    row = {"final": {"ate": 1.06, "ate_of_path": 0.031}, "tracking_alone": {"ate": 1.0}, "focal_error": 0.11}
    assert not any(passes(row).values())
    assert not any(passes({"final": None, "tracking_alone": None, "focal_error": None}).values())


def test_held_frames_come_once_each_and_then_the_end() -> None:
    source = HeldSource("held", [np.full((4, 6, 3), i, np.uint8) for i in range(3)])
    assert source.info.size == (6, 4)
    assert [int(source.read().image[0, 0, 0]) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(EndOfStream):
        source.read()


def test_still_frames_are_those_that_did_not_move() -> None:
    truth = np.stack([se3.make_pose(np.eye(3), [x, 0, 0]) for x in (0.0, 1, 1, 1, 2)])
    world = Rendered("uri", [np.zeros((2, 2, 3), np.uint8)] * 5, truth, 100.0)
    assert world.still.tolist() == [False, False, True, True, False]
    assert len(world.of_frames(~world.still).images) == 3


@pytest.mark.parametrize("adjusts", [True, False])
def test_a_run_gives_every_frame_and_adjusts_only_when_asked(adjusts: bool, monkeypatch, tmp_path) -> None:
    calls = []
    own = mapper.adjust
    monkeypatch.setattr(mapper, "adjust", lambda *args, **kwargs: calls.append(1) or own(*args, **kwargs))
    sequence = SyntheticSequence(3, 40, "orbit", (96, 128), world_kind="room", step=2.0)
    source = HeldSource("orbit", [sequence.frame(i)[0] for i in range(40)])
    host = LocalMapper(load_network("bundled"), MemoryConfig(max_new_frames=1), MapOptions(adjusts=adjusts))
    engine = TrackingReconstructor(host, 96)
    run = run_tracked(source, engine, out=tmp_path, adjusts_all=adjusts)
    assert len(run.collected.keyframe_ids) > 1
    assert bool(calls) == adjusts
    assert [one.frame_id for one in run.collected.results] == list(range(40))
    written = read_trajectory(tmp_path / "trajectory.txt").world_from_camera
    final = run.collected.final()
    np.testing.assert_allclose(written, np.stack([final[i] for i in sorted(final)]), atol=1e-6)


def test_a_focal_length_that_nobody_knows_is_none(tmp_path) -> None:
    assert known_focal(tmp_path) is None
    for text, expected in (('{"note": "unknown"}', None), ('{"fx": null}', None), ('{"fx": 532}', 532.0)):
        (tmp_path / "intrinsics.json").write_text(text)
        assert known_focal(tmp_path) == expected


def test_wrong_frames_are_counted_where_they_were_published_or_where_they_lie_in_the_end() -> None:
    results, truth = _tracked(50, 1.0, 1e-9 * DEVIATIONS)
    wrong = [replace(one, world_from_camera=se3.compose(one.world_from_camera, se3.exp([3.0, 0, 0, 0, 0, 0])))
             if one.frame_id % 5 == 0 else one for one in results]  # fmt: skip
    collector = Collector(results=wrong, median_depth={0: 1.0})
    collector._placed[0], collector._tracked_on[0] = Sim3(), None
    assert wrong_tracking(collector, truth)["wrong_share"] == pytest.approx(9 / 49, abs=1e-4)
    assert wrong_tracking(collector, truth, truth)["wrong_share"] == 0
    assert wrong_tracking(collector, truth, {0: truth[0]}) == {"frames": 0}
