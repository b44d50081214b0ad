"""Keyframes fused into one mesh."""

from dataclasses import replace

import numpy as np
import pytest

from spark3r_core.errors import GeometryError
from spark3r_core.geometry.sim3 import Sim3
from spark3r_stream.map.surface import PosedDepth, fused, usable_depth

HW = (48, 64)
K = np.array([[60.0, 0, 32], [0, 60.0, 24], [0, 0, 1]])
BUDGET = 64 * 2**20


def wall(x: float, scale: float = 1.0, distance: float = 2.0) -> PosedDepth:
    """What a camera at (x, 0, 0) sees of a wall at z = distance. scale: map units per unit of the keyframe."""
    image = np.full((*HW, 3), (200, 100, 50), np.uint8)
    depth = np.full(HW, distance / scale, np.float32)
    return PosedDepth(depth, image, K, Sim3(scale, np.eye(3), np.array([x, 0, 0.0])))


@pytest.mark.mesh
def test_a_wall_seen_twice_is_one_wall_in_its_place_and_colour() -> None:
    mesh = fused([wall(0.0), wall(0.3, scale=2.0)], BUDGET)
    assert len(mesh.triangles) > 500
    np.testing.assert_allclose(mesh.vertices[:, 2], 2.0, atol=0.2 * mesh.voxel)
    assert np.abs(mesh.colours.astype(int) - [200, 100, 50]).max() <= 2
    # pixel centres: the wall reaches from the left edge of the first to the right edge of the second picture
    assert abs(mesh.vertices[:, 0].min() + 2.0 * 32 / 60) < 3 * mesh.voxel
    assert abs(mesh.vertices[:, 0].max() - (0.3 + 2.0 * 32 / 60)) < 3 * mesh.voxel


@pytest.mark.mesh
def test_a_keyframe_that_moved_is_fused_where_it_lies_now() -> None:
    before = fused([wall(0.0)], BUDGET).vertices
    after = fused([wall(1.0)], BUDGET).vertices
    np.testing.assert_allclose(after.mean(0) - before.mean(0), [1, 0, 0], atol=0.05)  # a voxel


@pytest.mark.mesh
def test_equal_input_gives_an_equal_mesh() -> None:
    first, second = (fused([wall(0.0), wall(0.2)], BUDGET) for _ in range(2))
    assert first.vertices.tobytes() == second.vertices.tobytes()
    assert first.triangles.tobytes() == second.triangles.tobytes()


@pytest.mark.mesh
def test_voxels_grow_until_the_field_fits() -> None:
    fine, coarse = fused([wall(0.0)], BUDGET), fused([wall(0.0)], 2**20)
    assert coarse.voxel > 1.2 * fine.voxel
    assert len(coarse.triangles) < len(fine.triangles)


@pytest.mark.mesh
def test_unsure_pixels_are_left_out() -> None:
    confidence = np.ones(HW, np.float32)
    confidence[:, :32] = 0.1
    half = wall(0.0)
    mesh = fused([replace(half, depth=usable_depth(half.depth, confidence))], BUDGET)
    assert mesh.vertices[:, 0].min() > -3 * mesh.voxel


def test_nothing_to_fuse_is_said() -> None:
    with pytest.raises(GeometryError, match="no keyframe has a pixel"):
        fused([replace(wall(0.0), depth=np.zeros(HW, np.float32))], BUDGET)
    with pytest.raises(GeometryError, match="expected at least"):
        fused([wall(0.0)], 1000)
