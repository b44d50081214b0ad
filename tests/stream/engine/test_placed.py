"""A camera's steps placed in the map of several: what moves when its map does, and that numbers never clash."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.metric.scale import Scale
from spark3r_core.metric.shared_scale import OwnMetres
from spark3r_core.stream.cameras_together import Rooted, Together
from spark3r_stream.engine.placed import Numbering, PlacedSink, Placement
from spark3r_stream.engine.results import MapUnit, RunGauge, StepOutput
from spark3r_stream.frame import Frame
from spark3r_stream.running.among import ADJUSTED_STD, Placements
from spark3r_stream.wire.messages import LengthUnit, MapCorrection, PathCorrection
from tests.helpers_wire import make_keyframe, make_output

COVARIANCE = np.eye(6) + 0.1
DOUBLE = Sim3(2.0, np.eye(3), np.array([1.0, 0, 0]))


class Kept:
    def __init__(self) -> None:
        self.steps: list[StepOutput] = []

    def window(self, frames: Sequence[Frame], result: StepOutput) -> None:
        self.steps.append(result)


def placed(number: float) -> Sim3:
    return Sim3(1.0, np.eye(3), np.array([number, 0, 0]))


def step(submap: int) -> StepOutput:
    """A keyframe, mapped, with a frame tracked on it."""
    output = make_output(submap)
    output = replace(output, result=replace(output.result, submap=submap), map_from_submap=placed(submap))
    keyframe = replace(make_keyframe(submap), submap=submap, map_from_submap=placed(submap))
    corrections = [MapCorrection(submap, 0, placed(submap), "a keyframe was mapped")]
    return StepOutput([output], keyframes=[keyframe], corrections=corrections)


def same(a: Sim3, b: Sim3) -> bool:
    return bool(np.allclose(a.matrix, b.matrix))


def test_a_camera_that_is_joined_moves_with_all_it_has() -> None:
    now = [Placement("right/map")]
    kept, maps = Kept(), []
    sink = PlacedSink(lambda: now[0], [kept], maps.append)
    sink.window([], step(0))
    sink.window([], step(1))
    assert maps == ["right/map"]
    assert [c.submap for c in kept.steps[1].corrections] == [1]
    assert same(kept.steps[1].outputs[0].map_from_submap, placed(1))
    now[0] = Placement("map", DOUBLE, "joined with left")
    sink.window([], step(2))
    assert maps == ["right/map", "map"]
    last = kept.steps[-1]
    assert [(c.submap, c.revision) for c in last.corrections] == [(0, 1), (1, 1), (2, 0)]
    assert {c.reason for c in last.corrections} == {"joined with left"}
    for correction in last.corrections:
        assert same(correction.map_from_submap, DOUBLE @ placed(correction.submap))
    assert same(last.outputs[0].map_from_submap, DOUBLE @ placed(2))
    assert same(last.keyframes[0].map_from_submap, DOUBLE @ placed(2))


def test_in_the_end_keyframes_lie_where_all_cameras_say_and_the_rest_goes_along() -> None:
    own = Placement("right/map")
    kept, maps = Kept(), []
    sink = PlacedSink(lambda: own, [kept], maps.append)
    for submap in range(4):
        sink.window([], step(submap))
    together = Placement("map", reason="all cameras adjusted together")
    before = {1: placed(1), 3: placed(3), 77: placed(77)}
    sink.settle(together, {1: placed(10), 3: DOUBLE, 77: DOUBLE}, before)
    assert maps[-1] == sink.map_frame == "map"
    lies = {c.submap: c.map_from_submap for c in kept.steps[-1].corrections}
    assert {c.revision for c in kept.steps[-1].corrections} == {1}
    assert same(lies[1], placed(10))
    assert same(lies[3], DOUBLE)
    assert same(lies[0], placed(9))  # as far from its neighbour as before
    assert same(lies[2], placed(11))
    sink.settle(together, {}, {})
    assert len(kept.steps) == 5


def test_numbers_of_two_cameras_never_meet() -> None:
    seen = [{Numbering(first, 3).of(submap) for submap in range(50)} for first in range(3)]
    assert len(set.union(*seen)) == 150
    result = Numbering(1, 3).applied(step(2))
    assert result.outputs[0].result.submap == result.keyframes[0].submap == result.corrections[0].submap == 7
    assert result.outputs[0].result.frame_name == result.keyframes[0].frame_name == "submap_7"


class Camera:
    """Steps of a camera whose keyframes lie on a line, a unit apart, in a gauge that may change; one frame each."""

    def __init__(self) -> None:
        self.gauge, self.part = OwnMetres(), 0
        self._submaps: list[int] = []
        self._parts: list[int] = []

    def knows(self, metres: float, std: float = 0.01) -> None:
        self.gauge = OwnMetres(Sim3(metres), Scale(metres, std, "tag"))

    def step(self) -> StepOutput:
        """Another keyframe, and a frame on it, a tenth of a unit ahead."""
        submap, gauge = len(self._submaps), self.gauge
        self._submaps.append(submap)
        self._parts.append(self.part)
        moved = [one for one in self._submaps if self._parts[one] == self.part]
        unit = LengthUnit.MODEL if gauge.scale is None else LengthUnit.METRE
        lies = {one: gauge.published_from_map @ placed(one) for one in moved}
        output, keyframe = make_output(submap), make_keyframe(submap)
        result = replace(
            output.result, submap=submap, unit=unit, scale_std=0.0, scale_source="", map_z_up=False,
            world_from_camera=placed(0.1).matrix, covariance=COVARIANCE, odom_from_camera=placed(submap).matrix,
        )  # fmt: skip
        return StepOutput(
            [replace(output, result=result, map_from_submap=lies[submap])],
            keyframes=[replace(keyframe, submap=submap, map_from_submap=lies[submap])],
            corrections=[MapCorrection(one, 0, place, "mapped", unit) for one, place in lies.items()],
            map_unit=MapUnit(unit, "" if gauge.scale is None else "tag", 0.0 if gauge.scale is None else 0.01),
            gauge=RunGauge(self.part, gauge, frozenset(moved)),
            retracked=[PathCorrection(submap, submap, placed(0.2).matrix)],
        )


class Rooms:
    """What the mapper of two cameras knows: nothing, until they are joined."""

    def __init__(self) -> None:
        self.rooted: dict[int, Rooted] = {}

    def join(self) -> None:
        self.rooted = {0: Rooted(0, Sim3()), 1: Rooted(0, Sim3(2.0, np.eye(3), np.array([5.0, 0, 0])), 6, 0.03)}


class Two:
    """Two cameras among each other, and what is handed on of each."""

    def __init__(self) -> None:
        self.rooms, self.cameras, self.kept = Rooms(), [Camera(), Camera()], [Kept(), Kept()]
        self.placements = Placements({0: "gate", 1: "yard"}, self.rooms)
        self.sinks = [
            PlacedSink(
                functools.partial(self.placements.of, number), [self.kept[number]], lambda name: None,
                on_metres=functools.partial(self.placements.tell, number),
            )
            for number in range(2)
        ]  # fmt: skip

    def step(self, number: int) -> StepOutput:
        self.sinks[number].window([], self.cameras[number].step())
        return self.kept[number].steps[-1]


def centre(step: StepOutput) -> float:
    """x of the step's frame, in the map."""
    output = step.outputs[0]
    assert output.result.world_from_camera is not None
    return float(output.map_from_submap.apply_to_points(output.result.world_from_camera[:3, 3])[0])


