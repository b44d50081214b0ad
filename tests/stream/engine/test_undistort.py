"""A lens the user gave: what is worked with, what is published of it, and what is written of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spark3r_core.errors import GeometryError
from spark3r_core.geometry.camera import Intrinsics
from spark3r_core.geometry.camera_files import read_camera
from spark3r_stream.engine.undistort import Undistorter
from spark3r_stream.errors import WireError
from spark3r_stream.outputs.intrinsics_json import write_intrinsics
from spark3r_stream.wire import envelope as wire
from spark3r_stream.wire.decode import decode_payload
from spark3r_stream.wire.foxglove import encode_calibration, timestamp
from spark3r_stream.wire.messages import Calibration, CameraView

FISHEYE = Intrinsics(300.0, 301.0, 322.0, 238.0, 640, 480, (0.02, -0.004, 0.001, -0.0002), True)
BARREL = Intrinsics(458.0, 457.0, 367.0, 248.0, 752, 480, (-0.28, 0.07, 0.0002, 0.00001))


@pytest.mark.parametrize(
    ("source_wh", "working_wh"), [((640, 480), (640, 480)), ((1920, 1440), (1280, 960)), ((4000, 3000), (2000, 1500))]
)
def test_one_map_to_the_working_size(source_wh: tuple[int, int], working_wh: tuple[int, int]) -> None:
    """A bright spot, far from the middle, is where the rectified camera says that its ray is."""
    undistorter = Undistorter(FISHEYE)
    lens = FISHEYE.resized(*source_wh)
    ray = np.array([0.5, -0.35, 1.0])
    image = np.zeros((source_wh[1], source_wh[0], 3), np.uint8)
    column, row = lens.project(ray).astype(int)
    half = source_wh[0] // 100
    image[row - half : row + half + 1, column - half : column + half + 1] = 255
    rectified, view = undistorter(image)
    assert (view.width, view.height) == working_wh == rectified.shape[1::-1]
    rows, columns = np.nonzero(rectified[..., 0] > 128)
    expected = Intrinsics.from_matrix(view.matrix, *working_wh).project(ray)
    assert np.hypot(columns.mean() + 0.5 - expected[0], rows.mean() + 0.5 - expected[1]) < 1.5
    published = undistorter.seen_by(*source_wh)
    assert (published.width, published.height) == source_wh
    np.testing.assert_allclose(published.matrix[0] / source_wh[0], view.matrix[0] / working_wh[0])


def test_a_calibration_at_another_size_is_scaled_and_at_another_shape_refused() -> None:
    assert Undistorter(BARREL).seen_by(1504, 960).lens == BARREL.resized(1504, 960)
    with pytest.raises(GeometryError, match="frames of 1280x720 do not fit a camera calibrated at 752x480"):
        Undistorter(BARREL)(np.zeros((720, 1280, 3), np.uint8))


@pytest.mark.parametrize(
    "lens", [FISHEYE, BARREL, replace(BARREL, distortion=(*BARREL.distortion, 0.1, 0.1, 0.0, 0.0))]
)
def test_calib_carries_the_lens_and_the_rectified_camera(lens: Intrinsics) -> None:
    view = CameraView(np.array([[250.0, 0, 320], [0, 250, 240], [0, 0, 1]]), lens.width, lens.height, True, lens)
    payload = encode_calibration(timestamp(5), view, "camera")
    found = decode_payload(wire.CALIB, payload)
    assert isinstance(found, Calibration)
    np.testing.assert_array_equal(found.camera.matrix, view.matrix)
    assert (found.camera.rectified, found.camera.lens) == (True, lens)
    broken = wire_calibration(payload)
    broken.D.extend([0.5, 0.5])
    with pytest.raises(WireError, match="distortion coefficients"):
        decode_payload(wire.CALIB, broken.SerializeToString())
    broken = wire_calibration(payload)
    del broken.P[:]
    with pytest.raises(WireError, match="rectified camera of 0 numbers"):
        decode_payload(wire.CALIB, broken.SerializeToString())


def wire_calibration(payload: bytes):
    from foxglove_schemas_protobuf.CameraCalibration_pb2 import CameraCalibration

    return CameraCalibration.FromString(payload)


def test_the_result_folder_says_the_lens_and_can_be_given_back(tmp_path: Path) -> None:
    view = Undistorter(FISHEYE).seen_by(640, 480)
    write_intrinsics(tmp_path / "intrinsics.json", [view, view])
    assert read_camera(tmp_path / "intrinsics.json") == FISHEYE
    rectified = json.loads((tmp_path / "intrinsics.json").read_text())["rectified"]
    assert rectified["fx"] == view.matrix[0, 0]
