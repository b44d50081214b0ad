"""Pyramids, and the points that a keyframe takes from them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from spark3r_core.photometric import keyframe
from spark3r_core.photometric.assumed import COARSEST_WIDTH, level_count
from spark3r_core.photometric.keyframe import Keyframe, choose_points
from spark3r_core.photometric.pyramid import grey_pyramid
from tests.core.photometric.scene import Room, camera, path

HW = (72, 96)


def grey(image: np.ndarray) -> Tensor:
    """(H, W) -> (1, 3, H, W)."""
    return torch.from_numpy(image).float().expand(1, 3, -1, -1)


def test_levels_end_about_where_the_coarsest_should() -> None:
    assert [level_count(width) for width in (1, 14, 48, 96, 192, 384, 518)] == [1, 1, 1, 2, 3, 4, 4]
    for width in range(40, 800, 7):
        assert COARSEST_WIDTH / 1.5 < width / 2 ** (level_count(width) - 1) < COARSEST_WIDTH * 1.5


@pytest.mark.parametrize("hw", [(72, 96), (73, 97), (97, 193), (14, 14), (1, 1), (7, 400)])
def test_sizes_halve_and_everything_is_finite(hw: tuple[int, int]) -> None:
    images = torch.rand(2, 3, *hw, generator=torch.Generator().manual_seed(0))
    levels = grey_pyramid(images)
    assert 1 <= len(levels) <= level_count(hw[1])
    for index, level in enumerate(levels):
        assert level.shape == (2, 3, hw[0] >> index, hw[1] >> index)
        assert torch.isfinite(level).all()
        assert level[:, 0].min() >= 0
        assert level[:, 0].max() <= 1


def test_gradients_of_a_ramp_are_exact_per_pixel_of_each_level() -> None:
    v, u = np.mgrid[:97, :193] + 0.5
    levels = grey_pyramid(grey(0.1 + 0.002 * u + 0.003 * v))
    assert len(levels) == 3
    for index, level in enumerate(levels):
        inner, size = level[0, :, 4:-4, 4:-4], 2**index
        torch.testing.assert_close(inner[1], torch.full_like(inner[1], 0.002 * size), rtol=0, atol=1e-6)
        torch.testing.assert_close(inner[2], torch.full_like(inner[2], 0.003 * size), rtol=0, atol=1e-6)
        rows, columns = (torch.arange(count)[4:-4] * size + size / 2 for count in level.shape[2:])
        expected = 0.1 + 0.002 * columns + 0.003 * rows[:, None]  # centres of a level's pixels lie where K says
        torch.testing.assert_close(inner[0], expected, rtol=0, atol=1e-5)


def test_frames_do_not_see_each_other() -> None:
    images = torch.rand(3, 3, *HW, generator=torch.Generator().manual_seed(1))
    for together, alone in zip(grey_pyramid(images), grey_pyramid(images[1:2]), strict=True):
        torch.testing.assert_close(together[1:2], alone)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_each_cell_gives_its_strongest_pixel(index: int) -> None:
    height, width = (n >> index for n in (145, 193))
    image, _ = Room().render(path(1)[0], camera((145, 193)), (145, 193))
    level = grey_pyramid(grey(image))[index][0]
    depth = torch.rand(145, 193, generator=torch.Generator().manual_seed(2)) + 0.5
    intrinsics = camera((145, 193))
    points = choose_points(level, depth, intrinsics, index)
    cell = max(1, round((height * width / keyframe.POINTS[index]) ** 0.5))
    focal = intrinsics[0, 0] / 2**index
    u = points.rays[:, 0].numpy() * focal + intrinsics[0, 2] / 2**index - 0.5
    v = points.rays[:, 1].numpy() * focal + intrinsics[1, 2] / 2**index - 0.5
    columns, rows = np.rint(u).astype(int), np.rint(v).astype(int)
    np.testing.assert_allclose([u, v], [columns, rows], atol=1e-3)  # at centres of pixels
    cells = rows // cell * 1000 + columns // cell
    assert len(np.unique(cells)) == len(cells)
    assert 0.5 * keyframe.POINTS[index] < len(cells) < 1.5 * keyframe.POINTS[index]
    strength = (level[1] ** 2 + level[2] ** 2).numpy()
    for row, column in list(zip(rows, columns, strict=True))[::7]:
        top, left = row // cell * cell, column // cell * cell
        assert strength[row, column] == strength[top : top + cell, left : left + cell].max()
        assert strength[row, column] > keyframe.MIN_GRADIENT**2
    np.testing.assert_array_equal(points.intensity, level[0, rows, columns])
    half = 2**index // 2
    np.testing.assert_array_equal(points.depth, depth[rows * 2**index + half, columns * 2**index + half])
    torch.testing.assert_close(points.basis.sum(1), torch.ones(len(cells)))


def test_an_image_of_one_colour_has_no_points() -> None:
    pyramid = [level[0] for level in grey_pyramid(torch.full((1, 3, *HW), 0.4))]
    key = Keyframe.of(np.eye(4), pyramid, torch.ones(HW), camera(HW))
    assert [len(points.depth) for points in key.levels] == [0] * len(pyramid)


def test_pixels_without_depth_are_left_out() -> None:
    image, exact = Room().render(path(1)[0], camera(HW), HW)
    level, depth = grey_pyramid(grey(image))[0][0], torch.from_numpy(exact).float()
    everywhere = choose_points(level, depth, camera(HW), 0)
    for value in (float("nan"), float("inf"), 0.0, -1.0):
        holed = depth.clone()
        holed[:, :48] = value
        points = choose_points(level, holed, camera(HW), 0)
        assert (points.rays[:, 0] > 0).all()
        assert len(points.depth) == int((everywhere.rays[:, 0] > 0).sum())
        assert torch.isfinite(points.depth).all()


def test_a_longer_focal_length_and_the_correction_move_points_as_they_should() -> None:
    image, exact = Room().render(path(1)[0], camera(HW), HW)
    pyramid = [level[0] for level in grey_pyramid(grey(image))]
    points = Keyframe.of(np.eye(4), pyramid, torch.from_numpy(exact).float(), camera(HW)).levels[0]
    plain = points.camera_points(torch.zeros(30), 0.0)
    torch.testing.assert_close(plain, points.rays * points.depth[:, None])
    changed = points.camera_points(torch.full((30,), 0.1), 0.2)
    torch.testing.assert_close(changed[:, 2], plain[:, 2] * np.exp(0.1))
    torch.testing.assert_close(changed[:, :2], plain[:, :2] * np.exp(0.1 - 0.2))
