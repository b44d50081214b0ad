from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark3r_core.errors import GeometryError
from spark3r_core.geometry import Intrinsics, se3
from spark3r_core.geometry.pointmap import confident, depth_edges, points_from_depth, subsample, valid_depth

CAMERA = Intrinsics(70.0, 72.0, 33.0, 20.5, 64, 40)
RNG = np.random.default_rng(0)


def test_points_project_back_onto_pixel_centres() -> None:
    depth = RNG.uniform(0.5, 4, (40, 64)).astype(np.float32)
    points = points_from_depth(depth, CAMERA.matrix)
    rows, columns = np.mgrid[0:40, 0:64] + 0.5
    np.testing.assert_allclose(CAMERA.project(points), np.stack([columns, rows], -1), atol=1e-9)
    np.testing.assert_array_equal(points[..., 2], depth)
    pose = se3.exp(RNG.normal(size=6))
    world = points_from_depth(depth, CAMERA.matrix, pose)
    np.testing.assert_allclose(se3.transform_points(se3.invert(pose), world), points, atol=1e-9)


def test_depth_edges_mark_steps_and_spare_slopes() -> None:
    depth = np.tile(np.linspace(2.0, 3.0, 64), (40, 1))
    assert not depth_edges(depth).any()
    depth[:, 30:] += 2.0
    edges = depth_edges(depth)
    assert edges[:, 29].all()
    assert edges[:, 30].all()
    assert edges.sum() == 80


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0, -1.0])
def test_invalid_depth_and_its_neighbours_are_edges(bad: float) -> None:
    depth = np.ones((6, 7))
    depth[2, 3] = bad
    expected = np.zeros((6, 7), bool)
    expected[2, 2:5] = expected[1:4, 3] = True
    np.testing.assert_array_equal(depth_edges(depth), expected)
    assert valid_depth(depth).sum() == 41


def test_all_invalid_and_tiny_maps() -> None:
    assert depth_edges(np.full((3, 3), np.nan)).all()
    assert not depth_edges(np.ones((1, 1))).any()
    with pytest.raises(GeometryError, match=r"expected \(H, W\)"):
        depth_edges(np.ones(5))


@given(st.floats(0, 1))
def test_confidence_quantile(quantile: float) -> None:
    confidence = np.arange(100.0).reshape(10, 10)
    confidence[0, 0] = np.nan
    mask = confident(confidence, quantile)
    assert not mask[0, 0]
    assert mask[9, 9]
    assert abs(mask.sum() - 99 * (1 - quantile)) <= 1.0


def test_confidence_of_a_constant_map_keeps_all_and_of_nothing_keeps_none() -> None:
    assert confident(np.full((4, 4), 0.5), 0.9).all()
    assert not confident(np.full((4, 4), np.nan), 0.1).any()
    assert not confident(np.ones((4, 4)), 0.1, np.zeros((4, 4), bool)).any()


@given(st.integers(0, 300), st.integers(0, 300))
def test_subsample_is_bounded_and_keeps_only_true_pixels(true: int, wanted: int) -> None:
    mask = np.zeros(300, bool)
    mask[RNG.permutation(300)[:true]] = True
    picked = subsample(mask.reshape(15, 20), wanted)
    assert len(picked) == min(true, wanted) == len(np.unique(picked))
    assert mask[picked].all()
