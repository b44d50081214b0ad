"""Which keyframes are matched and adjusted together, and what is taken of the answer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spark3r_core.features.rootsift import Features, extract, match
from spark3r_core.geometry import se3
from spark3r_core.photometric import depth_grid
from spark3r_core.stream import joined_tracks
from spark3r_core.stream.adjustment import HELD, LEAST_BEND_POINTS, LOCAL, _told, adjust, bent, local_set
from spark3r_core.stream.guessed_focal import DEPENDENT
from spark3r_core.stream.joined_tracks import COVISIBLE, LATEST, join_tracks, neighbours
from spark3r_core.stream.keyframe_map import KeyframeMap
from spark3r_core.stream.map_problem import enough
from tests.core.stream import orbit
from tests.core.stream.test_camera_sizes_and_map import keyframe

FOCAL = float(orbit.INTRINSICS[0, 0])


def world_of(indices: tuple[int, ...], off: np.ndarray | None = None) -> KeyframeMap:
    """Keyframes where they are, joined; `off`: a twist that the last one is wrong by."""
    world = KeyframeMap({index: keyframe(index) for index in indices}, focal=FOCAL, focal_std=0.0)
    for place, index in enumerate(indices):
        join_tracks(world, index, indices[:place], orbit.HW)
    if off is not None:
        last = indices[-1]
        wrong = se3.compose(orbit.pose(last), se3.exp(off))
        world.keyframes[last] = world.keyframes[last].moved(wrong, 1.0)
    return world


def test_keyframes_that_have_no_point_before_both_stay_where_they_are() -> None:
    world = world_of((0, 8), off=np.array([0, 0, 0, 0, np.pi, 0]))
    found = adjust(world, (0, 8), {0}, orbit.HW, focal_is_known=True)
    assert not found.verdict.accepted
    assert "seen by two keyframes" in found.verdict.why
    assert found.map.keyframes[8] is world.keyframes[8]


def test_a_picture_of_another_place_joins_nothing() -> None:
    world = world_of((0, 8))
    joined = len(world.tracks)
    assert joined > 100
    other = extract(orbit.elsewhere())
    world.keyframes[16] = replace(keyframe(16), features=other, feature_depth=np.ones(len(other)))
    assert join_tracks(world, 16, [0, 8], orbit.HW) == 0
    assert len(world.tracks) == joined
    assert {(0, 16), (8, 16)} <= world.matched, "and is not tried again"
    assert join_tracks(world, 8, [0], orbit.HW) == 0


def test_a_wrong_pose_is_mended_and_held_ones_stay() -> None:
    indices = (0, 8, 16)
    world = world_of(indices, np.array([0.06, 0.0, 0.03, 0.0, 0.02, 0.0]))
    given = world.keyframes[16].world_from_camera.copy()
    before = orbit.error(world.keyframes[16].world_from_camera, orbit.pose(16))
    found = adjust(world, indices, {0, 8}, orbit.HW, focal_is_known=True)
    assert found.verdict.accepted
    assert found.verdict.after < found.verdict.before
    after = orbit.error(found.map.keyframes[16].world_from_camera, orbit.pose(16))
    assert after[1] < 0.4 * before[1]
    for held in (0, 8):
        assert found.map.keyframes[held] is world.keyframes[held]
    assert found.map.focal == FOCAL
    np.testing.assert_array_equal(world.keyframes[16].world_from_camera, given, "the map that was given stays")
    again = adjust(world, indices, {0, 8}, orbit.HW, focal_is_known=True)
    assert all(
        again.map.keyframes[i].world_from_camera.tobytes() == found.map.keyframes[i].world_from_camera.tobytes()
        for i in indices
    )


def test_without_tracks_the_map_is_the_one_given() -> None:
    world = KeyframeMap({index: keyframe(index) for index in (0, 8)}, focal=FOCAL)
    found = adjust(world, (0, 8), {0}, orbit.HW, focal_is_known=True)
    assert found.map is world
    assert not found.verdict.accepted
    assert found.verdict.why == "no tracks"


def joined_chain(count: int, reach: int = 2) -> KeyframeMap:
    """Keyframes of a corridor: each shares 30 tracks with those `reach` before it; no pictures."""
    one = keyframe(0)
    world = KeyframeMap({i: replace(one, frame_id=i) for i in range(count)}, focal=FOCAL, focal_std=0.0)
    for i in range(count):
        for j in range(max(0, i - reach), i):
            world.tracks.add(
                j, i, [(1000 * j + 100 * (i - j) + n, 1000 * i + 10_000 + 50 * (i - j) + n) for n in range(30)]
            )
    return world


def test_a_new_keyframe_is_matched_with_the_latest_and_with_old_ones_of_the_same_place() -> None:
    world = joined_chain(12)
    assert set(neighbours(world, 12)) == set(range(4, 12))  # the latest, and the two that these see
    world.tracks.add(0, 11, [(n, n) for n in range(90)])  # a loop
    found = neighbours(world, 12)
    assert found[0] == 0
    assert found[-LATEST:] == list(range(12 - LATEST, 12))
    assert len(found) <= LATEST + COVISIBLE
    assert 12 not in found


def test_a_local_adjustment_holds_what_is_around_it() -> None:
    young = joined_chain(LOCAL)
    assert local_set(young, LOCAL - 1) == (list(range(LOCAL)), {0})
    world = joined_chain(30)
    chosen, held = local_set(world, 29)
    assert 29 in chosen
    assert 29 not in held
    assert held
    assert held <= set(chosen)
    assert len(chosen) <= LOCAL + HELD
    assert all(index >= 20 for index in chosen), "far keyframes have no say"
    unknown = replace(world, focal_std=float("inf"))
    chosen, held = local_set(unknown, 29)
    assert (len(chosen), held) == (3 * LOCAL, {30 - 3 * LOCAL}), "a focal length is learned from the whole of it"


def test_enough_sightings_take_the_longest_tracks() -> None:
    track = np.repeat(np.arange(400), [4] * 20 + [2] * 380)
    keyframes = np.concatenate([np.tile([0, 1, 2, 3], 20), np.tile([0, 1], 380)])
    chosen = enough(track, keyframes, 50)
    assert chosen[:80].all()
    assert np.bincount(keyframes[chosen]).tolist() == [50, 50, 20, 20]
    assert all(len(set(chosen[track == number])) == 1 for number in range(400)), "a track as a whole or not at all"
    assert enough(track, keyframes, 1000).all()


def test_matches_of_a_followed_camera_are_where_they_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a tiled wall: a third of all matches are of the next tile, and epipolar geometry says nothing."""
    world = KeyframeMap({index: keyframe(index) for index in (0, 4, 8)}, focal=FOCAL, focal_std=0.0)
    wrong: set[int] = set()

    def tiled(first: Features, second: Features) -> np.ndarray:
        pairs = match(first, second)
        off = np.linalg.norm(first.places[pairs[:, 0], None] - first.places[None], axis=2)
        away = pairs[:, 0].copy()
        away[::3] = np.argmin(np.abs(off[::3] - 60), 1)  # about a third of the width
        wrong.update(set(zip(away.tolist(), pairs[:, 1].tolist(), strict=True)) - set(map(tuple, pairs.tolist())))
        return np.stack([away, pairs[:, 1]], 1)

    monkeypatch.setattr(joined_tracks, "match", tiled)
    monkeypatch.setattr(joined_tracks, "epipolar_inliers", lambda a, b, width: np.ones(len(a), bool))
    plain = world.draft()
    every = join_tracks(plain, 4, [0], orbit.HW)
    followed = join_tracks(world, 4, [0], orbit.HW, followed_on=0)
    assert followed == pytest.approx(2 * every / 3, abs=0.05 * every)
    _, seer, feature = world.tracks.observations()  # sorted by track
    joined = set(zip(feature[seer == 0].tolist(), feature[seer == 4].tolist(), strict=True))
    assert not joined & wrong
    elsewhere = world.draft()
    elsewhere.keyframes[8] = elsewhere.keyframes[8].moved(orbit.pose(24), 1.0)
    assert join_tracks(elsewhere, 8, [4], orbit.HW, followed_on=4) > 0, "tracking is wrong: features are believed"


