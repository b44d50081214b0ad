"""What a page is told after the map changed."""

from __future__ import annotations

import numpy as np

from spark3r_core.geometry import se3
from spark3r_core.geometry.sim3 import Sim3
from spark3r_stream.map.cloud import PointCloud
from spark3r_stream.map.scene_map import SceneMap
from spark3r_stream.viewer.drawing import Changes, Drawing, most_trusted
from spark3r_stream.viewer.web_viewer import MAX_CLOUDS

RNG = np.random.default_rng(0)
MOVED = Sim3(1.5, se3.exp([0, 0, 0, 0.1, 0.2, 0.3])[:3, :3], np.array([1.0, 2, 3]))


def add_keyframe(scene: SceneMap, submap: int, points: int = 300) -> None:
    """A submap of its own, one unit beside the one before, with the pose of its camera."""
    scene.apply_correction(submap, Sim3(1.0, np.eye(3), np.array([submap, 0.0, 0.0])), 1)
    colours = RNG.integers(0, 256, (points, 3), dtype=np.uint8)
    scene.add_cloud(RNG.normal(size=(points, 3)), colours, RNG.uniform(size=points), submap)
    scene.add_pose(np.eye(4), submap, submap)


def scene_of(keyframes: int, **limits: int) -> SceneMap:
    scene = SceneMap(**limits)
    for submap in range(keyframes):
        add_keyframe(scene, submap)
    return scene


def nothing(changes: Changes) -> bool:
    return not (changes.clouds or changes.places or changes.emptied) and changes.path is changes.keyframes is None


def test_a_keyframe_is_sent_once_and_a_correction_moves_it_without_a_point() -> None:
    scene, drawing = scene_of(3), Drawing()
    first = drawing.update(scene, 0.0, 10.0)
    assert [cloud.slot for cloud in first.clouds] == [place.slot for place in first.places] == [0, 1, 2]
    np.testing.assert_array_equal(first.clouds[1].points, scene.submap_cloud(1).points)
    np.testing.assert_array_equal(first.clouds[1].colours, scene.submap_cloud(1).colours)
    assert nothing(drawing.update(scene, 0.0, 10.0))
    scene.apply_correction(1, MOVED, 2)
    second = drawing.update(scene, 0.0, 10.0)
    assert second.clouds == second.emptied == []
    assert [(place.slot, place.map_from_slot) for place in second.places] == [(1, MOVED)]


def test_a_correction_moves_the_path_and_the_keyframes() -> None:
    scene, drawing = scene_of(3), Drawing()
    before = drawing.update(scene, 0.0, 10.0)
    scene.apply_correction(1, MOVED, 2)
    after = drawing.update(scene, 0.0, 10.0)
    assert before.path is not None
    assert after.path is not None
    assert before.keyframes is not None
    assert after.keyframes is not None
    np.testing.assert_allclose(before.path[:, :, 0], [[0, 1], [1, 2]])
    np.testing.assert_allclose(after.path[0, 1], MOVED.translation)
    np.testing.assert_allclose(after.path[1, 0], MOVED.translation)
    moved = np.any(before.keyframes != after.keyframes, axis=(1, 2)).reshape(3, -1)
    assert moved.any(1).tolist() == [False, True, False]
    np.testing.assert_allclose(after.keyframes.reshape(3, -1, 3)[1, 0], MOVED.translation)


def test_a_frame_grows_the_path_only() -> None:
    scene, drawing = scene_of(3), Drawing()
    drawing.update(scene, 0.0, 10.0)
    scene.add_pose(np.eye(4), 9, 2)
    changes = drawing.update(scene, 0.0, 10.0)
    assert changes.clouds == changes.places == changes.emptied == []
    assert changes.keyframes is None
    assert changes.path is not None
    assert len(changes.path) == 3
    assert drawing.update(scene, 0.0, 12.0).keyframes is not None, "of another size"


def test_points_that_came_later_and_points_that_were_thinned_are_sent_again() -> None:
    scene, drawing = scene_of(2), Drawing()
    drawing.update(scene, 0.0, 10.0)
    scene.add_cloud(RNG.normal(size=(50, 3)), np.zeros((50, 3), np.uint8), RNG.uniform(size=50), 1)
    assert [cloud.slot for cloud in drawing.update(scene, 0.0, 10.0).clouds] == [1]
    scene.limit_points(200)
    thinned = drawing.update(scene, 0.0, 10.0)
    assert sum(len(cloud.points) for cloud in thinned.clouds) <= 200
    assert thinned.clouds


def test_hiding_the_least_trusted_takes_their_share_of_each_submap() -> None:
    scene, drawing = scene_of(2), Drawing()
    full = drawing.update(scene, 0.0, 10.0).clouds
    some = drawing.update(scene, 0.75, 10.0).clouds
    for before, after in zip(full, some, strict=True):
        assert abs(len(after.points) - 0.25 * len(before.points)) <= 2
    cloud = PointCloud(np.zeros((4, 3), np.float32), np.zeros((4, 3), np.uint8), np.float32([0.1, 0.9, 0.4, 0.8]))
    assert most_trusted(cloud, 0.5).confidence.tolist() == np.float32([0.9, 0.8]).tolist()


def test_a_new_session_empties_the_slots_and_uses_them_again() -> None:
    scene, drawing = scene_of(4), Drawing()
    drawing.update(scene, 0.0, 10.0)
    scene.clear()
    add_keyframe(scene, 0)
    changes = drawing.update(scene, 0.0, 10.0)
    assert [cloud.slot for cloud in changes.clouds] == [0]
    assert changes.emptied == [1, 2, 3]
    add_keyframe(scene, 1)
    assert [cloud.slot for cloud in drawing.update(scene, 0.0, 10.0).clouds] == [1]


def test_any_number_of_keyframes_takes_a_bounded_page() -> None:
    """As the page sees it: what it holds is what was sent and not emptied."""
    limits = {"max_points": 3000, "max_clouds": 20, "max_poses": 50}
    scene, drawing, held, order = SceneMap(**limits), Drawing(), {}, []
    for submap in range(300):
        add_keyframe(scene, submap)
        changes = drawing.update(scene, 0.0, 10.0)
        for number in changes.emptied:
            del held[number]
        held |= {cloud.slot: len(cloud.points) for cloud in changes.clouds}
        assert {place.slot for place in changes.places} <= held.keys()
        assert sum(held.values()) == len(scene) <= limits["max_points"]
        assert len(held) == len(scene.cloud_versions)
        assert max(held) < limits["max_clouds"]
        assert changes.path is not None
        assert changes.keyframes is not None
        assert len(changes.path) <= limits["max_poses"]
        assert len(changes.keyframes) <= 10 * limits["max_clouds"]
    order = sorted(scene.cloud_versions)
    assert len(order) == 20
    assert order[0] == 0
    assert order[-1] == 299
    assert max(np.diff(order)) <= 40, "what is left is spread over the whole run"
    assert MAX_CLOUDS >= 2


def test_the_sample_says_where_the_points_are() -> None:
    scene, drawing = scene_of(3), Drawing()
    assert len(drawing.sample()) == 0
    drawing.update(scene, 0.0, 10.0)
    sample, cloud = drawing.sample(), scene.cloud().points
    np.testing.assert_allclose(sample.mean(0), cloud.mean(0), atol=0.3)
    assert {tuple(point) for point in sample.astype(np.float32)} <= {tuple(point) for point in cloud}
