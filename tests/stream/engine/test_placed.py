"""A camera's steps placed in the map of several: what moves when its map does, and that numbers never clash."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from spark3r_core.geometry.sim3 import Sim3
from spark3r_stream.engine.placed import Numbering, PlacedSink, Placement
from spark3r_stream.engine.results import StepOutput
from spark3r_stream.frame import Frame
from spark3r_stream.wire.messages import MapCorrection
from tests.helpers_wire import make_keyframe, make_output

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