def test_depth_is_bent_to_sparse_points() -> None:
    rng = np.random.default_rng(0)
    one, fractions = keyframe(0), rng.uniform(0, 1, (400, 2))
    nodes = 0.1 * rng.normal(size=depth_grid.NODES)
    log_ratio = depth_grid.weights_numpy(*fractions.T).astype(float) @ nodes + 0.2
    found, known = bent(one, log_ratio, fractions)
    expected = one.depth * depth_grid.factors(nodes, *orbit.HW) * np.exp(0.2)
    assert np.abs(np.log(found.depth / expected)).mean() < 0.03
    at = np.isfinite(one.feature_depth)
    u, v = np.clip(one.features.places / [192, 144], 0, 1).T
    wanted = np.log(one.feature_depth) + depth_grid.weights_numpy(u, v) @ nodes + 0.2
    assert np.abs(np.log(found.feature_depth) - wanted)[at].mean() < 0.03
    assert known is not None
    assert np.trace(known) > depth_grid.NODE_PRECISION * depth_grid.NODES, "they know more than the network"
    assert bent(one, log_ratio[: LEAST_BEND_POINTS - 1], fractions[: LEAST_BEND_POINTS - 1]) == (one, None)


def test_matches_that_contradict_each_other_adjust_nothing() -> None:
    """False matches, as a plane lets them through: an adjustment to them would be better than nothing, and wrong."""
    indices = (0, 8, 16, 24, 32, 40)
    world = world_of(indices)
    rng = np.random.default_rng(0)
    for index, one in list(world.keyframes.items()):
        shuffled = replace(one.features, places=rng.permutation(one.features.places))
        world.keyframes[index] = replace(one, features=shuffled)
    found = adjust(world, indices, {0}, orbit.HW, focal_is_known=True, iterations=30)
    assert not found.verdict.accepted
    assert found.map is world


