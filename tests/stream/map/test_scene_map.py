from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark3r_core.geometry import Sim3, se3
from spark3r_core.geometry.rotation import exp_so3
from spark3r_stream.map import scene_map
from spark3r_stream.map.scene_map import SceneMap
from spark3r_stream.wire.messages import (
    Cloud,
    FrameResult,
    MapCorrection,
    MapCorrections,
    PathCorrection,
    PathCorrections,
    SessionState,
    Status,
    TrackingState,
)

RNG = np.random.default_rng(0)


def random_cloud(count: int = 200) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return (
        RNG.normal(size=(count, 3)).astype(np.float32),
        RNG.integers(0, 256, (count, 4)).astype(np.uint8),
        RNG.uniform(size=count).astype(np.float32),
    )


def result(frame_id: int, **values: object) -> FrameResult:
    pose = se3.exp([frame_id, 0, 0, 0, 0.1 * frame_id, 0])
    known = {"source_id": "s", "epoch": 0, "submap": 0, "captured_ns": frame_id, "published_ns": 0}
    return FrameResult(frame_id, **{**known, "world_from_camera": pose, **values})  # type: ignore[arg-type]


def test_messages_fill_the_map() -> None:
    scene = SceneMap()
    points, colours, confidence = random_cloud()
    scene.add(result(0))
    scene.add(Cloud(0, "submap_0", points, colours, confidence))
    assert {tuple(point) for point in scene.cloud().points} <= {tuple(point) for point in points}
    assert len(scene) > 190
    version = scene.version
    scene.add(Status(SessionState.RUNNING))
    scene.add(result(1, valid=False, world_from_camera=None, state=TrackingState.LOST))
    assert scene.version == version
    assert len(scene.trajectory()) == scene.num_poses == 1


@pytest.mark.parametrize("frames", [4, 5, 9])
def test_frames_that_were_tracked_once_more_move(frames: int) -> None:
    """The newest one too, which is kept beside those that are spread over the run."""
    scene = SceneMap(max_poses=4)
    for frame_id in range(frames):
        scene.add(result(frame_id), "left")
    again = se3.exp([0, 1, 0, 0, 0, 0.5])
    before = scene.trajectory()
    scene.add(PathCorrections((PathCorrection(frames - 1, 0, again), PathCorrection(0, 0, again))), "right")
    np.testing.assert_array_equal(scene.trajectory().world_from_camera, before.world_from_camera)
    scene.add(PathCorrections((PathCorrection(frames - 1, 0, again), PathCorrection(0, 0, again))), "left")
    after = scene.trajectory()
    np.testing.assert_array_equal(after.time_ns, before.time_ns)
    np.testing.assert_array_equal(after.world_from_camera[[0, -1]], [again, again])
    np.testing.assert_array_equal(after.world_from_camera[1:-1], before.world_from_camera[1:-1])


def test_a_correction_moves_points_and_poses_of_its_submap_only() -> None:
    scene = SceneMap()
    for submap in (0, 1):
        scene.add_cloud(*random_cloud(), submap=submap)
        scene.add(result(submap, submap=submap))
    before_cloud, before = scene.cloud(), scene.trajectory()
    moved = Sim3(2.0, exp_so3([0.1, 0.2, 0.3]), np.array([5.0, 6.0, 7.0]))
    scene.add(MapCorrections((MapCorrection(1, 3, moved),)))
    after_cloud, after = scene.cloud(), scene.trajectory()
    first = len(before_cloud.points) - len(before_cloud.points) // 2
    np.testing.assert_array_equal(after.world_from_camera[0], before.world_from_camera[0])
    np.testing.assert_allclose(after.world_from_camera[1], moved.apply_to_poses(before.world_from_camera[1]))
    unchanged = np.all(after_cloud.points == before_cloud.points, axis=1)
    assert unchanged.sum() in range(first - 10, first + 10)
    np.testing.assert_allclose(
        after_cloud.points[~unchanged], moved.apply_to_points(before_cloud.points[~unchanged]), rtol=1e-4, atol=1e-4
    )
    assert not scene.apply_correction(1, Sim3(), revision=2)  # a late message of an older revision
    np.testing.assert_array_equal(scene.map_from_submap(1).translation, [5.0, 6.0, 7.0])
    assert scene.apply_correction(1, Sim3(), revision=4)


