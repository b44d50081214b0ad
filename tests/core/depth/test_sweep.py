"""The fast sweeps and their smoothing against the plain ones: by OpenCV and numpy, and by torch on each device."""

from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
import pytest
import torch

from spark3r_core.depth import on_device, reference
from spark3r_core.depth.semi_global import aggregate, choose
from spark3r_core.depth.sweep import sweep
from spark3r_core.depth.views import View
from spark3r_core.geometry.se3 import exp

K = np.array([[24.0, 0, 13.8], [0, 24.0, 10.9], [0, 0, 1]])
HW = (22, 28)
WINDOW = 5


def texture(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, HW, np.uint8)
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), 1.0) // 2 + 60, np.uint8)


def views() -> list[View]:
    """Two that see most, one that sees the left half, one from behind."""
    moves = [[0.05, 0, 0, 0, 0.02, 0], [-0.06, 0.03, 0.05, 0, 0, 0.1], [0.3, 0, 0, 0, 0.35, 0], [0, 0, 0, 0, np.pi, 0]]
    return [View(texture(seed), K, exp(np.array(move))) for seed, move in enumerate(moves, 1)]


def on(name: str) -> dict[str, torch.device]:
    return {"device": torch.device(name)}


SWEEPS = [
    pytest.param(sweep, id="opencv"),
    pytest.param(partial(on_device.sweep, **on("cpu")), id="torch"),
    pytest.param(partial(on_device.sweep, **on("cuda")), id="cuda", marks=pytest.mark.gpu),
]
SMOOTHINGS = [
    pytest.param(aggregate, id="numpy"),
    pytest.param(partial(on_device.aggregate, **on("cpu")), id="torch"),
    pytest.param(partial(on_device.aggregate, **on("cuda")), id="cuda", marks=pytest.mark.gpu),
]


@pytest.mark.parametrize("sweep", SWEEPS)
def test_costs_are_those_of_one_pixel_at_a_time(sweep: Callable) -> None:
    inverse = np.linspace(0.7, 1.3, HW[0] * HW[1], dtype=np.float32).reshape(HW)
    steps = np.linspace(-0.4, 0.4, 5)
    fast = sweep(texture(0), K, views(), inverse, steps, WINDOW)
    slow = reference.sweep(texture(0), K, views(), inverse, steps, WINDOW)
    np.testing.assert_allclose(fast, slow, atol=0.05)  # OpenCV interpolates at 32nds of a pixel
    assert np.abs(fast - slow).mean() < 0.003
    assert fast.std() > 0.05


@pytest.mark.parametrize("sweep", SWEEPS)
def test_one_view_is_its_own_better_half(sweep: Callable) -> None:
    inverse = np.full(HW, 1.0, np.float32)
    one = View(texture(0), K, np.eye(4))
    cost = sweep(texture(0), K, [one], inverse, np.array([0.0]), WINDOW)
    assert np.median(cost) < 0.1  # a picture is like itself, but for noise
    assert cost[0, 2:-3, 2:-3].max() < 0.7
    behind = sweep(texture(0), K, [views()[3]], inverse, np.array([0.0]), WINDOW)
    assert behind.min() == 1.0


@pytest.mark.parametrize("sweep", SWEEPS)
def test_the_worse_half_of_the_views_does_not_count(sweep: Callable) -> None:
    inverse = np.full(HW, 1.0, np.float32)
    same, other = View(texture(0), K, np.eye(4)), View(texture(5), K, np.eye(4))
    good = sweep(texture(0), K, [same, same], inverse, np.array([0.0]), WINDOW)
    mixed = sweep(texture(0), K, [other, same, other, same], inverse, np.array([0.0]), WINDOW)
    np.testing.assert_allclose(mixed, good, atol=1e-6)


@pytest.mark.parametrize("aggregate", SMOOTHINGS)
def test_smoothing_is_that_of_one_pixel_at_a_time(aggregate: Callable) -> None:
    rng = np.random.default_rng(3)
    cost = rng.random((6, 9, 11), np.float32)
    grey = rng.integers(0, 256, (9, 11), np.uint8)
    np.testing.assert_allclose(
        aggregate(cost, grey, 0.05, 0.4, 12.0), reference.aggregate(cost, grey, 0.05, 0.4, 12.0), atol=1e-5
    )


@pytest.mark.parametrize("truth", [-0.13, 0.0, 0.2])
def test_a_step_is_refined_between_steps(truth: float) -> None:
    steps = np.linspace(-0.5, 0.5, 11)
    cost = np.tile(np.square(steps - truth)[:, None, None], (1, 4, 5)).astype(np.float32)
    offset, number = choose(cost, steps)
    np.testing.assert_allclose(offset, truth, atol=1e-3)
    assert (number == np.abs(steps - truth).argmin()).all()
