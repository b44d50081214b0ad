from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark3r_core.errors import GeometryError
from spark3r_core.geometry import Intrinsics, read_camera
from spark3r_core.geometry.camera import (
    resize_map,
    shift_map,
    transform_matrix,
    with_square_pixels,
)

CAMERA = Intrinsics(500.0, 510.0, 311.0, 245.5, 640, 480)
EUROC = Intrinsics(458.654, 457.296, 367.215, 248.375, 752, 480, (-0.28340811, 0.07395907, 0.00019359, 1.76187114e-05))
POINTS = np.random.default_rng(0).uniform([-1, -1, 2], [1, 1, 6], (50, 3))

SIDES = st.integers(1, 2000)


@given(SIDES, SIDES, st.integers(0, 300), st.integers(0, 300), st.integers(0, 50), st.integers(0, 50))
def test_projection_commutes_with_resize_crop_and_pad(
    width: int, height: int, left: int, top: int, pad_x: int, pad_y: int
) -> None:
    pixels = CAMERA.project(POINTS)
    cropped = CAMERA.cropped(left, top, 640 - left, 480 - top)
    padded = cropped.padded(pad_x, pad_y, 3, 4)
    resized = padded.resized(width, height)
    assert (padded.width, padded.height) == (643 - left + pad_x, 484 - top + pad_y)
    pixel_map = resize_map((padded.width, padded.height), (width, height)) @ shift_map(pad_x - left, pad_y - top)
    expected = pixels @ pixel_map[:2, :2].T + pixel_map[:2, 2]
    np.testing.assert_allclose(resized.project(POINTS), expected, rtol=1e-9, atol=1e-6)
    np.testing.assert_allclose(transform_matrix(CAMERA.matrix, pixel_map), resized.matrix, rtol=1e-9, atol=1e-9)


def test_the_resize_rule_is_that_of_opencv_images() -> None:
    """A blob's centre of mass, drawn in a real image and shrunk with INTER_AREA, must follow the intrinsics."""
    image = np.zeros((480, 640), np.float32)
    image[100:110, 200:216] = 1.0  # centre (208, 105) in our convention
    small = cv2.resize(image, (160, 96), interpolation=cv2.INTER_AREA)
    rows, columns = np.mgrid[0:96, 0:160] + 0.5
    centre = np.array([(small * columns).sum(), (small * rows).sum()]) / small.sum()
    ray = CAMERA.unproject([208.0, 105.0], 1.0)
    np.testing.assert_allclose(CAMERA.resized(160, 96).project(ray), centre, atol=1e-4)


@given(st.floats(0, 640), st.floats(0, 480), st.floats(1e-3, 1e3))
def test_unproject_inverts_project(x: float, y: float, depth: float) -> None:
    point = CAMERA.unproject([x, y], depth)
    assert point[2] == depth
    np.testing.assert_allclose(CAMERA.project(point), [x, y], atol=1e-9)


def test_points_behind_the_camera_have_no_pixel() -> None:
    assert np.isnan(CAMERA.project([[0.0, 0.0, -1.0], [0.0, 0.0, 0.0]])).all()


def test_distortion_equals_opencv() -> None:
    projected, _ = cv2.projectPoints(POINTS, np.zeros(3), np.zeros(3), EUROC.matrix, np.array(EUROC.distortion))
    np.testing.assert_allclose(EUROC.project(POINTS), projected[:, 0], atol=1e-9)
    eight = Intrinsics(500, 500, 320, 240, 640, 480, (0.1, -0.2, 0.001, -0.002, 0.05, 0.01, 0.02, -0.01))
    projected, _ = cv2.projectPoints(POINTS, np.zeros(3), np.zeros(3), eight.matrix, np.array(eight.distortion))
    np.testing.assert_allclose(eight.project(POINTS), projected[:, 0], atol=1e-9)


