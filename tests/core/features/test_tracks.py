"""Tracks: matches of pairs become points that many keyframes see, and contradictions are refused."""

from __future__ import annotations

import numpy as np
import pytest

from spark3r_core.features.tracks import Tracks


def sightings(tracks: Tracks, keyframes: tuple[int, ...] = (0, 1, 2, 3), views: int = 2) -> set[frozenset]:
    """Each track as a set of (keyframe, feature)."""
    track, keyframe, feature = tracks.seen_by(keyframes, views)
    rows = zip(track.tolist(), keyframe.tolist(), feature.tolist(), strict=True)
    by_track: dict[int, set] = {}
    for number, frame, place in rows:
        by_track.setdefault(number, set()).add((frame, place))
    return {frozenset(members) for members in by_track.values()}


def chained() -> Tracks:
    tracks = Tracks()
    tracks.add(0, 1, [(5, 7), (6, 8)])
    tracks.add(1, 2, [(7, 9)])
    return tracks


def test_matches_that_share_a_feature_are_one_track() -> None:
    tracks = chained()
    assert sightings(tracks) == {frozenset({(0, 5), (1, 7), (2, 9)}), frozenset({(0, 6), (1, 8)})}
    assert len(tracks) == 2
    tracks.add(2, 3, [(1, 1)])
    tracks.add(3, 0, [(1, 6)])
    assert frozenset({(0, 6), (1, 8), (2, 1), (3, 1)}) in sightings(tracks), "two tracks that meet become one"
    assert tracks.refused == 0


def test_the_order_of_matches_makes_no_other_tracks() -> None:
    matches = [(0, 1, (5, 7)), (1, 2, (7, 9)), (2, 3, (9, 4)), (0, 3, (5, 4)), (0, 1, (6, 8))]
    rng = np.random.default_rng(0)
    for _ in range(10):
        tracks = Tracks()
        for place in rng.permutation(len(matches)):
            a, b, pair = matches[place]
            tracks.add(a, b, [pair])
        assert sightings(tracks) == {frozenset({(0, 5), (1, 7), (2, 9), (3, 4)}), frozenset({(0, 6), (1, 8)})}


def test_two_features_of_one_keyframe_are_never_one_point() -> None:
    tracks = chained()
    before = sightings(tracks)
    tracks.add(0, 2, [(6, 9)])  # would make features 5 and 6 of keyframe 0 one point
    assert tracks.refused == 1
    assert sightings(tracks) == before
    tracks.add(0, 1, [(5, 7)])
    assert tracks.refused == 1, "what is known already contradicts nothing"


def test_only_what_enough_of_these_keyframes_see() -> None:
    tracks = chained()
    assert sightings(tracks, (0, 1, 2), 3) == {frozenset({(0, 5), (1, 7), (2, 9)})}
    assert sightings(tracks, (0, 2)) == {frozenset({(0, 5), (2, 9)})}
    assert sightings(tracks, (2,)) == set()
    assert all(part.shape == (0,) and part.dtype == np.int64 for part in Tracks().seen_by([0, 1]))


def test_covisibility_counts_tracks() -> None:
    tracks = chained()
    assert tracks.shared(0) == {1: 2, 2: 1}
    assert tracks.shared(2) == {0: 1, 1: 1}
    assert tracks.shared(9) == {}


def test_a_dropped_keyframe_leaves_the_others_joined() -> None:
    tracks = chained()
    tracks.drop(1)
    assert sightings(tracks) == {frozenset({(0, 5), (2, 9)})}
    assert len(tracks) == 1
    tracks.drop(0)
    tracks.drop(2)
    assert len(tracks) == 0
    assert tracks._members == tracks._track_of == {}
    tracks.add(0, 1, [(5, 7)])
    assert len(tracks) == 1


@pytest.mark.parametrize(
    "change", [lambda t: t.add(2, 3, [(9, 1)]), lambda t: t.drop(1), lambda t: t.add(0, 2, [(6, 9)])]
)
def test_a_copy_does_not_change_with_the_first(change) -> None:
    tracks = chained()
    copied = tracks.copy()
    before = sightings(copied), copied.refused, copied.shared(1)
    change(tracks)
    assert (sightings(copied), copied.refused, copied.shared(1)) == before
    change(copied)
    assert sightings(copied) == sightings(tracks)
    assert copied.refused == tracks.refused


def test_tracks_are_made_again_from_their_observations() -> None:
    tracks = chained()
    tracks.add(2, 3, [(1, 1)])
    track, keyframe, feature = tracks.seen_by((0, 1, 2, 3), 2)
    again = Tracks.of(track + 5, keyframe, feature)
    assert sightings(again) == sightings(tracks)
    assert len(again) == len(tracks)
    again.add(3, 0, [(1, 6)])
    assert frozenset({(0, 6), (1, 8), (2, 1), (3, 1)}) in sightings(again), "and they go on"
    assert [part.tolist() for part in again.observations()] == [part.tolist() for part in again.seen_by(range(4), 1)]
    again.drop(1)
    assert again.shared(0) == {2: 2, 3: 1}
    nothing = np.zeros(0, np.int64)
    assert len(Tracks.of(nothing, nothing, nothing)) == 0
