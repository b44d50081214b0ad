"""Each primitive against its signed distance on rays of its own, including the awkward ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spark3r_core.synthetic.distance import WorldDistance
from spark3r_core.synthetic.intersect import box_distances, cylinder_distances, shell_distances, sphere_distances
from spark3r_core.synthetic.primitives import tilt_matrix, yaw_matrix

FAR = np.full(3, 50.0)
CENTRE = np.array([0.3, -0.2, 4.0])
NOTHING = np.zeros((0, 3))


def _rays(seed: int, count: int = 60) -> np.ndarray:
    aim = CENTRE + np.random.default_rng(seed).uniform(-1.2, 1.2, (count, 3))
    return np.concatenate([aim, [[0, 0, 1], [1, 0, 0], [0, 1, 0], CENTRE]])  # with exact zeros among the components


def _march(distance: WorldDistance, directions: np.ndarray) -> np.ndarray:
    return np.array([distance.march(np.zeros(3), d, limit=20.0) / np.linalg.norm(d) for d in directions])


def _solid(boxes=None, spheres=None, cylinders=None) -> WorldDistance:
    return WorldDistance(
        room_min=-FAR,
        room_max=FAR,
        open_sky=False,
        boxes=boxes or (NOTHING, np.zeros((0, 3, 3)), NOTHING),
        spheres=spheres or (NOTHING, np.zeros(0)),
        cylinders=cylinders or (NOTHING, np.zeros(0), np.zeros(0)),
    )


def _compare(found: torch.Tensor, expected: np.ndarray) -> None:
    values = found[0].amin(0).double().numpy()
    assert np.isfinite(expected).sum() >= 10
    assert np.isinf(expected).sum() >= 3
    np.testing.assert_allclose(values, expected, rtol=2e-4, atol=2e-4)


def _inputs(directions: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.zeros(1, 3), torch.from_numpy(directions.T).float()[None]


@pytest.mark.parametrize("seed", range(3))
def test_rotated_box(seed: int) -> None:
    rotation, half = yaw_matrix(0.7) @ tilt_matrix(0.4), np.array([0.5, 0.3, 0.8])
    directions = _rays(seed)
    expected = _march(_solid(boxes=(CENTRE[None], rotation[None], half[None])), directions)
    tensors = (torch.from_numpy(a).float()[None, None] for a in (CENTRE, rotation, half))
    _compare(box_distances(*_inputs(directions), *tensors), expected)


@pytest.mark.parametrize("seed", range(3))
def test_sphere(seed: int) -> None:
    directions = _rays(seed)
    expected = _march(_solid(spheres=(CENTRE[None], np.array([0.7]))), directions)
    centre = torch.from_numpy(CENTRE).float()[None, None]
    _compare(sphere_distances(*_inputs(directions), centre, torch.tensor([[0.7]])), expected)


@pytest.mark.parametrize("seed", range(3))
def test_capped_cylinder(seed: int) -> None:
    directions = _rays(seed)
    expected = _march(_solid(cylinders=(CENTRE[None], np.array([0.5]), np.array([0.6]))), directions)
    centre = torch.from_numpy(CENTRE).float()[None, None]
    _compare(cylinder_distances(*_inputs(directions), centre, torch.tensor([[0.5]]), torch.tensor([[0.6]])), expected)


def test_shell_faces_are_named_by_axis_and_side() -> None:
    directions = np.array([[-1, 0, 0], [1, 0, 0], [0, -1, 0], [0, 1, 0], [0, 0, -1], [0, 0, 2]], float)
    low, high = torch.tensor([[-1.0, -2.0, -3.0]]), torch.tensor([[4.0, 5.0, 6.0]])
    distance, face = shell_distances(*_inputs(directions), low, high)
    assert distance[0].tolist() == pytest.approx([1, 4, 2, 5, 3, 3])
    assert face[0].tolist() == [0, 1, 2, 3, 4, 5]