def test_impossible_cameras_are_refused() -> None:
    with pytest.raises(GeometryError, match="leaves the image"):
        CAMERA.cropped(600, 0, 100, 100)
    with pytest.raises(GeometryError, match="positive pixels"):
        Intrinsics(0.0, 1.0, 0.0, 0.0, 4, 4)
    with pytest.raises(
        GeometryError, match="3 distortion coefficients; OpenCV's radial-tangential model has 0, 4, 5, 8, 12, 14"
    ):
        Intrinsics(1.0, 1.0, 0.0, 0.0, 4, 4, (0.1, 0.2, 0.3))
    with pytest.raises(GeometryError, match="turns or shears"):
        CAMERA.mapped([[0, 1, 0], [1, 0, 0], [0, 0, 1]], 480, 640)
    with pytest.raises(GeometryError, match="skew"):
        Intrinsics.from_matrix([[500, 2, 320], [0, 500, 240], [0, 0, 1]], 640, 480)
    with pytest.raises(GeometryError, match="undistort the image first"):
        EUROC.unproject([0.0, 0.0], 1.0)


def test_read_camera(tmp_path: Path) -> None:
    path = tmp_path / "intrinsics.json"
    fields = {"width": 752, "height": 480, "fx": 458.654, "fy": 457.296, "cx": 367.215, "cy": 248.375}
    path.write_text(json.dumps({**fields, "distortion": list(EUROC.distortion), "note": "kept by the reader's owner"}))
    assert read_camera(path) == EUROC
    for model in ("opencv k1 k2 p1 p2 k3", "plumb_bob", "radtan"):
        known = {**fields, "distortion": list(EUROC.distortion), "distortion_model": model}
        path.write_text(json.dumps(known))
        assert read_camera(path) == EUROC
    path.write_text(json.dumps({**fields, "distortion": None}))
    assert read_camera(str(path)) == EUROC.pinhole()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read camera file"),
        ("{not json", "begins like JSON and is none"),
        ("[1, 2]", "holds a list"),
        ('{"width": 640, "height": 480, "fx": null, "fy": 1, "cx": 1}', "no value for fx, cy"),
        ('{"width": 640, "height": 480, "fx": "wide", "fy": 1, "cx": 1, "cy": 1}', "could not convert"),
        ('{"width": 640, "height": 480, "fx": -5, "fy": 1, "cx": 1, "cy": 1}', "focal lengths"),
        (
            '{"width": 4, "height": 4, "fx": 5, "fy": 5, "cx": 1, "cy": 1, "distortion_model": "fov",'
            ' "distortion": [0.1]}',
            "'fov' is not known; known are 'opencv', 'opencv k1 k2 p1 p2 k3', 'plumb_bob'",
        ),
        (
            '{"width": 4, "height": 4, "fx": 5, "fy": 5, "cx": 1, "cy": 1, "distortion_model": "radtan",'
            ' "distortion": [0.1, 0, 0, 0, 0]}',
            "'radtan' has 0 or 4 coefficients, the file gives 5",
        ),
        (
            '{"width": 4, "height": 4, "fx": 5, "fy": 5, "cx": 1, "cy": 1, "distortion_model": ["plumb_bob"]}',
            "camera.json",
        ),
    ],
)
def test_unreadable_intrinsics_name_the_file_and_the_field(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "camera.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(GeometryError, match=message) as raised:
        read_camera(path)
    assert "camera.json" in str(raised.value)


def test_square_pixels_have_one_focal_length_in_the_picture_they_are_square_in() -> None:
    stretched = resize_map((720, 1280), (144, 192))  # 0.2 and 0.15: the input is wider than the picture
    said = stretched @ np.array([[1000.0, 0, 360], [0, 1210, 640], [0, 0, 1]])
    tied = with_square_pixels(said, stretched)
    assert np.linalg.inv(stretched) @ tied == pytest.approx(np.array([[1100.0, 0, 360], [0, 1100, 640], [0, 0, 1]]))
    assert with_square_pixels(tied, stretched) == pytest.approx(tied)
