"""The correction grid: a partition of unity, and what it reads off known points."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spark3r_core.photometric import depth_grid, grid_weights
from spark3r_core.photometric.depth_grid import COLUMNS, NODES, ROWS


def smooth(places: np.ndarray) -> np.ndarray:
    """A log correction of some tenths over the image, whose median is not nought."""
    return 0.12 * np.sin(3 * places[:, 0]) * np.cos(2 * places[:, 1]) - 0.08 * places[:, 0]


def test_weights_share_out_one() -> None:
    u, v = torch.rand(2, 500, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    corners = torch.tensor([0.0, 1.0, 0.0, 1.0], dtype=torch.float64)
    weights = grid_weights.weights(torch.cat([u, corners]), torch.cat([v, corners.sort().values]))
    assert weights.shape == (504, NODES)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(504, dtype=torch.float64))
    assert ((weights > 0).sum(1) <= 4).all()
    assert (weights[500:].max(1).values == 1).all()  # a node in each corner
    assert weights[501].argmax() == COLUMNS - 1  # rows of nodes one after another


def test_weights_interpolate_a_tilt_exactly() -> None:
    u, v = torch.rand(2, 100, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    rows, columns = torch.meshgrid(torch.linspace(0, 1, ROWS), torch.linspace(0, 1, COLUMNS), indexing="ij")
    nodes = (0.3 * columns - 0.7 * rows + 0.2).flatten().double()
    torch.testing.assert_close(grid_weights.weights(u, v) @ nodes, 0.3 * u - 0.7 * v + 0.2, rtol=0, atol=1e-6)


@pytest.mark.parametrize("outliers", [0.0, 0.2])
def test_fit_finds_scale_and_correction(outliers: float) -> None:
    rng = np.random.default_rng(2)
    places = rng.random((3000, 2))
    log_ratio = np.log(2.5) + smooth(places) + 0.02 * rng.normal(size=3000)
    wrong = rng.random(3000) < outliers
    log_ratio[wrong] += rng.choice([-1, 1], wrong.sum()) * rng.uniform(0.7, 2, wrong.sum())
    scale, nodes, information = depth_grid.fit(log_ratio, places)
    basis = grid_weights.weights(*torch.from_numpy(places).T).numpy()
    error = scale + basis @ nodes - np.log(2.5) - smooth(places)
    assert abs(scale - np.log(2.5) - np.median(smooth(places))) < 0.02
    assert np.sqrt((error**2).mean()) < (0.02 if outliers else 0.012)
    assert np.abs(error).max() < 0.08
    assert np.linalg.eigvalsh(information).min() > 0


def test_a_mere_scale_leaves_the_nodes_at_nought() -> None:
    places = np.random.default_rng(3).random((200, 2))
    scale, nodes, _ = depth_grid.fit(np.full(200, -0.7), places)
    assert scale == pytest.approx(-0.7)
    np.testing.assert_allclose(nodes, 0, atol=1e-12)


def test_nodes_that_see_no_point_stay_near_nought_and_unknown() -> None:
    rng = np.random.default_rng(4)
    places = rng.random((2000, 2)) * [0.38, 1.0]  # of six columns of nodes, the last three see nothing
    _, nodes, information = depth_grid.fit(0.5 * places[:, 0], places)
    grid, known = nodes.reshape(ROWS, COLUMNS), np.diag(information).reshape(ROWS, COLUMNS)
    assert np.abs(grid[:, 3:]).max() < 1e-9
    assert known[:, 3:].max() == 0
    assert np.abs(grid[:, :2]).max() > 0.03
    assert known[:, :2].min() > 5


def test_the_prior_holds_every_node_alike() -> None:
    precision = depth_grid.prior_precision()
    np.testing.assert_array_equal(precision, np.eye(NODES) * precision[0, 0])
    assert 0.1 < precision[0, 0] ** -0.5 < 0.3  # log depth


@pytest.mark.parametrize("size_hw", [(144, 192), (37, 51)])
def test_what_is_known_everywhere_has_the_precision_asked_for(size_hw: tuple[int, int]) -> None:
    known = np.ones(size_hw, bool)
    information = depth_grid.information_of(known, 100.0)
    assert information.sum() == pytest.approx(100.0 * NODES)  # all nodes moved alike
    half = known.copy()
    half[:, size_hw[1] // 2 :] = False
    of_half = depth_grid.information_of(half, 100.0).reshape(ROWS, COLUMNS, ROWS, COLUMNS)
    assert np.abs(of_half[:, COLUMNS // 2 + 1 :]).max() == 0, "nothing is known of nodes where nothing is"
    np.testing.assert_allclose(of_half[:, 0, :, 0], information.reshape(of_half.shape)[:, 0, :, 0])
