"""Frames tracked once more on the keyframes around them: exact where depth is, and never worse than either."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spark3r_core.geometry import se3
from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.models.preprocess import StreamResize
from spark3r_core.photometric.levels import grey_levels
from spark3r_core.stream.dense_depth import DenseDepth
from spark3r_core.stream.retracking import KnownKeyframe, retracked
from tests.core.photometric.scene import Room, camera, path
from tests.core.photometric.tracking_scene import HW, pictures

BIG = (HW[0] * 2, HW[1] * 2)  # of the pictures that a map keeps
SIZE = StreamResize.fit(BIG, HW[1], 8)


class Walk:
    """Two keyframes with exact depth, and a frame between them."""

    def __init__(self) -> None:
        room = Room(box=False)
        self.poses = path(3, step=3)
        big, depth = pictures(room, self.poses, BIG)
        sure = np.ones(BIG, np.float32)
        self.dense = [DenseDepth(depth[index], sure, big[index], camera(BIG)) for index in (0, 2)]
        self.pyramid = grey_levels(SIZE(big[1])[0])

    def keyframe(self, which: int, dense: DenseDepth | None = None) -> tuple[KnownKeyframe, Sim3]:
        found = KnownKeyframe.of(which, dense or self.dense[which], SIZE)
        assert found is not None
        pose = self.poses[2 * which]
        return found, Sim3(1.0, pose[:3, :3], pose[:3, 3])

    def off(self, pose: np.ndarray | None) -> tuple[float, float]:
        assert pose is not None
        apart = float(np.linalg.norm(pose[:3, 3] - self.poses[1][:3, 3]))
        return float(np.degrees(se3.relative_angle(pose, self.poses[1]))), apart


@pytest.fixture(scope="module")
def walk() -> Walk:
    assert SIZE.image_hw == HW
    return Walk()


def guess(walk: Walk, size: float = 0.02) -> np.ndarray:
    return np.asarray(se3.compose(walk.poses[1], se3.exp(size * np.array([1, 1, -1, 0.5, 1, -0.5]))))


@pytest.mark.parametrize("sides", [(True, False), (False, True), (True, True)])
def test_a_frame_lies_where_it_was_taken(walk: Walk, sides: tuple[bool, bool]) -> None:
    before, after = (walk.keyframe(which) if there else None for which, there in enumerate(sides))
    turn, apart = walk.off(retracked(walk.pyramid, [guess(walk)], before, after, 0.5))
    assert turn < 0.1
    assert apart < 5e-3


def test_the_best_guess_is_begun_with(walk: Walk) -> None:
    before = walk.keyframe(0)
    far = guess(walk, 0.25)
    assert retracked(walk.pyramid, [far], before, None, 0.0) is None, "that one alone does not do"
    turn, _ = walk.off(retracked(walk.pyramid, [far, guess(walk)], before, None, 0.0))
    assert turn < 0.1


def test_each_keyframe_counts_by_how_near_it_is(walk: Walk) -> None:
    """The second one's depth is a fifth too large: what it says is off, and counts by the share of time."""
    wrong = replace(walk.dense[1], depth=walk.dense[1].depth * np.float32(1.2))
    before, after = walk.keyframe(0), walk.keyframe(1, wrong)
    apart = [
        walk.off(retracked(walk.pyramid, [guess(walk)], before, after, share))[1] for share in (0.0, 0.25, 0.75, 1.0)
    ]
    assert apart[0] < 1e-3
    assert np.all(np.diff(apart) > 3e-3), "the nearer the end, the more the wrong one counts"


def test_of_two_that_contradict_each_other_the_better_one_is_believed(walk: Walk) -> None:
    before, (keyframe, lies) = walk.keyframe(0), walk.keyframe(1)
    turned = se3.compose(se3.exp(np.array([0, 0, 0, 0, np.radians(4.0), 0])), lies_pose := walk.poses[2])
    assert lies_pose is not None
    elsewhere = keyframe, Sim3(lies.scale, turned[:3, :3], turned[:3, 3])
    found = retracked(walk.pyramid, [guess(walk)], before, elsewhere, 0.5)
    assert found is not None
    one, other = walk.off(found)[0], 4.0
    assert min(one, abs(one - other)) < 0.2, "one of both, and nothing in between"


def test_depth_that_nobody_is_sure_of_is_left_out(walk: Walk) -> None:
    confidence = np.ones(BIG, np.float32)
    confidence[:, : BIG[1] // 2] = 0.0
    depth = walk.dense[0].depth.copy()
    depth[:, : BIG[1] // 2] *= 3
    half = walk.keyframe(0, replace(walk.dense[0], depth=depth, confidence=confidence))
    turn, _ = walk.off(retracked(walk.pyramid, [guess(walk)], half, None, 0.0))
    assert turn < 0.3
    nothing = replace(walk.dense[0], confidence=np.zeros(BIG, np.float32))
    assert KnownKeyframe.of(0, nothing, SIZE) is None


def test_a_frame_that_fits_neither_has_no_pose(walk: Walk) -> None:
    noise = grey_levels(np.random.default_rng(0).integers(0, 255, HW).astype(np.uint8))
    assert retracked(noise, [guess(walk)], walk.keyframe(0), walk.keyframe(1), 0.5) is None
