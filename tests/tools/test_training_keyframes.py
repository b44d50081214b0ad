"""Training for keyframes: views that the tracker's rule would pick, losses that leave the scale out, a frozen trunk."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from spark3r_core.stream.keyframe_choice import KeyframeRule
from spark3r_core.synthetic.paths import make_path
from spark3r_core.synthetic.sequence import intrinsics_from_fov
from spark3r_core.synthetic.world import make_worlds
from tests.tools.tiny_training import sliding, tiny_trainer
from tools.training.curriculum import KEYFRAME_ASPECTS, KEYFRAME_WINDOWS, plan_step
from tools.training.keyframes import FOV_DEG, choose_keyframes, keyframe_batch, varied
from tools.training.losses import CONFIDENCE_ALPHA, depth_losses, focal_together, true_fov

SMALL_HW = (36, 48)


def test_sequences_are_reproducible_and_lenses_span_what_is_promised() -> None:
    first, again = (keyframe_batch(1_000_005, 4, SMALL_HW) for _ in range(2))
    assert first.images.shape == (1, 4, 3, *SMALL_HW)
    for one, other in zip(vars(first).values(), vars(again).values(), strict=True):
        assert torch.equal(one, other)
    fov = [
        2 * np.degrees(np.arctan(24 / float(keyframe_batch(1_000_000 + i, 1, SMALL_HW).intrinsics[0, 0, 0, 0])))
        for i in range(8)
    ]
    assert min(fov) >= FOV_DEG[0]
    assert max(fov) <= FOV_DEG[1]
    assert np.ptp(fov) > 40


def test_keyframes_lie_as_far_apart_as_the_tracker_lets_them() -> None:
    """On a path that only turns, which needs no depth to be judged: each is past the bound, none far beyond."""
    worlds = make_worlds([3], kinds=["room"])
    dense = make_path("turn", 200, 3, worlds, 0)  # one degree each
    camera = intrinsics_from_fov(62, SMALL_HW)
    chosen = choose_keyframes(worlds, dense, camera, SMALL_HW, 8, np.random.default_rng(0))
    turns = np.diff(chosen)
    rule = KeyframeRule()
    assert chosen[0] == 0
    assert turns.min() > 0.5 * rule.most_turn  # a third of a picture of 62 degrees is what 20 degrees take away
    assert turns.max() <= 1.5 * rule.most_turn + 1


def test_a_path_that_is_too_short_is_filled_up() -> None:
    worlds = make_worlds([3], kinds=["room"])
    dense = make_path("still", 20, 3, worlds, 0)
    camera = intrinsics_from_fov(62, SMALL_HW)
    chosen = choose_keyframes(worlds, dense, camera, SMALL_HW, 8, np.random.default_rng(0))
    assert len(set(chosen.tolist())) == 8
    assert (np.diff(chosen) > 0).all()


def test_textures_change_their_size_and_things_stay_where_they_are() -> None:
    worlds = make_worlds([11])
    sizes = set()
    for seed in range(6):
        other = varied(worlds, np.random.default_rng(seed))
        assert torch.equal(other.centre, worlds.centre)
        assert torch.equal(other.half, worlds.half)
        factor = other.material[..., 1] / worlds.material[..., 1]
        solid = worlds.material[..., 1] > 0
        torch.testing.assert_close(other.material[..., 3][solid], (worlds.material[..., 3] * factor)[solid])
        sizes.add(round(float(factor[solid].log().std()), 1))
    assert max(sizes) > 0.5


def test_windows_are_as_large_as_the_mappers() -> None:
    rng = np.random.default_rng(0)
    steps = [plan_step(10**6, 24, rng, 8, KEYFRAME_ASPECTS, "keyframes") for _ in range(1000)]
    drawn = Counter((step.kind, step.frames) for step in steps)
    for which, share in KEYFRAME_WINDOWS.items():
        assert drawn[which] / 1000 == pytest.approx(share, abs=0.05)
    assert all(step.schedule is None and step.frames * step.batch == 24 for step in steps)
    assert {step.aspect for step in steps} == set(range(len(KEYFRAME_ASPECTS)))


def test_the_shape_of_depth_and_its_confidence_do_not_know_the_scale() -> None:
    generator = torch.Generator().manual_seed(0)
    depth = 1 + torch.rand(2, 8, 8, generator=generator)
    predicted = depth * (0.1 * torch.randn(2, 8, 8, generator=generator)).exp()
    confidence = torch.full_like(depth, CONFIDENCE_ALPHA / 0.08)
    mine = depth_losses(predicted, confidence, depth)
    scaled = depth_losses(predicted * torch.tensor([0.5, 3.0])[:, None, None], confidence, depth)
    assert float(scaled["depth"]) > 3 * float(mine["depth"])
    for name in ("shape", "gradient", "confidence"):
        assert float(scaled[name]) == pytest.approx(float(mine[name]), abs=1e-5), name
    assert 0.05 < float(mine["shape"]) < 0.12


def test_fields_of_view_are_judged_together() -> None:
    window = sliding(1, 2)
    fov = true_fov(window)
    assert float(focal_together(fov, window)) == pytest.approx(0.0, abs=1e-6)
    focal = 1.2 ** torch.tensor([1.0, -1.0])[None, :, None]  # one too long, one too short: right together
    apart = 2 * ((fov / 2).tan() / focal).atan()
    assert float(focal_together(apart, window)) == pytest.approx(0.0, abs=1e-6)
    longer = 2 * ((fov / 2).tan() / 1.2).atan()
    assert float(focal_together(longer, window)) == pytest.approx(np.log(1.2), abs=1e-6)


def test_a_frozen_trunk_stays_and_the_rest_learns() -> None:
    trainer = tiny_trainer(frames_per_batch=6, phase="keyframes", frozen_blocks=4)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    numbers = trainer.step(sliding(2, 3), 0.0, trainer.rng())
    assert {"shape", "fov_together", "degrees"} <= set(numbers)
    assert not {"attention", "rays", "flow"} & set(numbers)
    moved = {name for name, value in trainer.model.state_dict().items() if not torch.equal(value, before[name])}
    trunk = {name.split(".pretrained.")[1] for name in moved if ".pretrained." in name}
    assert {name.split(".")[1] for name in trunk if name.startswith("blocks.")} == {"4", "5"}
    assert all(name.startswith(("blocks.", "norm.")) for name in trunk)
    assert any(".head." in name for name in moved)
    assert any(".cam_dec." in name for name in moved)
