"""A known height over the floor and a known way: the scale they give, and what they do not take for one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spark3r_core.errors import GeometryError
from spark3r_core.geometry.rotation import exp_so3
from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.metric.baseline import BaselineEvidence
from spark3r_core.metric.distance import DistanceEvidence, NamedPoint
from spark3r_core.metric.floor import FloorEvidence, LowPoints, find_floor, low_points
from spark3r_core.metric.measured import MetricMap, robot_from_map
from spark3r_core.metric.options import MetricOptions
from spark3r_core.metric.sensor_depth import SensorDepthEvidence, depth_ratio

HEIGHT = 0.6  # metres, of a camera that looks ahead and 10 degrees down
UNITS = 2.5  # of the map per metre
WORLD = exp_so3(np.array([0.0, 0.0, 0.2]))  # the map leans against the world


def camera(x: float, height: float = HEIGHT) -> Sim3:
    """map_from_camera at (x, -height, 0) of a world whose y points down, with the floor at 0."""
    turn = WORLD @ exp_so3(np.array([-np.radians(10.0), 0.0, 0.0]))
    return Sim3(1.0, turn, UNITS * (WORLD @ [x, -height, 0.0]))


def seen(lies: Sim3, rng: np.random.Generator, with_table: bool = True, noise: float = 0.01) -> LowPoints:
    """Points of the floor, a table, a wall and clutter, in the camera, in units of the map."""
    n = 150
    floor = np.column_stack([rng.uniform(-2, 2, n), np.zeros(n), rng.uniform(0.8, 5, n)])
    many = 2 * n  # a table that is seen better than the floor
    table = np.column_stack([rng.uniform(-1, 1, many), np.full(many, -0.3), rng.uniform(1, 3, many)])
    wall = np.column_stack([rng.uniform(-2, 2, n), rng.uniform(-0.6, 0, n), np.full(n, 5.0)])
    clutter = np.column_stack([rng.uniform(-2, 2, n), rng.uniform(-0.6, 0, n), rng.uniform(1, 5, n)])
    points = np.concatenate([floor, table, wall, clutter] if with_table else [floor, wall, clutter])
    inside = lies.inverse().apply_to_points(UNITS * (points @ WORLD.T))
    noisy = (inside * np.exp(noise * rng.normal(size=(len(inside), 1)))).astype(np.float32)
    return LowPoints(noisy, np.clip(0.5 + noisy[:, :2] / noisy[:, 2:], 0, 1).astype(np.float64))


def test_the_floor_under_a_table_gives_scale_and_up() -> None:
    rng = np.random.default_rng(0)
    options = MetricOptions(camera_height_m=HEIGHT)
    evidence = FloorEvidence(HEIGHT)
    lies = {k: camera(0.2 * k, HEIGHT * (1 + 0.02 * rng.normal())) for k in range(8)}
    for k, place in lies.items():
        evidence.add(k, seen(place, rng))
    floor = evidence.floor(lies, {})
    assert floor is not None
    assert np.degrees(np.arccos(floor.normal @ WORLD @ [0.0, -1.0, 0.0])) < 1.0
    scale = evidence.scale(floor)
    assert np.exp(scale.log_scale) == pytest.approx(1 / UNITS, rel=0.02)
    assert 0.01 < scale.log_std < 0.03
    measured_map = MetricMap(options)
    measured_map._floor = evidence
    measured = measured_map.measured(lies, np.eye(3))
    assert measured is not None
    assert measured.up is not None
    gauge = robot_from_map(measured, Sim3(), False)
    np.testing.assert_allclose(gauge.rotation @ WORLD @ [0.0, -1.0, 0.0], [0, 0, 1], atol=0.02)
    assert (gauge.rotation @ lies[0].rotation @ [0.0, 0.0, 1.0])[0] > 0.9, "x is ahead"


def test_a_height_that_varies_is_known_worse() -> None:
    rng = np.random.default_rng(1)
    stds = []
    for varies in (0.0, 0.3):
        evidence = FloorEvidence(HEIGHT)
        lies = {k: camera(0.2 * k, HEIGHT * (1 + varies * np.sin(k))) for k in range(8)}
        for k, place in lies.items():
            evidence.add(k, seen(place, rng))
        floor = evidence.floor(lies, {})
        assert floor is not None
        stds.append(evidence.scale(floor).log_std)
    assert stds[1] > 2 * stds[0]


def test_walls_and_clutter_are_no_floor() -> None:
    rng = np.random.default_rng(2)
    centres = np.stack([camera(0.2 * k).translation for k in range(5)])
    wall = np.column_stack([rng.uniform(-2, 2, 500), rng.uniform(-2, 2, 500), np.full(500, 5.0)])
    cloud = rng.uniform(-3, 3, (500, 3))
    for points in (wall, cloud):
        assert find_floor(UNITS * points @ WORLD.T, centres, WORLD @ [0.0, -1.0, 0.0]) is None
    evidence = FloorEvidence(HEIGHT)
    evidence.add(0, seen(camera(0), rng))
    assert evidence.floor({0: camera(0)}, {}) is None, "one keyframe is too little"


def test_a_slope_with_the_floor_below_it_is_no_floor() -> None:
    """A bank beside the way, with more points on it than the floor: under the cameras its plane lies deeper."""
    rng = np.random.default_rng(3)
    x = rng.uniform(-2, 0.5, 400)
    bank = np.column_stack([x, 0.5 * (x - 0.5), rng.uniform(1, 5, 400)])
    floor = np.column_stack([rng.uniform(-2, 4, 250), np.zeros(250), rng.uniform(0.8, 5, 250)])
    centres = np.stack([camera(1.5 + 0.2 * k).translation for k in range(8)])
    points = UNITS * (np.concatenate([bank, floor]) + 0.003 * rng.normal(size=(650, 3))) @ WORLD.T
    found = find_floor(points, centres, WORLD @ [0.0, -1.0, 0.0])
    assert found is not None
    assert np.median(found.heights) == pytest.approx(UNITS * HEIGHT, rel=0.02)


def test_low_points_are_below_the_middle_and_of_the_better_half() -> None:
    depth = np.full((60, 80), 2.0, np.float32)
    trust = np.linspace(0, 1, 80, dtype=np.float32)[None].repeat(60, 0)
    low = low_points(depth, trust, np.array([[70.0, 0, 40], [0, 70, 30], [0, 0, 1]]))
    points = low.points
    np.testing.assert_allclose(low.fractions, points[:, :2] / 2 * 70 / [80, 60] + 0.5, atol=1e-6)
    assert len(points) > 50
    assert (points[:, 1] > 0).all()
    assert (points[:, 0] > -0.2).all(), "trusted columns are on the right"
    np.testing.assert_allclose(points[:, 2], 2.0)


def test_the_floor_is_where_the_points_of_the_map_have_it() -> None:
    """The network sees everything a tenth too near; its depth of several views is right as it is."""
    rng = np.random.default_rng(4)
    lies = {k: camera(0.2 * k) for k in range(6)}
    bends = dict.fromkeys(lies, np.full((5, 6), np.log(1.1)))
    heights = {}
    for several in (False, True):
        evidence = FloorEvidence(HEIGHT)
        for k, place in lies.items():
            low = seen(place, rng, noise=0.002)
            evidence.add(
                k, replace(low, points=low.points / np.float32(1.1 if not several else 1), of_several_views=several)
            )
        floor = evidence.floor(lies, bends)
        assert floor is not None
        heights[several] = float(np.median(floor.heights))
    assert heights[False] == pytest.approx(UNITS * HEIGHT, rel=0.01)
    assert heights[True] == pytest.approx(UNITS * HEIGHT, rel=0.01)


def test_a_keyframe_is_wanted_at_a_named_time_and_says_more_than_a_frame() -> None:
    evidence = BaselineEvidence(1.0, 3.0, 0.8)
    lies = {0: camera(0.0), 1: camera(0.3), 50: camera(1.0)}
    assert [evidence.wants_keyframe(time_s) for time_s in (0.95, 0.9995, 1.05, 1.2)] == [False, True, True, False]
    evidence.add(1.0, 0, np.eye(4))
    assert evidence.wants_keyframe(1.0), "a frame is no keyframe"
    evidence.add(1.03, 1, None)
    assert not evidence.wants_keyframe(1.06)
    evidence.add(1.0, 0, np.eye(4))
    evidence.add(3.0, 50, None)
    found = evidence.scale(lies)
    assert found is not None
    distance = np.linalg.norm(lies[50].translation - lies[1].translation)
    assert np.exp(found.log_scale) == pytest.approx(0.8 / distance), "between keyframes"
    frames = BaselineEvidence(1.0, 3.0, 0.8)
    frames.add(1.0, 0, np.eye(4))
    frames.add(3.0, 50, np.eye(4))
    by_frames = frames.scale(lies)
    assert by_frames is not None
    assert by_frames.log_std > 5 * found.log_std


def test_a_known_way_gives_the_scale_by_the_frames_nearest_in_time() -> None:
    evidence = BaselineEvidence(1.0, 3.0, 0.8)
    lies = {0: camera(0.0), 50: camera(1.0)}
    step = np.eye(4)
    assert evidence.scale(lies) is None
    for time_s, keyframe, x in ((0.95, 0, 9.0), (1.01, 0, 0.1), (1.06, 0, 9.0), (2.99, 50, -0.1), (3.2, 50, 9.0)):
        step = step.copy()
        step[0, 3] = UNITS * x
        evidence.add(time_s, keyframe, step)
    found = evidence.scale(lies)
    assert found is not None
    distance = np.linalg.norm(lies[50].translation - lies[0].translation) - UNITS * 0.2
    assert np.exp(found.log_scale) == pytest.approx(0.8 / distance, rel=1e-6)
    assert evidence.scale({0: lies[0]}) is None, "the keyframe of the second is of another map"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"camera_height_m": 0.0}, "over the floor"),
        ({"camera_height_m": float("nan")}, "over the floor"),
        ({"baseline": (3.0, 1.0, 0.5)}, "the earlier one first"),
        ({"baseline": (-1.0, 1.0, 0.5)}, "the earlier one first"),
        ({"baseline": (1.0, 2.0, 0.0)}, "a distance of 0 m"),
    ],
)
def test_nonsense_is_refused(options: dict, words: str) -> None:
    with pytest.raises(GeometryError, match=words):
        MetricOptions(**options)


def test_depth_images_give_a_ratio_and_each_follows_its_keyframe() -> None:
    rng = np.random.default_rng(3)
    intrinsics = np.array([[100.0, 0, 40], [0, 100, 30], [0, 0, 1]])
    pixels = rng.uniform([0, 0], [80, 60], (400, 2))
    z = rng.uniform(1, 3, 400)
    points = np.column_stack([(pixels - [40, 30]) / 100 * z[:, None], z])
    depth_m = np.zeros((60, 80), np.float32)
    depth_m[pixels[:, 1].astype(int), pixels[:, 0].astype(int)] = z / UNITS
    found = depth_ratio(depth_m, points, intrinsics, 7)
    assert found is not None
    assert np.exp(found.log_ratio) == pytest.approx(1 / UNITS, rel=0.01)
    assert depth_ratio(np.zeros_like(depth_m), points, intrinsics, 7) is None
    evidence = SensorDepthEvidence()
    evidence.add(found, {})
    (one,) = evidence.scales({7: Sim3(4.0)}, {})
    assert np.exp(one.log_scale) == pytest.approx(1 / UNITS / 4, rel=0.01)
    assert evidence.scales({8: Sim3()}, {}) == []
    longer = {7: np.full((5, 6), np.log(1.1))}
    (one,) = evidence.scales({7: Sim3(4.0)}, longer)
    assert np.exp(one.log_scale) == pytest.approx(1 / UNITS / 4 / 1.1, rel=0.01), "depth was a tenth too short"
    known = SensorDepthEvidence()
    known.add(found, longer)
    (one,) = known.scales({7: Sim3(4.0)}, longer)
    assert np.exp(one.log_scale) == pytest.approx(1 / UNITS / 4, rel=0.01), "that was known when it was measured"


def plane_at(z: float) -> np.ndarray:
    return np.full((60, 80), z, np.float32)


def test_a_distance_between_two_pixels_gives_the_scale() -> None:
    """Two pixels of one picture, and one of each of two; 640 pixels wide, depth maps of 80."""
    intrinsics = np.array([[70.0, 0, 40], [0, 70, 30], [0, 0, 1]])
    left, right = NamedPoint.parse("3:79.5,239.5"), NamedPoint.parse("3:559.5,239.5")
    evidence = DistanceEvidence(left, right, 0.8)
    assert (str(left), evidence.wants_picture(3), evidence.wants_picture(4)) == ("3:79.5,239.5", True, False)
    evidence.add(3, (640, 480), 7, plane_at(2.0), intrinsics, of_several_views=True)
    assert not evidence.wants_picture(3)
    found = evidence.scale({7: Sim3(3.0)}, {7: np.full((5, 6), 1.0)})
    assert found is not None
    apart = 3.0 * 2.0 * 480 / 560
    assert np.exp(found.log_scale) == pytest.approx(0.8 / apart, rel=1e-6), "depth of several views is as it is"
    assert found.source == "0.8 m from 3:79.5,239.5 to 3:559.5,239.5"
    own = DistanceEvidence(left, right, 0.8)
    own.add(3, (640, 480), 7, plane_at(2.0), intrinsics, of_several_views=False)
    bent, network = (own.scale({7: Sim3(3.0)}, bends) for bends in ({7: np.full((5, 6), np.log(1.1))}, {}))
    assert bent is not None
    assert network is not None
    assert np.exp(bent.log_scale) == pytest.approx(0.8 / apart / 1.1, rel=1e-6)
    assert found.log_std < bent.log_std < network.log_std
    two = DistanceEvidence(left, NamedPoint(9, 559.5, 239.5), 0.8)
    two.add(3, (640, 480), 7, plane_at(2.0), intrinsics, of_several_views=True)
    assert two.scale({7: Sim3()}, {}) is None
    two.add(9, (640, 480), 8, plane_at(2.0), intrinsics, of_several_views=True)
    ahead = two.scale({7: Sim3(), 8: Sim3(translation=np.array([0, 0, 1.0]))}, {})
    assert ahead is not None
    assert np.exp(ahead.log_scale) == pytest.approx(0.8 / np.hypot(2.0 * 480 / 560, 1.0), rel=1e-6)


@pytest.mark.parametrize(
    ("words", "expected"),
    [("3", "write PICTURE:X,Y"), ("-3:1,2", "write PICTURE:X,Y"), ("3:1", "write PICTURE:X,Y"), ("3:nan,1", "write")],
)
def test_a_point_that_is_none_is_refused(words: str, expected: str) -> None:
    with pytest.raises(GeometryError, match=expected):
        NamedPoint.parse(words)


def test_distances_that_say_nothing_are_refused() -> None:
    point, other = NamedPoint(3, 700, 10), NamedPoint(3, 10, 10)
    with pytest.raises(GeometryError, match="to itself"):
        MetricOptions(distance=(point, point, 1.0))
    with pytest.raises(GeometryError, match="a distance of 0 m"):
        MetricOptions(distance=(point, other, 0.0))
    metric = MetricMap(MetricOptions(distance=(point, other, 1.0)))
    with pytest.raises(GeometryError, match="3:700,10 of a distance is outside of its picture, 640x480"):
        metric.saw_picture(3, (640, 480), 0, plane_at(1.0), np.eye(3), of_several_views=False)
