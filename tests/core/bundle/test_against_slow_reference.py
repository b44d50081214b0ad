import numpy as np
import pytest

from spark3r_core.bundle import normal_equations
from spark3r_core.bundle.normal_equations import NormalEquations
from spark3r_core.bundle.problem import PoseFactors
from spark3r_core.bundle.residuals import Sightings, errors_of
from spark3r_core.bundle.solve import solve
from spark3r_core.bundle.triangulate import triangulate
from tests.core.bundle import slow_reference
from tests.core.bundle.scene import WIDTH, make_scene

SIGMA = 1.3


def problem(seed: int = 0, sigma: float = 0.2, fixed: tuple[int, ...] = (0,)):
    """A small scene with outliers, unknown depths and tracked steps, and a state that is off."""
    rng = np.random.default_rng(seed)
    scene = make_scene(seed, 4, 12, outliers=0.1)
    cameras = scene.start(rng, focal=1.1, sigma=sigma)
    cameras.log_scale[:] = rng.normal(0, 0.1, 4)
    cameras.fixed[:] = np.isin(np.arange(4), fixed)
    scene.seen.depth[::3] = np.nan
    factors = scene.tracked(rng, 0.05, 0.02)
    points, ahead = triangulate(cameras, scene.seen)
    assert ahead.all()
    return cameras, points, scene.seen, factors


def equations(cameras, points, seen, factors) -> NormalEquations:
    ordered = Sightings(seen, len(cameras.fixed))
    errors = errors_of(cameras, points, ordered, factors, SIGMA)
    return NormalEquations(cameras, points, ordered, factors, errors, SIGMA)


@pytest.mark.parametrize("with_factors", [False, True])
def test_the_cost_is_that_of_the_slow_reference(with_factors: bool) -> None:
    cameras, points, seen, factors = problem()
    factors = factors if with_factors else PoseFactors.none()
    fast = errors_of(cameras, points, Sightings(seen, 4), factors, SIGMA).cost
    assert fast == pytest.approx(slow_reference.cost(cameras, points, seen, factors, SIGMA), rel=1e-10)


@pytest.mark.parametrize("focal_sigma", [0.0, 0.2])
@pytest.mark.parametrize("fixed", [(0,), (1, 3)])
def test_normal_equations_are_those_of_numeric_derivatives(focal_sigma: float, fixed: tuple[int, ...]) -> None:
    """Schur complement and reduced gradient, which contain every block; with chunks of one point as well."""
    cameras, points, seen, factors = problem(1, focal_sigma, fixed)
    residual, jacobian = slow_reference.weighted(cameras, points, seen, factors, SIGMA)
    full, gradient = jacobian.T @ jacobian, jacobian.T @ residual
    size = len(full) - points.size
    across = full[:size, size:] @ np.linalg.inv(full[size:, size:])
    reduced, by_points, _ = equations(cameras, points, seen, factors).reduced(0.0)
    scale = np.sqrt(np.outer(np.diag(full)[:size], np.diag(full)[:size]))
    # the turn of a tracked step is derived to second order only
    np.testing.assert_allclose(reduced / scale, (full[:size, :size] - across @ full[size:, :size]) / scale, atol=2e-5)
    expected = gradient[:size] - across @ gradient[size:]
    np.testing.assert_allclose(by_points, expected, atol=1e-4 * np.abs(gradient[:size]).max())


def test_a_damped_step_is_that_of_the_whole_system() -> None:
    cameras, points, seen, factors = problem(2)
    residual, jacobian = slow_reference.weighted(cameras, points, seen, factors, SIGMA)
    full = jacobian.T @ jacobian
    full[np.diag_indices_from(full)] *= 1.01
    expected = slow_reference.moved(cameras, points, -np.linalg.solve(full, jacobian.T @ residual))
    found = equations(cameras, points, seen, factors).step(0.01)
    assert found is not None
    np.testing.assert_allclose(found[0].camera_from_world, expected[0].camera_from_world, atol=1e-4)
    np.testing.assert_allclose(found[0].log_scale, expected[0].log_scale, atol=1e-4)
    assert found[0].focal == pytest.approx(expected[0].focal, rel=1e-4)
    np.testing.assert_allclose(found[1], expected[1], atol=2e-3)


def test_chunks_of_points_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = equations(*problem(3)).reduced(0.01)
    monkeypatch.setattr(normal_equations, "CHUNK_BYTES", 1)
    for one, other in zip(at_once, equations(*problem(3)).reduced(0.01), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9 * np.abs(one).max())


def test_the_fast_solution_is_as_good_as_the_slow_one() -> None:
    cameras, _, seen, factors = problem(4)
    fast = solve(cameras, seen, factors, WIDTH, iterations=30, rounds=1)
    slow = slow_reference.solve_slowly(cameras, triangulate(cameras, seen)[0], seen, factors, 1.0, 30)
    slow_cost = slow_reference.cost(*slow, seen, factors, 1.0)
    assert fast.cost < slow_cost * 1.001
    np.testing.assert_allclose(fast.cameras.camera_from_world, slow[0].camera_from_world, atol=0.01)
