from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from spark3r_core.errors import GeometryError
from spark3r_core.geometry.camera import Intrinsics, distort
from spark3r_core.geometry.rectification import MOST_FOV_DEG, rectification_maps, rectified_camera

EUROC = Intrinsics(458.654, 457.296, 367.215, 248.375, 752, 480, (-0.28340811, 0.07395907, 0.00019359, 1.76187114e-05))
FISHEYE = Intrinsics(300.0, 301.0, 322.0, 238.0, 640, 480, (0.02, -0.004, 0.001, -0.0002), True)
POINTS = np.random.default_rng(0).uniform([-2, -2, 2], [2, 2, 4], (50, 3))


def test_a_fisheye_and_a_tilted_sensor_image_as_opencv_says() -> None:
    seen, _ = cv2.fisheye.projectPoints(
        POINTS[:, None], np.zeros(3), np.zeros(3), FISHEYE.matrix, np.array(FISHEYE.distortion)
    )
    np.testing.assert_allclose(FISHEYE.project(POINTS), seen[:, 0], atol=1e-6)
    for count in (12, 14):
        lens = tuple(np.random.default_rng(count).uniform(-0.03, 0.03, count))
        seen, _ = cv2.projectPoints(POINTS, np.zeros(3), np.zeros(3), np.eye(3), np.array(lens))
        np.testing.assert_allclose(distort(POINTS[:, :2] / POINTS[:, 2:], lens), seen[:, 0], atol=1e-9)
    np.testing.assert_allclose(distort([0.0, 0.0], FISHEYE.distortion, True), [0, 0])


@pytest.mark.parametrize("camera", [EUROC, FISHEYE])
def test_one_map_leads_from_the_lens_straight_to_any_size(camera: Intrinsics) -> None:
    rectified = rectified_camera(camera)
    assert not rectified.is_distorted
    assert (rectified.width, rectified.height) == (camera.width, camera.height)
    working = rectified.resized(320, 240)
    map_x, map_y = rectification_maps(camera, working)
    assert map_x.shape == (240, 320)
    seen = camera.project(working.unproject([100.5, 60.5], 3.0)) - 0.5  # remap reads integer-centred coordinates
    np.testing.assert_allclose([map_x[60, 100], map_y[60, 100]], seen, atol=1e-3)
    whole_x, whole_y = rectification_maps(camera, rectified)
    assert whole_x.min() > -1
    assert whole_x.max() < camera.width
    assert whole_y.min() > -1
    assert whole_y.max() < camera.height
    if not camera.fisheye:
        k, new_k = camera.matrix, rectified.matrix
        k[:2, 2] -= 0.5
        new_k[:2, 2] -= 0.5
        by_opencv = cv2.initUndistortRectifyMap(
            k, np.array(camera.distortion), np.eye(3), new_k, (752, 480), cv2.CV_32FC1
        )
        np.testing.assert_allclose(whole_x, by_opencv[0], atol=1e-3)
        np.testing.assert_allclose(whole_y, by_opencv[1], atol=1e-3)


def test_a_wide_fisheye_is_cut_to_what_a_pinhole_can_show() -> None:
    wide = rectified_camera(Intrinsics(200, 200, 320, 240, 640, 480, (0.0,) * 4, True))
    assert 2 * math.degrees(math.atan(320 / wide.fx)) == pytest.approx(MOST_FOV_DEG, abs=1e-6)
    narrow = rectified_camera(Intrinsics(800, 800, 320, 240, 640, 480, (0.0,) * 4, True))
    assert 2 * math.degrees(math.atan(320 / narrow.fx)) < 50
    assert rectified_camera(EUROC.pinhole()) == EUROC.pinhole()


def test_a_lens_that_folds_the_image_is_refused() -> None:
    with pytest.raises(GeometryError, match="fold the image"):
        rectified_camera(Intrinsics(500, 500, 320, 240, 640, 480, (-0.9, 0.0, 0.0, 0.0)))
    with pytest.raises(GeometryError, match="sees less than 5 degrees"):
        rectified_camera(Intrinsics(500, 500, 5, 240, 640, 480, (0.1, 0, 0, 0), True))