def test_a_camera_that_knows_nothing_is_in_metres_by_the_one_that_it_is_joined_with() -> None:
    two = Two()
    two.cameras[0].knows(1.5)
    assert two.step(1).outputs[0].result.unit is LengthUnit.MODEL
    known = two.step(0)
    assert known.map_unit == MapUnit(LengthUnit.METRE, "tag", 0.01)
    assert centre(known) == pytest.approx(0.15)
    before = two.step(1)
    assert before.map_unit.unit is LengthUnit.MODEL
    two.rooms.join()
    root, other = two.step(0), two.step(1)
    assert [one.submap for one in root.corrections] == [0, 1]
    assert same(root.corrections[0].map_from_submap, known.corrections[0].map_from_submap), "who knows stays as it is"
    assert root.map_unit == MapUnit(LengthUnit.METRE, "tag of gate", 0.01)
    assert other.map_unit.scale_source == "tag of gate"
    assert other.map_unit.scale_std == pytest.approx(np.hypot(0.01, 0.03))
    assert {one.unit for one in other.corrections} == {LengthUnit.METRE}
    assert [one.map_from_submap.scale for one in other.corrections] == pytest.approx([3.0, 3.0, 1.0])
    places = [float(one.map_from_submap.translation[0]) for one in other.corrections]
    assert places == pytest.approx([7.5, 10.5, 13.5]), "a unit of yard is two of gate, and one of those 1.5 m"
    result = other.outputs[0].result
    assert (result.unit, result.scale_std) == (LengthUnit.METRE, other.map_unit.scale_std)
    assert centre(other) == pytest.approx(13.5 + 0.3)
    assert result.world_from_camera is not None
    assert result.world_from_camera[0, 3] == pytest.approx(0.3), "a submap that begins in metres has them inside"
    own = make_keyframe(2)
    np.testing.assert_allclose(other.keyframes[0].depth, own.depth * 3, rtol=1e-6)
    np.testing.assert_allclose(other.keyframes[0].points, own.points * 3, rtol=1e-6)
    assert other.retracked[0].submap_from_camera[0, 3] == pytest.approx(0.6)
    wider = np.array([3.0] * 3 + [1.0] * 3)
    np.testing.assert_allclose(result.covariance, COVARIANCE * np.outer(wider, wider))


