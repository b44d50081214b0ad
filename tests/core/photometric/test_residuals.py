"""Residuals: derivatives against finite differences, in float64 on an image that is known everywhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from spark3r_core.geometry import se3
from spark3r_core.photometric import depth_grid, grid_weights, residuals
from spark3r_core.photometric.keyframe import Points
from spark3r_core.photometric.residuals import BIAS, COLUMNS, FOCAL, GAIN, NODE, POSE, linearise

HW = (72, 96)
WAVES = torch.tensor([[0.11, 0.07], [-0.05, 0.13], [0.02, -0.09]], dtype=torch.float64)  # radians per pixel
STEP = 1e-6


def analytic_sample(images: Tensor, place: Tensor, **_: object) -> Tensor:
    """In place of `grid_sample`: a sum of sines and its gradient, exact at every place."""
    size = torch.tensor([HW[1], HW[0]], dtype=place.dtype)
    phase = (place + 1) / 2 * size @ WAVES.T + torch.arange(3)  # (n, 1, N, 3)
    intensity = 0.5 + 0.15 * phase.sin().sum(-1)
    gradient = 0.15 * phase.cos() @ WAVES
    return torch.stack([intensity, gradient[..., 0], gradient[..., 1]], 1)


def some_points(count: int = 150, seed: int = 0) -> Points:
    rng = np.random.default_rng(seed)
    focal, centre = (80.0, 78.0), (48.3, 35.6)
    uv = rng.uniform([2, 2], [HW[1] - 2, HW[0] - 2], (count, 2))
    rays = np.column_stack([(uv - centre) / focal, np.ones(count)])
    basis = grid_weights.weights(*torch.from_numpy(uv / (HW[1], HW[0])).T)
    as_tensors = (torch.from_numpy(array) for array in (rays, rng.uniform(0.7, 2, count), rng.uniform(0, 1, count)))
    return Points(*as_tensors, basis, focal, centre, HW)


class Unknowns:
    """One state of everything that is solved for, and how a column of the Jacobian changes it."""

    def __init__(self, seed: int = 1) -> None:
        rng = np.random.default_rng(seed)
        self.poses = se3.exp(0.06 * rng.normal(size=(3, 6)))
        self.brightness = np.array([1.0, 0.0]) + 0.1 * rng.normal(size=(3, 2))
        self.nodes, self.log_focal = 0.1 * rng.normal(size=depth_grid.NODES), 0.04

    def moved(self, column: int, by: float) -> Unknowns:
        other = Unknowns()
        if column < POSE.stop:
            other.poses = se3.compose(se3.exp(by * np.eye(6)[column]), self.poses)
        elif column in (GAIN, BIAS):
            other.brightness = self.brightness + by * np.eye(2)[column - GAIN]
        elif column < NODE.stop:
            other.nodes = self.nodes + by * np.eye(depth_grid.NODES)[column - NODE.start]
        else:
            other.log_focal = self.log_focal + by
        return other

    def linearised(self, points: Points) -> residuals.Linearised:
        images = torch.zeros(3, 3, *HW, dtype=torch.float64)
        tensors = (torch.from_numpy(array) for array in (self.poses, self.brightness, self.nodes))
        return linearise(points, images, *tensors, self.log_focal)


@pytest.fixture
def _exact_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(residuals.F, "grid_sample", analytic_sample)


@pytest.mark.usefixtures("_exact_image")
@pytest.mark.parametrize(
    "columns",
    [range(3), range(3, 6), [GAIN], [BIAS], range(NODE.start, NODE.stop), [FOCAL]],
    ids=["rho", "phi", "gain", "bias", "nodes", "focal"],
)
def test_derivatives_are_those_of_finite_differences(columns: range) -> None:
    points, state = some_points(), Unknowns()
    parts = state.linearised(points)
    assert parts.visible.float().mean() > 0.5
    for column in columns:
        after, before = (state.moved(column, by).linearised(points).jacobian[..., -1] for by in (STEP, -STEP))
        numeric = ((after - before) / (2 * STEP))[parts.visible]
        analytic = parts.jacobian[..., column][parts.visible]
        assert numeric.abs().max() > 1e-3, f"column {column} changes nothing"
        torch.testing.assert_close(analytic, numeric, rtol=1e-6, atol=1e-7)


def test_columns_are_laid_out_without_gap_or_overlap() -> None:
    order = [*range(*POSE.indices(99)), GAIN, BIAS, *range(*NODE.indices(99)), FOCAL]
    assert order == list(range(COLUMNS))


@pytest.mark.usefixtures("_exact_image")
def test_squares_are_the_weighted_products_of_the_jacobian() -> None:
    parts = Unknowns().linearised(some_points())
    squares = parts.squares()
    for frame in range(3):
        jacobian = parts.jacobian[frame].numpy()
        plain = jacobian.T @ np.diag(parts.weight[frame].numpy()) @ jacobian
        np.testing.assert_allclose(squares[frame].numpy(), plain, rtol=1e-9, atol=1e-9 * np.abs(plain).max())


@pytest.mark.usefixtures("_exact_image")
def test_points_behind_the_camera_or_out_of_view_count_nothing() -> None:
    state, points = Unknowns(), some_points()
    behind = se3.exp([0, 0, 0, 0, np.pi, 0])
    beyond = se3.exp([0, 0, -5.0, 0, 0, 0])  # the camera went through all of them
    aside = se3.exp([0, 0, 0, 0, 1.4, 0])
    state.poses = np.stack([behind, beyond, aside])
    parts = state.linearised(points)
    assert not parts.visible.any()
    assert (parts.weight == 0).all()
    assert torch.isfinite(parts.squares()).all()
    assert (parts.squares() == 0).all()


@pytest.mark.usefixtures("_exact_image")
def test_large_errors_and_pixels_that_shift_with_depth_count_less() -> None:
    points, state = some_points(), Unknowns()
    parts = state.linearised(points)
    small = parts.visible & (parts.error < residuals.HUBER)
    assert small.any()
    assert (parts.visible & ~small).any()
    full = residuals.INTENSITY_SIGMA**-2
    assert (parts.weight[parts.visible] <= full * (1 + 1e-9)).all()
    influence = (parts.weight.sqrt() * parts.error)[parts.visible & ~small]
    bound = (residuals.HUBER * parts.error * full).sqrt()[parts.visible & ~small]
    assert (influence <= bound * (1 + 1e-9)).all()
    state.poses = np.tile(np.eye(4), (3, 1, 1))  # seen from where they are, depth does not matter
    there = state.linearised(points)
    turned = there.visible & (there.error < residuals.HUBER)
    torch.testing.assert_close(there.weight[turned], torch.full_like(there.weight[turned], full))
