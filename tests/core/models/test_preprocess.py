"""Resize rules: sizes worked out by hand from each reference's rule, and laws that tie pixels to their maps."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from spark3r_core.errors import ImageError
from spark3r_core.models.preprocess import (
    PREPROCESS,
    StreamResize,
    as_rgb,
    nearest_multiple,
    preprocess,
    preprocess_da3,
    preprocess_vggt,
    preprocess_vggt_omega,
)

FAMILIES = sorted(PREPROCESS)


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)


def ramp(height: int, width: int) -> np.ndarray:
    """Red grows along x and green along y, linearly in pixel centres."""
    x, y = (np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height
    image = np.zeros((height, width, 3))
    image[..., 0], image[..., 1] = x[None, :], y[:, None]
    return np.round(image * 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("family", "hw", "expected"),
    [  # 640x480 and 1920x1080 as in SPEED_FACTS; the rest by hand
        ("da3", (480, 640), (378, 504)),
        ("da3", (1080, 1920), (280, 504)),
        ("da3", (33, 1001), (14, 504)),
        ("vggt", (480, 640), (392, 518)),
        ("vggt", (1080, 1920), (294, 518)),
        ("vggt", (1000, 500), (518, 518)),
        ("pi3", (480, 640), (434, 574)),
        ("pi3", (1080, 1920), (378, 672)),
        ("vggt_omega", (480, 640), (448, 592)),
        ("vggt_omega", (1080, 1920), (384, 688)),
        ("vggt_omega", (33, 1001), (368, 720)),
    ],
)
def test_input_sizes(family: str, hw: tuple[int, int], expected: tuple[int, int]) -> None:
    result = preprocess(family, [noise(*hw)])
    assert tuple(result.images.shape) == (1, 3, *expected)
    assert 0 <= float(result.images.min()) <= float(result.images.max()) <= 1


def test_filters_are_the_references_own() -> None:
    image = noise(120, 160)
    grown = cv2.resize(image, (504, 378), interpolation=cv2.INTER_CUBIC)
    assert np.array_equal(np.round(preprocess_da3([image]).images[0].permute(1, 2, 0).numpy() * 255), grown)
    large = noise(756, 1008)
    shrunk = cv2.resize(large, (504, 378), interpolation=cv2.INTER_AREA)
    assert np.array_equal(np.round(preprocess_da3([large]).images[0].permute(1, 2, 0).numpy() * 255), shrunk)
    bicubic = np.asarray(Image.fromarray(image).resize((518, 392), Image.Resampling.BICUBIC))
    assert np.array_equal(np.round(preprocess_vggt([image]).images[0].permute(1, 2, 0).numpy() * 255), bicubic)
    lanczos = np.asarray(Image.fromarray(image).resize((574, 434), Image.Resampling.LANCZOS))
    assert np.array_equal(np.round(preprocess("pi3", [image]).images[0].permute(1, 2, 0).numpy() * 255), lanczos)


def test_da3_resizes_twice() -> None:
    image = noise(471, 640)  # 504x371, then 504x378: a first resize that shrinks, a second that grows
    first = cv2.resize(image, (504, 371), interpolation=cv2.INTER_AREA)
    second = cv2.resize(first, (504, 378), interpolation=cv2.INTER_CUBIC)
    assert np.array_equal(np.round(preprocess_da3([image]).images[0].permute(1, 2, 0).numpy() * 255), second)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("hw", [(480, 640), (700, 300), (300, 1100), (97, 131)])
def test_pixel_map_says_where_pixels_went(family: str, hw: tuple[int, int]) -> None:
    result = preprocess(family, [ramp(*hw)])
    image, pixel_map = result.images[0].numpy(), result.pixel_maps[0]
    check_ramp(image.transpose(1, 2, 0), pixel_map, hw)


def check_ramp(image: np.ndarray, pixel_map: np.ndarray, hw: tuple[int, int]) -> None:
    """Colours away from the borders must name the original position that the inverse map gives."""
    height, width = image.shape[:2]
    rows, columns = np.mgrid[height // 4 : 3 * height // 4 + 1, width // 4 : 3 * width // 4 + 1]
    rows, columns = np.minimum(rows, height - 1), np.minimum(columns, width - 1)
    points = np.stack([columns + 0.5, rows + 0.5, np.ones(rows.shape)], -1) @ np.linalg.inv(pixel_map).T
    assert np.abs(image[rows, columns, 0] - points[..., 0] / hw[1]).max() < 0.006
    assert np.abs(image[rows, columns, 1] - points[..., 1] / hw[0]).max() < 0.006


def test_images_of_different_sizes_become_one() -> None:
    shapes = [(480, 640), (300, 640), (640, 480)]
    for family in FAMILIES:
        result = preprocess(family, [ramp(*hw) for hw in shapes])
        assert result.images.shape[0] == 3
        if family == "da3":
            assert tuple(result.images.shape[2:]) == (238, 378)  # smallest height, smallest width
        if family in ("vggt", "vggt_omega"):
            wide = preprocess(family, [ramp(300, 640)])
            height = wide.images.shape[2]
            top = (result.images.shape[2] - height) // 2
            assert top > 0
            assert float(result.images[1, :, :top].min()) == 1.0
            left = (result.images.shape[3] - wide.images.shape[3]) // 2
            inside = result.images[1, :, top : top + height, left : left + wide.images.shape[3]]
            assert np.array_equal(inside, wide.images[0])


def test_modes() -> None:
    padded = preprocess_vggt([ramp(480, 640)], mode="pad")
    assert tuple(padded.images.shape) == (1, 3, 518, 518)
    assert float(padded.images[0, :, :63].min()) == 1.0
    check_ramp(padded.images[0].numpy().transpose(1, 2, 0), padded.pixel_maps[0], (480, 640))
    longest = preprocess_vggt_omega([ramp(480, 640)], mode="max_size")
    assert tuple(longest.images.shape) == (1, 3, 384, 512)
    with pytest.raises(ValueError, match="mode"):
        preprocess_vggt([ramp(480, 640)], mode="stretch")
    with pytest.raises(ValueError, match="mode"):
        preprocess_vggt_omega([ramp(480, 640)], mode="pad")


def test_colour_layouts() -> None:
    grey, rgba = noise(20, 30, 1), noise(20, 30, 4)
    assert np.array_equal(as_rgb(grey[..., 0]), np.repeat(grey, 3, 2))
    assert np.array_equal(as_rgb(rgba, alpha="drop"), rgba[..., :3])
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


def test_no_images_and_tiny_sizes_are_refused() -> None:
    with pytest.raises(ImageError, match="no images"):
        preprocess("da3", [])
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
