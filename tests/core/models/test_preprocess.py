"""Resize rules, and laws that tie pixels to their maps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark3r_core.errors import ImageError
from spark3r_core.models.preprocess import StreamResize, as_rgb, nearest_multiple


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)


def ramp(height: int, width: int) -> np.ndarray:
    """Red grows along x and green along y, linearly in pixel centres."""
    x, y = (np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height
    image = np.zeros((height, width, 3))
    image[..., 0], image[..., 1] = x[None, :], y[:, None]
    return np.round(image * 255).astype(np.uint8)


def check_ramp(image: np.ndarray, pixel_map: np.ndarray, hw: tuple[int, int]) -> None:
    """Colours away from the borders must name the original position that the inverse map gives."""
    height, width = image.shape[:2]
    rows, columns = np.mgrid[height // 4 : 3 * height // 4 + 1, width // 4 : 3 * width // 4 + 1]
    rows, columns = np.minimum(rows, height - 1), np.minimum(columns, width - 1)
    points = np.stack([columns + 0.5, rows + 0.5, np.ones(rows.shape)], -1) @ np.linalg.inv(pixel_map).T
    assert np.abs(image[rows, columns, 0] - points[..., 0] / hw[1]).max() < 0.006
    assert np.abs(image[rows, columns, 1] - points[..., 1] / hw[0]).max() < 0.006


def test_colour_layouts() -> None:
    grey, rgba = noise(20, 30, 1), noise(20, 30, 4)
    assert np.array_equal(as_rgb(grey[..., 0]), np.repeat(grey, 3, 2))
    opaque, clear = rgba.copy(), rgba.copy()
    opaque[..., 3], clear[..., 3] = 255, 0
    assert np.array_equal(as_rgb(opaque), rgba[..., :3])
    assert as_rgb(clear).min() == 255


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros(4, np.uint8),
    ],
)
def test_unusable_images_are_named(image: np.ndarray) -> None:
    with pytest.raises(ImageError, match="expected"):
        as_rgb(image)
    with pytest.raises(ImageError):
        StreamResize.fit((48, 64), 56, 14)(image)


def test_tiny_sizes_are_refused() -> None:
    with pytest.raises(ImageError, match="patch"):
        StreamResize.fit((480, 640), 10, 14)


@given(value=st.integers(1, 5000), step=st.integers(1, 32))
def test_nearest_multiple(value: int, step: int) -> None:
    result = nearest_multiple(value, step)
    assert result % step == 0
    assert result >= step
    if value >= step:
        assert abs(result - value) * 2 <= step
        assert abs(result - value) * 2 < step or result > value  # ties upwards


@settings(max_examples=30, deadline=None)
@given(
    first=st.tuples(st.integers(20, 300), st.integers(20, 300)),
    later=st.tuples(st.integers(20, 300), st.integers(20, 300)),
    patch_size=st.sampled_from([12, 14, 16]),
)
def test_stream_frames_of_any_size_get_the_network_size_and_a_true_map(
    first: tuple[int, int], later: tuple[int, int], patch_size: int
) -> None:
    resize = StreamResize.fit(first, 168, patch_size)
    for hw in (first, later):
        image, pixel_map = resize(ramp(*hw))
        assert image.shape == (*resize.image_hw, 3)
        assert image.dtype == np.uint8
        corners = np.array([[0, 0, 1], [resize.image_hw[1], resize.image_hw[0], 1]]) @ np.linalg.inv(pixel_map).T
        assert corners.min() > -1e-9
        assert (corners[1, :2] <= np.array(hw[::-1]) + 1e-9).all()
    assert np.allclose(
        resize(ramp(*first))[1], np.diag([resize.image_hw[1] / first[1], resize.image_hw[0] / first[0], 1])
    )


@pytest.mark.parametrize("later", [(480, 640), (960, 1280), (400, 640), (480, 480), (720, 1280)])
def test_stream_resize_moves_pixels_where_its_map_says(later: tuple[int, int]) -> None:
    image, pixel_map = StreamResize.fit((480, 640), 252, 14)(ramp(*later))
    check_ramp(image / 255.0, pixel_map, later)


def test_stream_resize_of_a_changed_aspect_keeps_circles_round() -> None:
    _, pixel_map = StreamResize.fit((480, 640), 252, 14)(ramp(480, 480))
    assert pixel_map[0, 0] == pytest.approx(pixel_map[1, 1], rel=0.01)


def test_odd_sizes() -> None:
    resize = StreamResize.fit((33, 1001), 252, 14)
    assert resize.image_hw == (14, 252)
    assert resize(noise(33, 1001))[0].shape == (14, 252, 3)
    assert resize(noise(33, 1001, 1))[0].shape == (14, 252, 3)
    assert resize(noise(1001, 33, 4))[0].shape == (14, 252, 3)


@pytest.mark.parametrize(
    ("size", "expected"), [((640, 480), (192, 144)), ((1242, 375), (312, 96)), ((1080, 1920), (120, 216))]
)
def test_a_patch_budget_keeps_the_shape_whatever_it_is(size: tuple[int, int], expected: tuple[int, int]) -> None:
    resize = StreamResize.fit_patches(size[::-1], 192, 12)
    assert resize.image_hw == expected[::-1]
    image, pixel_map = resize(np.zeros((size[1], size[0], 3), np.uint8))
    assert image.shape == (*resize.image_hw, 3)
    assert np.allclose(pixel_map @ [*size, 1], [*expected, 1])