def test_points_in_the_camera_frame_go_through_its_pose() -> None:
    pose = se3.exp([1, 2, 3, 0.1, 0.2, 0.3])
    points, colours, confidence = random_cloud(20)
    scene = SceneMap()
    scene.add_cloud(points, colours, confidence, submap_from_points=pose)
    expected = se3.transform_points(pose, points).astype(np.float32)
    found = {tuple(point) for point in scene.cloud().points}
    assert found
    assert found <= {tuple(point) for point in expected}


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 60)), max_size=40), st.integers(8, 100))
@settings(max_examples=30, deadline=None)
def test_the_bound_holds_over_any_number_of_submaps(clouds: list[tuple[int, int]], max_points: int) -> None:
    scene = SceneMap(max_points)
    for submap, count in clouds:
        scene.add_cloud(*random_cloud(count), submap=submap)
        assert len(scene) == len(scene.cloud().points) <= max_points


def test_poses_are_thinned_and_the_newest_is_never_missing() -> None:
    scene = SceneMap(max_poses=16)
    for index in range(1000):
        scene.add_pose(np.eye(4), index)
        assert len(scene.trajectory()) <= 17
        assert scene.trajectory().time_ns[-1] == index
    assert scene.num_poses == 1000


def test_unusable_clouds_wait_for_a_usable_one_and_clear_forgets() -> None:
    scene = SceneMap()
    nothing = np.zeros((0, 3)), np.zeros((0, 3), np.uint8), np.zeros(0)
    scene.add_cloud(*nothing)
    scene.add_cloud(np.full((3, 3), np.nan), np.zeros((3, 3), np.uint8), np.ones(3))
    scene.add_cloud(np.ones((3, 3)), np.zeros((3, 3), np.uint8), np.ones(3))  # no extent, so no scale
    assert len(scene) == 0
    scene.add_cloud(*random_cloud())
    scene.add_cloud(*nothing)
    assert len(scene) > 190
    scene.clear()
    assert len(scene) == len(scene.cloud().points) == len(scene.trajectory()) == 0


def test_submaps_without_end_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene_map, "MAX_SUBMAPS", 10)
    scene = SceneMap()
    rng = np.random.default_rng(0)
    for submap in range(25):
        scene.add_cloud(rng.random((3, 3)), np.zeros((3, 4), np.uint8), np.ones(3), submap)
        assert scene.apply_correction(submap, Sim3(2.0, np.eye(3), np.zeros(3)), 1)
    assert len(scene._clouds) == len(scene._map_from_submap) == 10
    assert scene.map_from_submap(24).scale == 2.0  # the newest stay
    assert scene.map_from_submap(14).scale == 1.0
    assert len(scene) == 30


def test_a_cloud_of_the_same_keyframe_takes_the_place_of_the_first() -> None:
    scene = SceneMap()
    rough, better, next_one = (random_cloud(50) for _ in range(3))
    scene.add(Cloud(7, "submap_0", *rough))
    scene.add(Cloud(8, "submap_1", *next_one))
    scene.add(Cloud(7, "submap_0", *better))
    held = {tuple(point) for point in scene.cloud().points}
    assert held <= {tuple(point) for point in (*better[0], *next_one[0])}
    assert len(held) > 80
    scene.add(Cloud(9, "submap_0", *rough))  # another frame of the submap, as without keyframes
    assert len(scene) > 120


def test_a_late_viewer_takes_the_better_cloud_for_what_the_snapshot_held() -> None:
    scene = SceneMap()
    rough, better = random_cloud(50), random_cloud(50)
    scene.note_cloud_time(0, 7)
    scene.add_cloud(*rough, submap=0)
    scene.add(Cloud(7, "submap_0", *better))
    assert {tuple(point) for point in scene.cloud().points} <= {tuple(point) for point in better[0]}
