"""A camera that is lost, begins another map, and meets the old one: both are one, for subscribers too. Real sockets."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spark3r_core.geometry import se3
from spark3r_core.geometry.rotation import exp_so3
from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.memory.config import MemoryConfig
from spark3r_core.stream.camera_sizes import CameraSizes
from spark3r_core.stream.map_update import MapOptions
from spark3r_core.stream.motion_hint import MotionHint
from spark3r_stream.engine.local_mapper import LocalMapper
from spark3r_stream.engine.sinks import WireSink
from spark3r_stream.engine.tracking import TrackingReconstructor
from spark3r_stream.frame import Frame
from spark3r_stream.map_file.reading import read_map
from spark3r_stream.pubsub.publisher import Publisher
from spark3r_stream.pubsub.snapshot import SnapshotKeeper
from spark3r_stream.pubsub.subscriber import Subscriber
from spark3r_stream.wire.decode import decode
from spark3r_stream.wire.encode import encode_frame
from spark3r_stream.wire.messages import FrameResult, MapCorrection, MapCorrections, TrackingState
from tests.core.stream import orbit
from tests.core.stream.truthful import TruthfulDA3
from tests.helpers_map import FACTS
from tests.helpers_wire import SESSION, make_sealer

BEFORE, AFTER = range(0, 46, 2), range(44, -1, -2)  # of the orbit, before the camera is lost and after
MOST_LOST = 40
DARK = np.zeros((*orbit.HW, 3), np.uint8)
WAIT_S = 10.0


class Run:
    """An engine, and what came out of it."""

    def __init__(self, sinks: list[WireSink], options: MapOptions | None = None) -> None:
        self.model = TruthfulDA3.make(range(48))
        for picture in (orbit.elsewhere(), DARK):
            small, _ = CameraSizes.fit(orbit.HW, self.model.facts, None).for_network(picture)
            self.model.by_image[small.transpose(2, 0, 1).tobytes()] = 0
        self.host = LocalMapper(self.model, MemoryConfig(max_pages=12, max_new_frames=1), options)
        self.engine = TrackingReconstructor(self.host)
        self.sinks = sinks
        self.results: list[FrameResult] = []
        self.corrections: list[list[MapCorrection]] = []
        self.submap_of: dict[int, int] = {}  # by the keyframe's frame id
        self.encoded: list[str] = []

    def show(self, picture: np.ndarray, hint: MotionHint | None = None) -> None:
        frame_id = len(self.results)
        frame = Frame(picture, frame_id, 0, round(1e8 * frame_id), round(1e8 * frame_id), "test", hint=hint)
        step = self.engine.process([frame])
        for sink in self.sinks:
            sink.window([frame], step)
        self.results += [output.result for output in step.outputs]
        self.corrections.append(step.corrections)
        self.submap_of |= {one.frame_id: one.submap for one in step.keyframes}
        for output in step.outputs:  # but for how long the network took
            self.encoded.append(repr(encode_frame(replace(output, result=replace(output.result, model_ms=0.0)))))

    def walk(self, listen: Callable[[int], None] = lambda last: None) -> int:
        """Along the orbit, into another room until a new map begins, and along the orbit again, with twice the unit;
        the frame that begins it. listen: called after each frame."""
        for index in BEFORE:
            self.show(orbit.picture(index))
            listen(len(self.results) - 1)
        while self.engine._tracking.tracker.reference is not None:
            assert len(self.results) < MOST_LOST, "the map is never given up"
            self.show(orbit.elsewhere())
            listen(len(self.results) - 1)
        began = len(self.results)
        self.model.unit = 2.0
        for index in AFTER:
            self.show(orbit.picture(index))
            listen(len(self.results) - 1)
        return began


@pytest.fixture(scope="module")
def followed() -> tuple[Run, int, dict[int, Sim3], dict[int, Sim3]]:
    """The run, the frame that begins the second map, and where submaps are for who was there and who joined late."""
    there: dict[int, Sim3] = {}
    with Publisher("tcp://127.0.0.1:*", SESSION, snapshot=SnapshotKeeper()) as publisher:
        with Subscriber(publisher.endpoint) as early:
            early.join(WAIT_S)
            run = Run([WireSink(make_sealer(), [publisher])])

            def listen(last: int) -> None:
                while (message := early.poll(WAIT_S)) is not None:
                    content = decode(message)
                    if isinstance(content, MapCorrections):
                        there.update({one.submap: one.map_from_submap for one in content.corrections})
                    if isinstance(content, FrameResult) and content.frame_id == last:
                        return

            began = run.walk(listen)
        with Subscriber(publisher.endpoint) as late:
            snapshot = late.join(WAIT_S)
    return run, began, there, {number: one.map_from_submap for number, one in snapshot.corrections.items()}


def test_it_goes_on_as_another_map_until_it_meets_the_first(followed) -> None:
    run, began, _, _ = followed
    submap = {one.frame_id: one.submap for one in run.results}
    across = [pair for pair in run.engine.loops if pair[0] < len(BEFORE) and pair[1] >= began]
    assert len(across) >= 4
    told = [
        (frame_id, step)
        for frame_id, step in enumerate(run.corrections)
        if {one.submap for one in step} >= {submap[began]} and frame_id > began
    ]
    joined_at, step = told[0]
    assert joined_at > began + 2, "nothing is believed before several keyframes agree"
    assert len(told) >= 1
    numbers = [one.submap for one in step]
    assert numbers == sorted(set(numbers)), "one correction of each, all at once"
    assert max(one.submap for one in run.results if one.frame_id < began) < submap[began]
    assert all(one.valid for one in run.results if one.frame_id >= began)
    assert run.results[-1].state is TrackingState.TRACKING


def test_both_parts_are_where_they_are_in_one_unit(followed) -> None:
    run, began, _, _ = followed
    placed = run.engine._map.submaps
    for one in run.results:
        if one.frame_id < len(BEFORE) or one.frame_id >= began:
            index = BEFORE[one.frame_id] if one.frame_id < len(BEFORE) else AFTER[one.frame_id - began]
            found = placed[one.keyframe_id].map_from_submap.apply_to_poses(one.world_from_camera)
            assert orbit.error(found, orbit.pose(index))[1] < 0.06, f"frame {one.frame_id}"
    scales = [placed[one].map_from_submap.scale for one in (0, began)]
    assert scales[1] / scales[0] == pytest.approx(0.5, rel=0.1)


def test_odometry_does_not_jump(followed) -> None:
    run, began, _, _ = followed
    poses = [one.odom_from_camera for one in run.results if one.frame_id >= began]
    steps = [np.linalg.norm(b[:3, 3] - a[:3, 3]) for a, b in itertools.pairwise(poses)]
    assert max(steps) < 2 * np.median(steps)


def test_subscribers_have_the_same_map_late_or_not(followed) -> None:
    run, _, early, late = followed
    assert len(early) == run.engine._map.next_number
    for submap in run.engine._map.submaps.values():
        for name, seen in (("early", early), ("late", late)):
            np.testing.assert_allclose(
                seen[submap.number].matrix, submap.map_from_submap.matrix, atol=1e-12, err_msg=f"{name} {submap.number}"
            )


def test_it_comes_out_again(followed) -> None:
    run, _, _, _ = followed
    again = Run([])
    again.walk()
    assert again.encoded == run.encoded
    assert again.engine.loops == run.engine.loops


def test_what_is_saved_has_both(followed, tmp_path: Path) -> None:
    run, began, _, _ = followed
    path = tmp_path / "room.s3rmap"
    assert run.engine.save_map(path, FACTS, False).result() > 0
    order = read_map(path).world.order
    assert order[0] == 0
    assert began in order


def test_a_map_that_is_not_met_again_is_adjusted_at_the_end_too() -> None:
    run = Run([], MapOptions(closes_loops=False))
    for picture in [*map(orbit.picture, BEFORE), *[DARK] * MOST_LOST, *map(orbit.picture, AFTER)]:
        run.show(picture)
    told = {one.submap: one for step in run.corrections for one in step}
    again = {one.submap: one for one in run.engine.finish(adjust_all=True).corrections}
    (world,) = run.host._mapper.others
    assert len(world.order) >= 3
    assert set(world.order).isdisjoint(run.engine._map.submaps)
    moved = [frame_id for frame_id in world.order if run.submap_of[frame_id] in again]
    assert moved[-1] == world.order[-1]
    for frame_id in moved:
        correction, lies = again[run.submap_of[frame_id]], world.keyframes[frame_id].map_from_keyframe
        assert correction.revision == told[correction.submap].revision + 1
        np.testing.assert_allclose(correction.map_from_submap.matrix, lies.matrix, atol=1e-9)


def test_a_lost_camera_is_found_in_a_map_that_was_given_up() -> None:
    """In the second map it is lost again, and is back where the first one was made."""
    run = Run([])
    for index in BEFORE:
        run.show(orbit.picture(index))
    for _ in range(MOST_LOST):
        run.show(orbit.elsewhere())
    second = run.results[-1].submap
    assert run.results[-1].valid
    assert second > run.results[len(BEFORE) - 1].submap
    for _ in range(12):
        run.show(np.zeros_like(orbit.picture(8)))
    for _ in range(15):
        run.show(orbit.picture(8))
    last = run.results[-1]
    assert last.state is TrackingState.TRACKING
    assert run.engine._map.submaps[last.keyframe_id].number > second
    found = run.engine._map.submaps[last.keyframe_id].map_from_submap.apply_to_poses(last.world_from_camera)
    assert orbit.error(found, orbit.pose(8))[1] < 0.05


@pytest.mark.parametrize("listens", [True, False])
def test_a_new_map_begins_turned_as_far_as_a_gyroscope_says(listens: bool) -> None:
    """The lens is covered while the camera turns away. Odometry goes on with that turn, too."""
    run = Run([], MapOptions(closes_loops=False))

    def show(picture: np.ndarray, index: int, turn_deg: float = 0.0) -> None:
        way = orbit.pose(index) @ se3.make_pose(exp_so3(np.array([0.0, np.deg2rad(turn_deg), 0.0])), np.zeros(3))
        hint = MotionHint.of(1, way, has_position=False, is_sure=True)
        run.show(picture, hint if listens else None)

    for index in BEFORE:
        show(orbit.picture(index), index)
    lay = {one: submap.map_from_submap for one, submap in run.engine._map.submaps.items()}
    for turn in itertools.count(1):
        if run.engine._tracking.tracker.reference is None:
            break
        assert turn < MOST_LOST, "the map is never given up"
        show(DARK, BEFORE[-1], 3.0 * turn)
    last, began = len(BEFORE) - 1, len(run.results)
    index = AFTER[14]
    show(orbit.picture(index), index)
    run.engine.close()
    assert run.results[began].submap == run.submap_of[began] != run.results[last].submap
    true = se3.relative_angle(orbit.pose(BEFORE[-1]), orbit.pose(index))
    assert np.degrees(true) > 10
    placed = run.engine._map.submaps[run.results[began].keyframe_id].map_from_submap.apply_to_poses(np.eye(4))
    before = lay[run.results[last].keyframe_id].apply_to_poses(run.results[last].world_from_camera)
    odometry = [run.results[one].odom_from_camera for one in (last, began)]
    for first, second in ((before, placed), odometry):
        turned = np.degrees(float(se3.relative_angle(first, second)) - float(true))
        assert (abs(turned) < 2) == listens
