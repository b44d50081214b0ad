"""Training works at all: the loss falls, matching leaves chance, and a resumed run goes on exactly where it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from spark3r_core.models.da3 import DA3
from spark3r_core.synthetic.seeds import TRAIN
from tests.tools.tiny_training import IMAGE_HW, TINY, sliding, tiny_trainer
from tools.training import checkpoint
from tools.training.curriculum import Aspect, Step, plan_step
from tools.training.pool import AspectPool, Pool, render_sequences
from tools.training.trainer import Trainer
from tools.training.validation import HeldOut, validate
from tools.training.window import to_gauge

ASPECT = Aspect(IMAGE_HW, 1.0)
FRAMES = 5


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    folder = tmp_path_factory.mktemp("pool")
    part = AspectPool.open(folder, ASPECT, 8, FRAMES)
    for slot, seed in enumerate(range(TRAIN.start + 3, TRAIN.start + 11)):
        part.write(slot, *render_sequences([seed], ASPECT, FRAMES)[0])
    return Pool(folder, [ASPECT], 8, FRAMES)


def run(trainer: Trainer, pool: Pool, steps: int, kind: str = "first", frames: int = 2) -> list[dict[str, float]]:
    rows = []
    for _ in range(steps):
        rng = trainer.rng()
        step = Step(frames, kind, 0, trainer.config.frames_per_batch // frames)
        rows.append(trainer.step(pool.draw(step, rng), 0.0, rng))
    return rows


def test_a_resumed_run_gives_the_same_curve(pool: Pool, tmp_path: Path) -> None:
    straight = tiny_trainer(frames_per_batch=6)
    run(straight, pool, 2)
    checkpoint.save(tmp_path / "last.pt", straight.state_dict())
    expected = run(straight, pool, 2, "near", 3)
    resumed = tiny_trainer(frames_per_batch=6)
    run(resumed, pool, 1)  # whatever it was before, loading replaces it
    resumed.load_state_dict(checkpoint.load(tmp_path / "last.pt"))
    for before, after in zip(expected, run(resumed, pool, 2, "near", 3), strict=True):
        assert after == pytest.approx(before, rel=1e-5, abs=1e-7)
    for name, value in straight.ema.shadow.items():
        assert torch.allclose(value, resumed.ema.shadow[name], atol=1e-6), name


def test_every_kind_of_window_trains(pool: Pool) -> None:
    trainer = tiny_trainer(frames_per_batch=8)
    for kind, frames in (("single", 1), ("pair", 2), ("near", 3), ("stream", 4), ("any", 4)):
        (row,) = run(trainer, pool, 1, kind, frames)
        assert np.isfinite(list(row.values())).all(), kind
    assert trainer.frames_seen == 8 + 8 + 6 + 8 + 8


def test_exported_weights_are_those_of_the_average(pool: Pool) -> None:
    trainer = tiny_trainer(frames_per_batch=4)
    run(trainer, pool, 2)
    model = DA3(TINY)
    half = checkpoint.half_weights(trainer.ema.shadow)
    model.load_state_dict({name: value.float() for name, value in half.items()})
    assert all(value.dtype == torch.float16 for value in half.values())
    assert sum(value.numel() for value in half.values()) == sum(p.numel() for p in model.parameters())


def test_learning_rate_rises_stays_and_falls() -> None:
    trainer = tiny_trainer()
    assert trainer.learning_rate(0.0) == pytest.approx(2e-4)
    trainer.steps = 100
    assert trainer.learning_rate(0.3) == pytest.approx(2e-3)
    assert trainer.learning_rate(1.0) == pytest.approx(2e-3 * trainer.config.final_factor)


def test_the_pool_never_hands_out_a_slot_that_is_being_written(pool: Pool) -> None:
    part = pool.parts[0]
    part.stamp[0] += 1
    try:
        assert 0 not in part.ready()
    finally:
        part.stamp[0] += 1
    assert 0 in part.ready()


@pytest.mark.slow
def test_loss_falls_and_matching_leaves_chance(pool: Pool) -> None:
    trainer = tiny_trainer()
    rows = run(trainer, pool, 120)
    early = {key: np.mean([row[key] for row in rows[:10]]) for key in ("loss", "attention")}
    late = {key: np.mean([row[key] for row in rows[-10:]]) for key in ("loss", "attention", "accuracy")}
    assert late["loss"] < 0.85 * early["loss"]
    assert late["attention"] < early["attention"] - 0.5
    assert late["accuracy"] > 5 / 48  # five times chance, on patches that moved
    rng = np.random.default_rng(0)
    drawn = to_gauge(pool.draw(plan_step(0, 8, rng, 8, [ASPECT]), rng))
    numbers = validate(trainer, HeldOut(drawn, sliding(2, 12)))
    assert np.isfinite(numbers["pair_abs_rel"])
