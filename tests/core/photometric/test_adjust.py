"""Adjustment of one window: poses, depth and focal length come back from guesses that are off."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spark3r_core.geometry import se3
from spark3r_core.photometric.adjust import Adjusted, Past, adjust, misfit
from spark3r_core.photometric.keyframe import Keyframe
from spark3r_core.photometric.pyramid import grey_pyramid
from spark3r_core.stream import refiner
from spark3r_core.synthetic import SyntheticSequence
from tests.core.photometric.scene import Room, camera, path, video

HW = (144, 192)
UNSURE = (0.0, refiner.FOCAL_SIGMA**-2)
KNOWN = (0.0, refiner.KNOWN_CAMERA)


class Case:
    """A keyframe, the first of `poses`, and pyramids of the others; `depth_factor` (H, W) and `focal` spoil it."""

    def __init__(self, poses: np.ndarray, depth_factor: np.ndarray | float = 1.0, focal: float = 1.0) -> None:
        images, depths = video(Room(box=False), poses, HW, noise=0.005)
        pyramid = grey_pyramid(images)
        intrinsics = camera(HW)
        intrinsics[[0, 1], [0, 1]] *= focal
        self.depth = float(np.median(depths[0]))
        depth = torch.from_numpy(depths[0] * depth_factor).float()
        self.key = Keyframe.of(poses[0], [level[0] for level in pyramid], depth, intrinsics)
        self.pyramid = [level[1:] for level in pyramid]
        self.truth = se3.compose(se3.invert(poses[1:]), poses[0])

    def solve(self, guess: np.ndarray, focal_prior: tuple[float, float], past: Past | None = None) -> Adjusted:
        return adjust(self.key, self.pyramid, guess, 0.0, focal_prior, past)

    def errors(self, found: np.ndarray, truth: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """(n,) degrees and (n,) shares of the median depth."""
        truth = self.truth if truth is None else truth
        turn = np.rad2deg(se3.relative_angle(found, truth))
        return turn, np.linalg.norm((se3.invert(found) - se3.invert(truth))[:, :3, 3], axis=1) / self.depth


def off(poses: np.ndarray, degrees: float, shift: float, seed: int) -> np.ndarray:
    """Each pose turned by so much about a random axis and moved by so much in a random direction."""
    directions = np.random.default_rng(seed).normal(size=(len(poses), 2, 3))
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    twists = np.concatenate([shift * directions[:, 0], np.deg2rad(degrees) * directions[:, 1]], 1)
    return se3.compose(se3.exp(twists), poses)


@pytest.mark.parametrize("seed", range(4))
def test_a_pose_comes_back_with_exact_depth(seed: int) -> None:
    case = Case(path(2, step=2))
    guess = off(case.truth, 2.0, 0.03 * case.depth, seed)
    found = case.solve(guess, KNOWN)
    turn, shift = case.errors(found.camera_from_key)
    assert turn.max() < 0.1
    assert shift.max() < 0.005
    assert found.inliers.min() > 0.95
    assert found.overlap.min() > 0.8
    assert found.likeness.min() > 0.95
    assert abs(found.log_focal) < 1e-4
    assert np.abs(found.nodes).max() < 0.1
    before, after = (misfit(case.key, 0, case.pyramid[0], poses, 0.0)[0] for poses in (guess, found.camera_from_key))
    assert after < 0.5 * before


def test_a_pose_comes_back_in_a_furnished_room() -> None:
    sequence = SyntheticSequence(3, 6, kind="handheld", image_hw=HW, augment=False, world_kind="room")
    (first, depth, pose, intrinsics), (second, _, other, _) = sequence.frame(0), sequence.frame(5)
    images = torch.from_numpy(np.stack([first, second])).permute(0, 3, 1, 2).float() / 255
    pyramid = grey_pyramid(images)
    unit = float(np.median(depth))
    pose[:3, 3] /= unit
    other[:3, 3] /= unit
    key = Keyframe.of(pose, [level[0] for level in pyramid], torch.from_numpy(depth / unit), intrinsics)
    truth = se3.compose(se3.invert(other), pose)[None]
    found = adjust(key, [level[1:] for level in pyramid], off(truth, 2.0, 0.03, 0), 0.0, KNOWN, None)
    assert np.rad2deg(se3.relative_angle(found.camera_from_key, truth)).max() < 0.1
    assert np.abs(se3.invert(found.camera_from_key) - se3.invert(truth))[:, :3, 3].max() < 0.005


def test_several_views_mend_wrong_depth_and_focal_length() -> None:
    poses = path(9, step=3)[[0, 2, 4, 6, 8]]
    v, u = np.mgrid[: HW[0], : HW[1]] / np.array(HW)[:, None, None]
    wrong = np.exp(0.14 * np.sin(4 * u + 1) * np.cos(3 * v))  # up to 15 %
    case = Case(poses, wrong, focal=1.03)
    guess = off(case.truth, 2.0, 0.03 * case.depth, 1)
    found = case.solve(guess, UNSURE)
    turn, shift = case.errors(found.camera_from_key)
    turn_before, shift_before = case.errors(guess)
    assert np.sqrt((turn**2).mean()) < np.sqrt((turn_before**2).mean()) / 3
    assert np.sqrt((shift**2).mean()) < np.sqrt((shift_before**2).mean()) / 3
    points = case.key.levels[0]
    places_u = points.rays[:, 0] * points.focal_xy[0] / HW[1] + 0.5
    places_v = points.rays[:, 1] * points.focal_xy[1] / HW[0] + 0.5
    spoilt = 0.14 * np.sin(4 * places_u.numpy() + 1) * np.cos(3 * places_v.numpy())
    assert np.std(points.basis.double().numpy() @ found.nodes + spoilt) < 0.5 * np.std(spoilt)
    assert found.focal_information > 0


def test_brightness_may_change() -> None:
    case = Case(path(2, step=2))
    case.pyramid[:] = [level * torch.tensor([0.85, 0.85, 0.85])[:, None, None] for level in case.pyramid]
    for level in case.pyramid:
        level[:, 0] += 0.06
    found = case.solve(off(case.truth, 1.0, 0.02 * case.depth, 3), KNOWN)
    turn, shift = case.errors(found.camera_from_key)
    assert turn.max() < 0.1
    assert shift.max() < 0.005
    assert found.inliers.min() > 0.95


def test_frames_of_a_window_are_solved_as_well_together_as_alone() -> None:
    case = Case(path(4, step=2))
    guess = off(case.truth, 1.0, 0.02 * case.depth, 5)
    together = case.solve(guess, KNOWN).camera_from_key
    for frame in range(3):
        only = [level[frame : frame + 1] for level in case.pyramid]
        alone = adjust(case.key, only, guess[frame : frame + 1], 0.0, KNOWN, None).camera_from_key
        turn, shift = case.errors(alone, together[frame : frame + 1])
        assert turn.max() < 0.1
        assert shift.max() < 0.005


def test_without_pixels_the_guess_and_steadiness_decide() -> None:
    case = Case(path(4))
    grey = [torch.zeros_like(level) for level in case.pyramid]
    empty = Keyframe.of(np.eye(4), [level[0] for level in grey], torch.ones(HW), camera(HW))
    twist = np.array([0.02, 0, 0.01, 0, 0.01, 0])
    straight = se3.exp(np.arange(-1, 4)[:, None] * twist)
    past = Past(straight[:2], float(np.linalg.norm(twist[:3])), np.ones(4))
    guess = straight[2:].copy()
    guess[:, :3, 3] += [[0.01, 0, 0], [-0.01, 0, 0], [0.0, 0.01, 0]]
    for given, expected in ((None, guess), (past, straight[2:])):
        found = adjust(empty, grey, guess, 0.0, UNSURE, given)
        np.testing.assert_allclose(found.camera_from_key, expected, atol=1e-9 if given is None else 3e-3)
        assert found.inliers.max() == 0
        assert found.likeness.max() == 0
        assert found.focal_information == 0


def test_pixels_that_are_no_numbers_leave_finite_poses_that_nobody_trusts() -> None:
    case = Case(path(3))
    case.pyramid[0][1, 0] = float("nan")
    found = case.solve(case.truth, UNSURE)
    assert np.isfinite(found.camera_from_key).all()
    assert np.isfinite(found.nodes).all()
    assert np.isfinite(found.log_focal)
    assert not (found.inliers[1] > 0.5 and found.likeness[1] > 0.5)
