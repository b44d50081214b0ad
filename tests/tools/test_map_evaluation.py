"""The numbers of eval_map, on cases whose answer is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from spark3r_core.features.tracks import Tracks
from spark3r_stream.wire.messages import FrameResult, TrackingState
from tools.evaluation.map_numbers import after_loss, places, summarise
from tools.evaluation.map_streams import MapStream, rendered
from tools.evaluation.map_worlds import DARK_FRAMES, LOST_WORLDS, MAP_WORLDS, make_world
from tools.evaluation.tracked_run import Collector, TrackedRun

SIZE = (64, 48)


@pytest.fixture(scope="module")
def turning() -> MapStream:
    """Sixty frames, carried away at frame 15; of the last ones some show what the first ones showed."""
    return rendered(make_world("turn_unseen", 100800, 60, SIZE), None)


def test_every_world_is_told_where_its_camera_is_lost() -> None:
    for name in MAP_WORLDS:
        world = make_world(name, 100800, 60, SIZE)
        assert len(world.dark) == len(world.sequence.world_from_camera)
        assert (world.began is not None) == (name in LOST_WORLDS)
        assert world.dark.sum() == (DARK_FRAMES if name == "blackout" else 0)


def test_what_two_frames_share(turning: MapStream) -> None:
    assert turning.overlap(3, 3) > 0.99
    assert turning.overlap(3, 14) < turning.overlap(3, 5)
    assert turning.overlap(0, 15) == 0
    assert replace(turning, dark=np.ones(60, bool)).overlap(3, 3) == 0


def test_rendered_streams_are_kept(tmp_path: Path) -> None:
    world = make_world("turn_unseen", 100800, 60, (16, 12))
    first = rendered(world, tmp_path)
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(kept.read_bytes())
    second = rendered(make_world("turn_unseen", 100800, 60, (16, 12)), tmp_path)
    np.testing.assert_array_equal(first.images, second.images)
    np.testing.assert_array_equal(first.depth, second.depth)
    rendered(make_world("turn_unseen", 100801, 60, (16, 12)), tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def _world(tracks: Tracks, places_of: dict[int, np.ndarray]) -> Any:
    keyframes = {one: SimpleNamespace(features=SimpleNamespace(places=found)) for one, found in places_of.items()}
    return SimpleNamespace(tracks=tracks, keyframes=keyframes)


def test_revisits_are_found_by_loops_or_tracks_and_false_loops_are_not_missed(turning: MapStream) -> None:
    keyframes = [0, 5, 10, 15, 25, 35, 45, 50, 55, 59]
    none = places(turning, _world(Tracks(), {}), keyframes, [], 30)
    assert none["revisits"] >= 2
    assert none["revisits_found"] == none["tracked_pairs"] == 0
    found = places(turning, _world(Tracks(), {}), keyframes, [(0, 45), (5, 50), (0, 25)], 30)
    assert found["false_loops"] == [(0, 25)]
    assert found["found_by_loops"] == found["revisits_found"] >= 2
    (earlier, later), *_ = [
        (a, b) for b in keyframes for a in keyframes if b - a >= 30 and turning.overlap(a, b) >= 0.5
    ]
    first = np.stack(np.meshgrid(np.arange(8) * 7.0 + 3, np.arange(5) * 9.0 + 4), -1).reshape(-1, 2)
    joined = Tracks()
    joined.add(earlier, later, [(i, i) for i in range(40)])
    for shift in (0.0, 30.0):
        second = turning.seen_at(earlier, later, first)[0] + shift
        found = places(turning, _world(joined, {earlier: first, later: second}), [earlier, later], [], 30)
        assert found["revisits"] == 1
        assert found["revisits_found"] == (shift == 0)


def test_tracks_of_what_is_not_one_thing_are_counted(turning: MapStream) -> None:
    first = np.stack(np.meshgrid(np.arange(8) * 7.0 + 3, np.arange(5) * 9.0 + 4), -1).reshape(-1, 2)
    second, _ = turning.seen_at(0, 3, first)
    tracks = Tracks()
    tracks.add(0, 3, [(i, i) for i in range(40)])
    for shift, false in ((1.0, 0), (8.0, 1)):
        found = places(turning, _world(tracks, {0: first, 3: second + shift}), [0, 3], [], 30)
        assert (found["tracked_pairs"], found["false_tracked_pairs"]) == (1, false)


def _run(stream: MapStream, wrong_from: int) -> TrackedRun:
    """Frames before the loss in the first map, lost for eight, in a second map for ten, and in the first one again;
    from `wrong_from` on, on a keyframe that shows another place."""
    collected = Collector()
    collected.keyframe_ids = [0, 10, 25]
    collected._tracked_on = {0: None, 1: 0, 2: None}
    for frame, pose in enumerate(stream.truth):
        lost, second = 15 <= frame < 23, 23 <= frame < 33
        state = TrackingState.LOST if lost else TrackingState.TRACKING
        submap = 2 if second else 1 if frame >= 10 else 0
        key = frame if frame < wrong_from else 20
        found = FrameResult(frame, "", 0, submap, frame, 0, world_from_camera=pose, state=state, keyframe_id=key)
        collected.results.append(found)
    return TrackedRun(collected, 1.0, 0.0, {}, None)


def test_a_loss_that_was_survived(turning: MapStream) -> None:
    found = after_loss(_run(turning, 60), turning, [(0, 10), (10, 25)])
    assert found["found_again_after"] == 18
    assert found["told_after"] == 0
    assert found["joined_after"] == 10
    assert found["wrong"] == 0
    assert 20 < found["met_after"] < 45


def test_a_loss_that_was_not(turning: MapStream) -> None:
    found = after_loss(_run(turning, 50), turning, [(0, 10)])
    assert found["joined_after"] is None
    assert turning.overlap(20, 50) == 0
    assert found["wrong"] == pytest.approx(10 / 27, abs=1e-3)


def test_a_camera_is_found_again_in_the_map_it_was_in(turning: MapStream) -> None:
    run = _run(turning, 60)
    run.collected._tracked_on = {0: None, 1: None, 2: None}  # a map that was given up before
    assert after_loss(run, turning, [])["found_again_after"] == 18


def test_what_is_asked_for_is_counted() -> None:
    on = {"ate_of_path": 0.02, "keyframes_ate_of_path": 0.004, "wrong_tracking": 0.0}
    row = {"revisits": 4, "revisits_found": 3, "false_loops": [], "false_tracked_pairs": 1, "on": on}
    rows = [
        row | {"off": on | {"keyframes_ate_of_path": 0.01}},
        row | {"off": on | {"keyframes_ate_of_path": 0.005}, "false_loops": [(1, 2)]},
    ]
    found = summarise(rows)
    assert found["recall"] == 0.75
    assert found["loops_do"] == [1, 2]
    assert found["false_loops"] == 1
    assert found["false_tracked_pairs"] == 2
    lost = row | {"off": None, "told_after": 3, "joined_after": None, "found_again_after": 16, "wrong": 0.1}
    found = summarise([lost, lost | {"found_again_after": 15, "wrong": 0.0, "joined_after": 90}])
    assert found["found_again_in_time"] == found["joined"] == found["worlds_with_wrong"] == [1, 2]
    assert found["told_in_time"] == [2, 2]
