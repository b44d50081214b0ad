"""The pieces of training that have one right answer: matches, gauge, mirroring, windows, measures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spark3r_core.models.bundled import build_bundled
from tools.training import checkpoint
from tools.training.curriculum import ASPECTS, Step, choose_frames, plan_step
from tools.training.losses import (
    CONFIDENCE_ALPHA,
    depth_losses,
    ray_targets,
    relative_poses,
    rotation_degrees,
    rotation_distance,
)
from tools.training.matching import match_patches, window_pairs
from tools.training.trainer import TrainConfig, Trainer
from tools.training.window import Window, flip, gauge_scale, to_gauge


def wall(shift: float, depth: float = 4.0, image_hw: tuple[int, int] = (24, 36)) -> Window:
    """Two cameras before a wall parallel to the image plane, the second moved `shift` to the right."""
    height, width = image_hw
    pose = torch.eye(4).repeat(1, 2, 1, 1)
    pose[0, 1, 0, 3] = shift
    intrinsics = torch.tensor([[24.0, 0, width / 2], [0, 24.0, height / 2], [0, 0, 1]]).repeat(1, 2, 1, 1)
    return Window(torch.rand(1, 2, 3, *image_hw), torch.full((1, 2, *image_hw), depth), pose, intrinsics)


def test_matches_of_a_wall_move_by_focal_times_shift_over_depth() -> None:
    window = wall(shift=2.0)  # 24 * 2 / 4 = 12 pixels = one patch to the left
    matches = match_patches(window.depth, window.world_from_camera, window.intrinsics, 12, [(0, 1)])
    assert matches.valid[0, 0].reshape(2, 3).tolist() == [[False, True, True], [False, True, True]]
    assert matches.target[0, 0].reshape(2, 3)[:, 1:].tolist() == [[0, 1], [3, 4]]
    assert torch.allclose(matches.uv[0, 0, 1], torch.tensor([6.5, 6.5]), atol=1e-4)
    assert torch.allclose(matches.moved[0, 0], torch.ones(6), atol=1e-4)


def test_occluded_and_sky_patches_do_not_match() -> None:
    window = wall(shift=0.0)
    window.depth[0, 1, :12] = 2.0  # something nearer hides the upper row in the second frame
    window.depth[0, 0, 12:, :12] = torch.inf
    valid = match_patches(window.depth, window.world_from_camera, window.intrinsics, 12, [(0, 1)]).valid
    assert valid.reshape(2, 3).tolist() == [[False, False, False], [False, True, True]]


def test_window_pairs_are_neighbours_and_reference_both_ways() -> None:
    assert window_pairs(1) == ()
    assert set(window_pairs(3)) == {(0, 1), (1, 0), (1, 2), (2, 1), (0, 2), (2, 0)}


def test_gauge_makes_frame_zero_the_world_and_its_mean_depth_the_unit() -> None:
    window = wall(shift=2.0)
    turn = torch.tensor([[0.0, -1, 0, 5], [1, 0, 0, -3], [0, 0, 1, 2], [0, 0, 0, 1]])
    moved = Window(window.images, window.depth, turn @ window.world_from_camera, window.intrinsics)
    result = to_gauge(moved)
    assert torch.allclose(result.world_from_camera[0, 0], torch.eye(4), atol=1e-6)
    assert torch.allclose(result.world_from_camera[0, 1, :3, 3], torch.tensor([0.5, 0, 0]), atol=1e-6)
    assert torch.allclose(gauge_scale(result.depth[:, 0]), torch.ones(1))


def test_gauge_scale_ignores_sky_and_clips_far_corners() -> None:
    depth = torch.full((1, 10, 10), 2.0)
    depth[0, 0, 0] = torch.inf
    assert gauge_scale(depth).item() == pytest.approx(2.0)
    depth[0, 0, 1] = 1e6
    assert gauge_scale(depth).item() == pytest.approx((98 * 2 + 8) / 99)
    assert torch.isfinite(gauge_scale(torch.full((1, 4, 4), torch.inf)))


def test_mirroring_keeps_matches() -> None:
    window = wall(shift=2.0)
    mirrored = flip(window, torch.tensor([True]))
    straight = match_patches(window.depth, window.world_from_camera, window.intrinsics, 12, [(0, 1)])
    turned = match_patches(mirrored.depth, mirrored.world_from_camera, mirrored.intrinsics, 12, [(0, 1)])
    assert torch.equal(turned.valid.reshape(2, 3), straight.valid.reshape(2, 3).flip(-1))
    assert torch.equal(flip(mirrored, torch.tensor([True])).images, window.images)


def test_rotation_measures_agree() -> None:
    angle = torch.tensor(0.02)
    c, s = angle.cos(), angle.sin()
    turned = torch.stack([torch.stack([c, -s, 0 * c]), torch.stack([s, c, 0 * c]), torch.tensor([0.0, 0, 1])])
    assert rotation_degrees(turned, torch.eye(3)).item() == pytest.approx(np.degrees(0.02), rel=1e-4)
    assert rotation_distance(turned, torch.eye(3)).item() == pytest.approx(0.02, rel=0.02)


def test_relative_pose_of_the_second_camera_in_the_first() -> None:
    rotation, translation = relative_poses(wall(shift=2.0).world_from_camera, [(0, 1), (1, 0)])
    assert torch.allclose(rotation, torch.eye(3).expand_as(rotation))
    assert torch.allclose(translation[0], torch.tensor([[2.0, 0, 0], [-2.0, 0, 0]]))


def test_best_confidence_is_alpha_over_error() -> None:
    error, depth = 0.05, torch.full((1, 8, 8), 2.0)
    sign = torch.tensor([1.0, -1.0]).repeat(1, 8, 4)  # after one scale the mean error is the same
    predicted = depth * (error * sign).exp()
    best = CONFIDENCE_ALPHA / error
    losses = [
        depth_losses(predicted, torch.full_like(depth, c), depth)["confidence"] for c in (0.8 * best, best, 1.25 * best)
    ]
    assert losses[1] < losses[0]
    assert losses[1] < losses[2]


def test_rays_of_the_second_camera_start_at_its_centre() -> None:
    rays = ray_targets(wall(shift=2.0), 12)
    assert torch.allclose(rays[0, 1, :, 3:], torch.tensor([2.0, 0, 0]).expand(6, 3))
    assert torch.allclose(rays[0, 0, :, 2], torch.ones(6))


def test_frames_are_chosen_within_the_sequence_and_anchors_first() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        for kind, frames in (("first", 2), ("pair", 2), ("single", 1), ("near", 5), ("stream", 6), ("any", 8)):
            chosen = choose_frames(Step(frames, kind, 0, 1), 12, rng)
            assert len(chosen) == frames
            assert chosen.min() >= 0
            assert chosen.max() < 12
            if kind == "stream":
                assert (np.diff(chosen) > 0).all()
                assert chosen[-1] == chosen[-2] + 1


def test_curriculum_starts_with_pairs_and_keeps_the_frame_budget() -> None:
    rng = np.random.default_rng(1)
    assert all(plan_step(0, 24, rng, 8, ASPECTS) == Step(2, "first", 0, 12) for _ in range(20))
    late = [plan_step(10**6, 24, rng, 8, ASPECTS) for _ in range(400)]
    assert {step.frames for step in late} == set(range(1, 9))
    assert {step.aspect for step in late} == set(range(len(ASPECTS)))
    assert all(17 <= step.frames * step.batch <= 24 for step in late)


def test_training_goes_on_from_the_shipped_weights() -> None:
    """A machine that has lost the checkpoint still has what the package ships."""
    model = build_bundled()
    trainer = Trainer(model, TrainConfig())
    weights, steps, frames_seen = checkpoint.shipped()
    trainer.start_from(weights, steps, frames_seen)
    assert trainer.steps == steps > 0
    assert trainer.frames_seen == frames_seen
    shipped = checkpoint.half_weights(trainer.ema.shadow)
    assert all(torch.equal(shipped[name].float(), weights[name]) for name in weights)