@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_a_wrong_focal_length_comes_nearer(factor: float) -> None:
    indices = (0, 8, 16, 24, 32, 40)
    world = world_of(indices)
    guess = replace(world, focal=FOCAL * factor, focal_std=float("inf"), network_focals=[FOCAL * factor] * 6)
    found = adjust(guess, indices, {0}, orbit.HW, focal_is_known=False, iterations=30)
    assert found.verdict.accepted
    assert abs(np.log(found.map.focal / FOCAL)) < 0.6 * abs(np.log(factor))
    assert found.map.focal_std < 0.3


def test_a_focal_length_that_is_only_refined_is_known_no_worse_and_not_by_its_own_prior() -> None:
    indices = (0, 8, 16, 24, 32, 40)
    world = world_of(indices, np.array([0.05, 0, 0, 0, 0.02, 0]))
    known = replace(world, focal_std=0.015, settled_focal=FOCAL)
    found = adjust(known, indices, {0}, orbit.HW, focal_is_known=False, iterations=30)
    assert found.verdict.accepted
    assert 0 < found.map.focal_std <= 0.015
    assert abs(np.log(found.map.focal / FOCAL)) < 2 * found.map.focal_std
    assert _told(0.02, 0.02) == np.inf, "where the equations know no more than the prior, sightings said nothing"
    assert _told(0.012, 0.02) == pytest.approx(DEPENDENT * 0.015), "1/0.012^2 = 1/0.02^2 + 1/0.015^2"