def test_odometry_goes_on_without_a_jump() -> None:
    two = Two()
    two.cameras[0].knows(1.5)
    two.step(0)
    steps = [two.step(1), two.step(1)]
    two.rooms.join()
    steps += [two.step(1), two.step(1)]
    places = [one.outputs[0].result.odom_from_camera for one in steps]
    assert [float(one[0, 3]) for one in places if one is not None] == pytest.approx([0, 1, 4, 7])


def test_a_root_that_does_not_know_is_told_once_and_all_that_it_has_moves() -> None:
    two = Two()
    two.step(0)
    two.step(1)
    two.rooms.join()
    assert two.step(0).map_unit == MapUnit()
    assert [one.revision for one in two.kept[0].steps[-1].corrections] == [1, 0], "a root stays where it is"
    two.cameras[1].knows(3.0)
    assert two.step(1).map_unit == MapUnit(LengthUnit.METRE, "tag of yard", 0.01)
    told = two.step(0)
    assert told.map_unit.scale_std == pytest.approx(np.hypot(0.01, 0.03))
    assert {one.reason for one in told.corrections} == {"the scale became known, by tag of yard"}
    assert [one.map_from_submap.scale for one in told.corrections] == pytest.approx([1.5, 1.5, 1.0])
    assert [float(one.map_from_submap.translation[0]) for one in told.corrections] == pytest.approx([0, 1.5, 3])
    places = [float(one.map_from_submap.translation[0]) for one in two.kept[1].steps[-1].corrections]
    assert places == pytest.approx([7.5, 10.5])
    again = two.step(0)
    assert {one.reason for one in again.corrections} == {"mapped"}, "it moves once"


def test_another_map_of_a_camera_is_not_in_metres_by_what_the_first_was_joined_with() -> None:
    two = Two()
    two.cameras[0].knows(1.5)
    two.step(0)
    two.step(1)
    two.rooms.join()
    two.step(1)
    two.cameras[1].part = 1
    lost = two.step(1)
    assert lost.map_unit == MapUnit()
    assert {one.unit for one in lost.corrections} == {LengthUnit.MODEL}
    assert lost.keyframes[0].depth.mean() == pytest.approx(make_keyframe(2).depth.mean())
    two.cameras[1].knows(0.7)  # and its metre is another one than that of the first
    assert two.step(1).map_unit == MapUnit()
    two.cameras[0].knows(1.6)
    two.step(0)
    moved = two.step(1)
    assert {one.submap: one.unit for one in moved.corrections}[0] is LengthUnit.METRE
    assert {one.submap: one.unit for one in moved.corrections}[2] is LengthUnit.MODEL


def test_in_the_end_the_merged_map_is_in_metres() -> None:
    two = Two()
    two.cameras[1].knows(3.0)
    two.step(0)
    two.step(1)
    two.step(1)
    own = [{one: placed(one) for one in range(count)} for count in (1, 2)]
    there = Sim3(2.0, np.eye(3), np.array([4.0, 0, 0]))
    together = Together(0, {0: own[0], 1: {one: there @ place for one, place in own[1].items()}}, dict(enumerate(own)))
    for number in (0, 1):
        two.sinks[number].settle(
            two.placements.settled(number, together), together.places[number], together.before[number]
        )
    gate, yard = (kept.steps[-1] for kept in two.kept)
    assert gate.map_unit.scale_source == yard.map_unit.scale_source == "tag of yard"
    assert yard.map_unit.scale_std == pytest.approx(0.01)
    assert gate.map_unit.scale_std == pytest.approx(np.hypot(0.01, ADJUSTED_STD))
    assert [one.map_from_submap.scale for one in gate.corrections] == pytest.approx([1.5])
    places = [float(one.map_from_submap.translation[0]) for one in yard.corrections]
    assert places == pytest.approx([6.0, 9.0]), "4 and 6 units of gate, of 1.5 m"
    assert {one.unit for one in [*gate.corrections, *yard.corrections]} == {LengthUnit.METRE}
