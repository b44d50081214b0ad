"""A keyframe against a measured turn: who is believed, and what goes into the map."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spark3r_core.geometry import se3
from spark3r_core.graph.problem import Similarities
from spark3r_core.stream.adjustment import adjust
from spark3r_core.stream.hinted import by_hint, hinted_edge, measures_way
from spark3r_core.stream.map_graph import map_edges
from spark3r_core.stream.motion_hint import MotionHint, StepStds
from spark3r_core.stream.resection import Resection
from spark3r_core.stream.tracked_frame import TrackedFrame
from tests.core.stream import orbit
from tests.helpers_map import orbit_map

KEY, FRAME = 16, 24


def off(pose: np.ndarray, degrees: float) -> np.ndarray:
    return np.asarray(se3.compose(pose, se3.exp([0, 0, 0, 0, np.deg2rad(degrees), 0])))


def measured(tracked_off: float = 0.0) -> TrackedFrame:
    """The last keyframe, tracked so many degrees off, with its true turn measured."""
    tracked = orbit.tracked(KEY, FRAME)
    return replace(
        tracked,
        key_from_camera=off(tracked.key_from_camera, tracked_off),
        hinted_key_from_camera=tracked.key_from_camera,
    )


def test_without_a_measured_turn_features_are_believed() -> None:
    found = Resection(False)
    assert by_hint(found, orbit_map(), orbit.tracked(KEY, FRAME), FRAME) is found


@pytest.mark.parametrize("by_features", [None, 20.0])
def test_a_keyframe_that_was_tracked_by_the_measured_turn_is_confirmed_whatever_features_say(
    by_features: float | None,
) -> None:
    pose = None if by_features is None else off(orbit.pose(FRAME), by_features)
    assert by_hint(Resection(False, pose), orbit_map(), measured(), FRAME) == Resection(True)


def test_where_features_have_the_measured_turn_and_tracking_has_not_they_are_believed() -> None:
    pose = off(orbit.pose(FRAME), 0.3)
    found = by_hint(Resection(True, pose), orbit_map(), measured(tracked_off=15), FRAME)
    assert found.world_from_camera is pose


def test_where_neither_has_it_the_keyframe_is_turned_in_its_place() -> None:
    world = orbit_map()
    world.keyframes[FRAME] = world.keyframes[FRAME].moved(off(orbit.pose(FRAME), 15), 1.0)
    found = by_hint(Resection(False, off(orbit.pose(FRAME), 20)), world, measured(tracked_off=15), FRAME)
    assert found.confirmed
    np.testing.assert_allclose(found.world_from_camera, orbit.pose(FRAME), atol=1e-6)


def test_a_measured_turn_holds_a_keyframe_in_an_adjustment() -> None:
    """Of a keyframe that lies wrong and is seen by nobody else, adjustment knows the turn alone."""
    world = orbit_map()
    world.edges = [edge for edge in world.edges if edge.second != FRAME]
    edge = hinted_edge(measured(tracked_off=15), FRAME)
    assert edge is not None
    assert hinted_edge(orbit.tracked(KEY, FRAME), FRAME) is None
    world.measured.append(edge)
    world.tracks.drop(FRAME)
    world.keyframes[FRAME] = world.keyframes[FRAME].moved(off(orbit.pose(FRAME), 3), 1.0)
    adjusted = adjust(world, [0, 8, KEY, FRAME], {0}, orbit.HW, focal_is_known=True).verdict.adjusted
    assert adjusted is not None
    key, frame = adjusted.cameras.camera_from_world[2:]
    truth = se3.compose(se3.invert(orbit.pose(FRAME)), orbit.pose(KEY))
    assert np.rad2deg(se3.relative_angle(se3.compose(frame, se3.invert(key)), truth)) < 0.1


def test_a_way_whose_deviation_is_known_holds_a_keyframe_that_nobody_else_sees() -> None:
    world = orbit_map()
    world.edges = [edge for edge in world.edges if edge.second != FRAME]
    edge = hinted_edge(replace(measured(tracked_off=15), hinted_stds=StepStds(0.001, 0.0005)), FRAME)
    assert edge is not None
    assert measures_way(edge)
    world.measured.append(edge)
    world.tracks.drop(FRAME)
    world.keyframes[FRAME] = world.keyframes[FRAME].moved(
        se3.compose(off(orbit.pose(FRAME), 3), se3.exp([0.2, 0, 0, 0, 0, 0])), 1.0
    )
    adjusted = adjust(world, [0, 8, KEY, FRAME], {0}, orbit.HW, focal_is_known=True).verdict.adjusted
    assert adjusted is not None
    key, frame = adjusted.cameras.camera_from_world[2:]
    found = se3.compose(key, se3.invert(frame))
    truth = se3.compose(se3.invert(orbit.pose(KEY)), orbit.pose(FRAME))
    assert np.linalg.norm((found - truth)[:3, 3]) < 0.02 * np.linalg.norm(truth[:3, 3])


@pytest.mark.parametrize("stds", [None, StepStds(np.inf, 0.01)])
def test_a_way_that_is_not_known_is_no_edge_of_the_graph(stds: StepStds | None) -> None:
    edge = hinted_edge(replace(measured(), hinted_stds=stds), FRAME)
    assert edge is not None
    assert not measures_way(edge)


def test_in_the_graph_a_measured_way_takes_the_place_of_one_that_no_tracks_hold() -> None:
    world = orbit_map()
    order = world.order
    nodes = Similarities.of([world.keyframes[one].map_from_keyframe for one in order])
    number = {frame_id: i for i, frame_id in enumerate(order)}
    said = replace(measured(), hinted_key_from_camera=off(measured().key_from_camera, 2), hinted_stds=StepStds(0.01, 0))
    edge = hinted_edge(said, FRAME)
    assert edge is not None
    world.measured.append(edge)

    def between() -> tuple[np.ndarray, float]:
        edges = map_edges(world, nodes, number)
        row = next(i for i, ends in enumerate(zip(edges.first, edges.second, strict=True)) if ends == (2, 3))
        return edges.measured.rotation[row], float(edges.information[row, 0, 0])

    by_tracks, _ = between()
    np.testing.assert_allclose(by_tracks, nodes.relative(np.array([2]), np.array([3])).rotation[0], atol=1e-9)
    world.tracks.drop(FRAME)
    by_sensor, precision = between()
    np.testing.assert_allclose(by_sensor, said.hinted_key_from_camera[:3, :3], atol=1e-9)
    assert precision == pytest.approx(edge.information[0, 0])


def test_deviations_of_a_step_follow_from_those_of_its_poses() -> None:
    pose = np.eye(4)
    at = [MotionHint.of(0, pose, has_position=True, is_sure=True, variances=(v, v / 100)) for v in (0.04, 0.05, 0.04)]
    grown, shrunk, same = at[0].stds_to(at[1]), at[1].stds_to(at[2]), at[0].stds_to(at[2])
    assert (grown.place, grown.turn) == pytest.approx((0.1, 0.01)), "odometry sums its steps up"
    assert shrunk.place == pytest.approx(0.3)
    assert same.place == pytest.approx(np.sqrt(0.08)), "each pose errs by itself"
    assert at[0].stds_to(replace(at[1], variances=None)) is None
    assert replace(at[0], position_xyz=None).stds_to(at[1]).place == np.inf
