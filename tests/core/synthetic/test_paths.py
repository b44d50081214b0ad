"""Paths are smooth, collision-free, paced like video, and end where they promise to."""

from __future__ import annotations

import numpy as np
import pytest

from spark3r_core.errors import GeometryError
from spark3r_core.synthetic.paths import CLEARANCE, PATH_KINDS, make_path, paused_times, poses_from_angles
from spark3r_core.synthetic.world import make_worlds

SEEDS = range(6)


@pytest.fixture(scope="module")
def worlds():
    return make_worlds(SEEDS, kinds=["room", "corridor", "court", "room", "room", "court"])


def _turns_deg(poses: np.ndarray) -> np.ndarray:
    cosine = (np.einsum("nij,nij->n", poses[1:, :3, :3], poses[:-1, :3, :3]) - 1) / 2
    return np.rad2deg(np.arccos(np.clip(cosine, -1, 1)))


@pytest.mark.parametrize("kind", [kind for kind in PATH_KINDS if kind != "twin_rooms"])
def test_paths_keep_clear_of_surfaces_and_move_like_video(kind: str, worlds) -> None:
    for index in SEEDS:
        poses = make_path(kind, 90, 100 + index, worlds, index)
        assert poses.shape == (90, 4, 4)
        np.testing.assert_allclose(
            poses[:, :3, :3] @ poses[:, :3, :3].transpose(0, 2, 1), np.eye(3)[None].repeat(90, 0), atol=1e-12
        )
        assert worlds.distance(index)(poses[:, :3, 3]).min() >= CLEARANCE
        steps = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1)
        assert steps.max() < 0.15
        assert _turns_deg(poses).max() < 3.0
        # Smooth: neighbouring steps differ by far less than the largest step allowed.
        assert np.linalg.norm(np.diff(poses[:, :3, 3], n=2, axis=0), axis=1).max() < 0.02
        assert (-poses[:, 1, 3] > 0.2).all()  # above the floor
        assert (poses[:, 1, 1] > 0.5).all()  # upright: the camera's y axis points down


@pytest.mark.parametrize("kind", ["handheld", "robot", "forward", "wander"])
def test_walks_get_somewhere(kind: str, worlds) -> None:
    lengths = []
    for index in SEEDS:
        poses = make_path(kind, 90, 200 + index, worlds, index)
        lengths.append(np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1).sum())
    assert np.median(lengths) > 0.4


def test_loops_end_exactly_where_they_began(worlds) -> None:
    for index in SEEDS:
        poses = make_path("loop", 61, index, worlds, index, step=4.0)
        np.testing.assert_allclose(poses[-1], poses[0], atol=1e-9)
        assert np.linalg.norm(poses[:, :3, 3] - poses[0, :3, 3], axis=1).max() > 0.1


def test_still_is_still(worlds) -> None:
    poses = make_path("still", 20, 1, worlds, 0)
    assert np.ptp(poses, axis=0).max() == 0.0


def test_a_turn_keeps_its_place_and_turns_by_a_degree_per_video_frame(worlds) -> None:
    poses = make_path("turn", 20, 1, worlds, 0, step=7.0)
    assert np.ptp(poses[:, :3, 3], axis=0).max() == 0.0
    np.testing.assert_allclose(_turns_deg(poses), 7.0, atol=0.2)


def test_wandering_comes_back(worlds) -> None:
    poses = make_path("wander", 300, 3, worlds, 0, step=8.0)
    distance = np.linalg.norm(poses[:, None, :3, 3] - poses[None, :, :3, 3], axis=2)
    apart = np.abs(np.subtract.outer(np.arange(300), np.arange(300))) > 100
    assert distance[apart].min() < 0.3
    assert distance.max() > 1.0


def test_a_wall_start_sees_one_wall_first_and_the_room_in_the_end(worlds) -> None:
    for index in (0, 3, 4):
        distance = worlds.distance(index)
        poses = make_path("wall_start", 120, 50 + index, worlds, index)
        begin, turned = poses[0], np.degrees(np.arccos(poses[0, :3, 2] @ poses[-1, :3, 2]))
        axis = int(np.abs(begin[:3, 2]).argmax())
        for across in (-0.5, 0.0, 0.5):
            ray = begin[:3, :3] @ np.array([across, 0.0, 1.0])
            hit = begin[:3, 3] + distance.march(begin[:3, 3], ray) * ray / np.linalg.norm(ray)
            to_wall = min(hit[axis] - distance.room_min[axis], distance.room_max[axis] - hit[axis])
            assert to_wall < 0.1
        assert turned > 40
        assert np.linalg.norm(poses[-1, :3, 3] - begin[:3, 3]) > 0.2


@pytest.mark.parametrize("pause", [1, 20, 21])
def test_a_pause_stands_still_for_exactly_its_frames(pause: int, worlds) -> None:
    times = paused_times(90, pause)
    poses = make_path("handheld", 90, 7, worlds, 0, times=times)
    still = np.flatnonzero(np.ptp(np.stack([poses[1:], poses[:-1]]), axis=0).max((1, 2)) == 0)
    assert len(still) == pause
    assert still[-1] - still[0] == pause - 1
    assert 30 < still.mean() < 60
    assert np.diff(times).max() == 1.0
    with pytest.raises(GeometryError, match="does not fit"):
        paused_times(90, 80)


def test_orbits_look_at_one_point(worlds) -> None:
    poses = make_path("orbit", 60, 5, worlds, 0)
    # The point nearest to all optical axes is close to each of them.
    axes, origins = poses[:, :3, 2], poses[:, :3, 3]
    across = np.eye(3) - axes[:, :, None] * axes[:, None, :]
    target = np.linalg.lstsq(across.reshape(-1, 3), np.einsum("nij,nj->ni", across, origins).ravel(), rcond=None)[0]
    assert np.linalg.norm(np.einsum("nij,nj->ni", across, target - origins), axis=1).max() < 0.15
    assert np.linalg.norm(origins - origins[0], axis=1).max() > 0.1


def test_times_and_step_sample_the_same_path(worlds) -> None:
    dense = make_path("handheld", 31, 4, worlds, 0)
    sparse = make_path("handheld", 4, 4, worlds, 0, step=10.0)
    np.testing.assert_allclose(sparse, dense[::10], atol=1e-12)
    back = make_path("handheld", 0, 4, worlds, 0, times=np.array([30.0, 0.0, 10.0]))
    np.testing.assert_allclose(back, dense[[30, 0, 10]], atol=1e-12)


def test_angles_follow_the_documented_directions() -> None:
    zero = np.zeros(1)
    right = poses_from_angles(np.zeros((1, 3)), np.array([np.pi / 2]), zero, zero)[0]
    np.testing.assert_allclose(right[:3, 2], [1, 0, 0], atol=1e-12)
    down = poses_from_angles(np.zeros((1, 3)), zero, np.array([np.pi / 2]), zero)[0]
    np.testing.assert_allclose(down[:3, 2], [0, 1, 0], atol=1e-12)


def test_unknown_kind_and_bad_times_are_refused(worlds) -> None:
    with pytest.raises(GeometryError, match="moonwalk"):
        make_path("moonwalk", 5, 0, worlds, 0)
    with pytest.raises(GeometryError, match="negative"):
        make_path("handheld", 0, 0, worlds, 0, times=np.array([-1.0]))
    with pytest.raises(GeometryError, match="at least one"):
        make_path("handheld", 0, 0, worlds, 0)
