"""A whole run whose frames are tracked once more in the end: nearer to the truth, the same each time, and counted."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from spark3r_core.geometry.alignment import umeyama
from spark3r_core.memory.config import MemoryConfig
from spark3r_core.models.registry import load_model
from spark3r_core.stream.dense_depth import DenseDepth
from spark3r_core.stream.retracking import KnownKeyframe
from spark3r_core.synthetic.sequence import SyntheticSequence
from spark3r_stream.engine import final_tracking
from spark3r_stream.engine.final_tracking import MOST_KEYFRAMES, FinalTracking, _Around, _Seen
from spark3r_stream.engine.local_mapper import LocalMapper
from spark3r_stream.engine.results import StepOutput
from spark3r_stream.engine.submap import Submap
from spark3r_stream.engine.tracking import TrackingReconstructor
from spark3r_stream.frame import Frame
from spark3r_stream.outputs.built_map import BuiltMap
from spark3r_stream.wire.messages import PathCorrection

FRAMES, HW = 60, (120, 160)


@dataclass
class Ran:
    """A run with a map that hears of frames that were tracked once more, and one that does not."""

    heard: BuiltMap = field(default_factory=lambda: BuiltMap(1000))
    deaf: BuiltMap = field(default_factory=lambda: BuiltMap(1000))
    again: list[PathCorrection] = field(default_factory=list)

    def take(self, step: StepOutput) -> None:
        for built in (self.heard, self.deaf):
            for correction in step.corrections:
                built.correct(correction)
            for keyframe in step.keyframes:
                built.add_keyframe(keyframe)
            for output in step.outputs:
                built.add(output, output.result.captured_ns)
        for one in step.retracked:
            self.heard.retrack(one.frame_id, one.submap_from_camera)
        self.again += step.retracked


def run(sequence: SyntheticSequence, *, retracks: bool = True) -> Ran:
    engine, ran = TrackingReconstructor(LocalMapper(load_model("bundled"), MemoryConfig(max_new_frames=1))), Ran()
    engine.retracks = retracks
    for index in range(FRAMES):
        image = sequence.frame(index)[0]
        stamp = round(index * 1e9 / 30)
        ran.take(engine.process([engine.prepare_ahead(Frame(image, index, 0, stamp, stamp, "room"))]))
    ran.take(engine.finish(adjust_all=True))
    engine.close()
    return ran


@pytest.fixture(scope="module")
def sequence() -> SyntheticSequence:
    return SyntheticSequence(100_640, FRAMES, "wander", HW)


@pytest.fixture(scope="module")
def ran(sequence: SyntheticSequence) -> Ran:
    return run(sequence)


def off(built: BuiltMap, truth: np.ndarray) -> float:
    """RMS of positions after one similarity, in units of the world."""
    found = built.path().world_from_camera[:, :3, 3]
    true = truth[:, :3, 3]
    return float(np.sqrt(np.square(umeyama(found, true).apply_to_points(found) - true).sum(1).mean()))


def test_all_frames_are_tracked_once_more_and_lie_nearer_to_the_truth(ran: Ran, sequence: SyntheticSequence) -> None:
    assert len({one.frame_id for one in ran.again}) == len(ran.again) > 0.9 * FRAMES
    heard, deaf = (off(built, sequence.world_from_camera) for built in (ran.heard, ran.deaf))
    assert heard < 0.5 * deaf


def test_it_is_the_same_each_time(ran: Ran, sequence: SyntheticSequence) -> None:
    again = run(sequence)
    np.testing.assert_array_equal(again.heard.path().world_from_camera, ran.heard.path().world_from_camera)


def test_a_run_without_a_path_does_not(sequence: SyntheticSequence) -> None:
    assert not run(sequence, retracks=False).again


def test_what_is_kept_is_bounded() -> None:
    final, nothing = FinalTracking(), np.zeros((1, 1), np.float32)
    depth = DenseDepth(nothing, nothing, np.zeros((1, 1, 3), np.uint8), np.eye(3))
    for frame_id in range(2 * MOST_KEYFRAMES):
        final.refined({frame_id: depth})
    assert len(final._depths) == MOST_KEYFRAMES
    assert min(final._depths) == MOST_KEYFRAMES, "the newest"


def test_a_keyframe_beyond_the_next_one_is_not_tracked_on(monkeypatch) -> None:
    """In a live run some have no depth from several views: pixels agree with many a pose from further away."""
    submaps = {frame_id: Submap(number, frame_id, 0, 0, 0, None) for number, frame_id in enumerate((0, 10, 20))}
    known = {frame_id: KnownKeyframe(frame_id, []) for frame_id in (0, 20)}
    around = _Around(known, np.array(sorted(submaps)), submaps)
    picture = np.zeros((96, 128), np.uint8)
    asked: list[tuple[int | None, int | None]] = []

    def retracked(pyramid, guesses, before, after, share):
        asked.append(tuple(None if one is None else one[0].frame_id for one in (before, after)))

    monkeypatch.setattr(final_tracking, "retracked", retracked)
    for frame_id in (5, 15, 25):
        around.retracked(_Seen(frame_id, 0, np.eye(4), 0.3, picture), [np.eye(4)])
    assert asked == [(0, None), (None, 20), (20, None)]
