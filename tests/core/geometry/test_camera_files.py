"""Calibration files as the tools' own documentation lays them out, and each of them broken in the usual ways."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from spark3r_core.errors import GeometryError
from spark3r_core.geometry.camera import Intrinsics
from spark3r_core.geometry.camera_files import MAX_FILE_BYTES, camera_as_json, read_camera

OURS = {"width": 752, "height": 480, "fx": 458.654, "fy": 457.296, "cx": 367.215, "cy": 248.375}
LENS = (-0.283, 0.0739, 0.00019, 0.0000176)
EUROC = Intrinsics(458.654, 457.296, 367.215, 248.375, 752, 480, LENS)
ROS = """\
image_width: 640
image_height: 480
camera_name: head_camera
camera_matrix:
  rows: 3
  cols: 3
  data: [438.783367, 0.000000, 305.593336, 0.000000, 437.302876, 243.738352, 0.000000, 0.000000, 1.000000]
distortion_model: plumb_bob
distortion_coefficients:
  rows: 1
  cols: 5
  data: [-0.361976, 0.110510, 0.001014, 0.000505, 0.000000]
rectification_matrix:
  rows: 3
  cols: 3
  data: [1, 0, 0, 0, 1, 0, 0, 0, 1]
projection_matrix:
  rows: 3
  cols: 4
  data: [393.653800, 0, 322.797939, 0, 0, 393.653800, 241.090902, 0, 0, 0, 1, 0]
"""
ROS_ECHO = """\
header:
  stamp: {sec: 12, nanosec: 5}
  frame_id: camera
height: 480
width: 640
distortion_model: equidistant
d: [0.01, -0.002, 1e-05, 0.0]
k: [300.0, 0.0, 320.0, 0.0, 301.0, 240.0, 0.0, 0.0, 1.0]
r: [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
p: [300.0, 0.0, 320.0, 0.0, 0.0, 301.0, 240.0, 0.0, 0.0, 0.0, 1.0, 0.0]
---
"""
COLMAP = """\
# Camera list with one line of data per camera:
#   CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]
# Number of cameras: 2
1 SIMPLE_RADIAL 3072 2304 2559.81 1536 1152 -0.0204997
2 OPENCV_FISHEYE 640 480 300 301 320.5 240.25 0.01 -0.002 0.0003 0
"""
KALIBR = """\
cam0:
  cam_overlaps: [1]
  camera_model: pinhole
  distortion_coeffs: [-0.283, 0.0739, 0.00019, 0.0000176]
  distortion_model: radtan
  intrinsics: [458.654, 457.296, 366.715, 247.875]
  resolution: [752, 480]
  rostopic: /cam0/image_raw
cam1:
  T_cn_cnm1:
  - [1.0, 0.0, 0.0, -0.11]
  - [0.0, 1.0, 0.0, 0.0]
  - [0.0, 0.0, 1.0, 0.0]
  - [0.0, 0.0, 0.0, 1.0]
  camera_model: pinhole
  distortion_coeffs: [0.01, -0.002, 0.0003, 0.0]
  distortion_model: equidistant
  intrinsics: [300.0, 301.0, 320.0, 239.75]
  resolution: [640, 480]
  rostopic: /cam1/image_raw
"""
NERFSTUDIO = {
    "camera_model": "OPENCV",
    "fl_x": 1072.0,
    "fl_y": 1068.0,
    "cx": 1504.0,
    "cy": 1000.0,
    "w": 3008,
    "h": 2000,
    "k1": 0.0312,
    "k2": 0.0051,
    "p1": 0.0006,
    "p2": 0.0003,
    "frames": [{"file_path": "images/frame_00001.jpeg", "transform_matrix": np.eye(4).tolist()}],
}
LAUGHTER = "".join(f"a{n}: &a{n} [{', '.join(9 * [f'*a{n - 1}' if n else 'ha'])}]\n" for n in range(7))  # 9^7 words
FISHEYE = Intrinsics(300.0, 301.0, 320.5, 240.25, 640, 480, (0.01, -0.002, 0.0003, 0.0), True)


def written_by_opencv(path: Path, coefficients: list[float], fisheye: bool | None = None) -> Path:
    """As OpenCV's calibration sample writes it."""
    file = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    file.write("calibration_time", "Mon 12 Jan 2026")
    file.write("image_width", 752)
    file.write("image_height", 480)
    if fisheye is not None:
        file.write("fisheye_model", int(fisheye))
    file.write("camera_matrix", np.array([[458.654, 0, 366.715], [0, 457.296, 247.875], [0, 0, 1]]))
    file.write("distortion_coefficients", np.array(coefficients)[:, None])
    file.release()
    return path


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_every_form_says_the_same_camera_with_our_pixel_centres(tmp_path: Path) -> None:
    for name in ("camera.yml", "camera.yaml", "camera.xml"):
        assert read_camera(written_by_opencv(tmp_path / name, list(LENS))) == EUROC
    assert read_camera(f"{write(tmp_path / 'camchain.yaml', KALIBR)}#cam0") == EUROC
    assert read_camera(write(tmp_path / "ours.json", json.dumps({**OURS, "distortion": LENS}))) == EUROC
    assert read_camera(f"{tmp_path / 'camchain.yaml'}#cam1") == Intrinsics(
        300, 301, 320.5, 240.25, 640, 480, FISHEYE.distortion, True
    )
    assert read_camera(f"{write(tmp_path / 'cameras.txt', COLMAP)}#2") == FISHEYE
    radial = read_camera(f"{tmp_path / 'cameras.txt'}#1")
    assert radial == Intrinsics(2559.81, 2559.81, 1536, 1152, 3072, 2304, (-0.0204997, 0, 0, 0))
    ros = read_camera(write(tmp_path / "ost.yaml", ROS))
    assert (ros.fx, ros.cx, ros.cy) == (438.783367, 306.093336, 244.238352)
    assert ros.distortion == (-0.361976, 0.11051, 0.001014, 0.000505, 0.0)
    echoed = read_camera(write(tmp_path / "info.yaml", ROS_ECHO))
    assert (echoed.fisheye, echoed.distortion, echoed.cx) == (True, (0.01, -0.002, 1e-05, 0.0), 320.5)
    nerf = read_camera(write(tmp_path / "transforms.json", json.dumps(NERFSTUDIO)))
    assert nerf == Intrinsics(1072, 1068, 1504, 1000, 3008, 2000, (0.0312, 0.0051, 0.0006, 0.0003))
    angle = {"camera_angle_x": np.pi / 2, "w": 800, "h": 600, "frames": []}
    assert read_camera(write(tmp_path / "blender.json", json.dumps(angle))).fx == pytest.approx(400)


def test_longer_lenses_of_opencv(tmp_path: Path) -> None:
    for count in (5, 8, 12, 14):
        lens = np.linspace(0.01, 0.05, count).tolist()
        assert read_camera(written_by_opencv(tmp_path / "c.yml", lens)).distortion == pytest.approx(lens)
    found = read_camera(written_by_opencv(tmp_path / "c.xml", [0.01, 0, 0, 0], fisheye=True))
    assert found.fisheye
    assert not read_camera(written_by_opencv(tmp_path / "d.xml", [0.01, 0, 0, 0], fisheye=False)).fisheye


@pytest.mark.parametrize("lens", [(), LENS, (*LENS, 0.1), tuple(np.linspace(0.01, 0.1, 14))])
def test_what_this_program_writes_it_reads(tmp_path: Path, lens: tuple[float, ...]) -> None:
    camera = Intrinsics(500.25, 501.125, 320.1, 239.9, 640, 480, lens)
    path = write(tmp_path / "camera.json", json.dumps(camera_as_json(camera)))
    assert read_camera(path) == camera
    path = write(tmp_path / "fisheye.json", json.dumps(camera_as_json(FISHEYE)))
    assert read_camera(path) == FISHEYE


def test_a_sharp_sign_may_belong_to_the_name_of_the_file(tmp_path: Path) -> None:
    assert read_camera(write(tmp_path / "my#1.json", json.dumps(OURS))).fx == 458.654


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (COLMAP, r"cameras.txt has 2 cameras \(1, 2\); say which after a #"),
        (COLMAP.replace("OPENCV_FISHEYE", "FOV").replace("1 SIMPLE", "# "), "model FOV is not read"),
        (COLMAP.replace("-0.0204997", "").replace("2 OPENCV", "# "), "has 4 parameters .f cx cy k1., the file gives 3"),
        (KALIBR, r"2 cameras \(cam0, cam1\)"),
        (KALIBR.split("cam1:")[0].replace("pinhole", "omni"), "camera_model 'omni' is not read; expected 'pinhole'"),
        (KALIBR.split("cam1:")[0].replace("radtan", "fov"), "distortion_model 'fov' is not known"),
        (KALIBR.split("cam1:")[0].replace("[752, 480]", "[752]"), "a resolution of 2 numbers, found 4 and 1"),
        (ROS.replace("plumb_bob", "rational_polynomial"), "has 0 or 8 or 12 or 14 coefficients, the file gives 5"),
        (ROS.replace("image_width: 640\n", ""), "no value for image_width"),
        (ROS.replace("438.783367", "0.0"), "focal lengths are 0.0"),
        (ROS.replace("data: [438.783367, ", "data: ["), "camera matrix has 8 numbers"),
        (ROS_ECHO.replace("300.0, 0.0, 320.0, 0.0, 301.0, 240.0, 0.0, 0.0, 1.0", "0, 0, 0, 0, 0, 0, 0, 0, 0"), "never"),
        ("%YAML:1.0\n---\nimage_width: 4\n", "no value for camera_matrix"),
        ("<?xml version='1.0'?>\n<opencv_storage><a>", "OpenCV cannot read it"),
        (json.dumps({**NERFSTUDIO, "camera_model": "EQUIRECTANGULAR"}), "'EQUIRECTANGULAR' is not read"),
        (json.dumps({"frames": [{"fl_x": 3, "w": 4}]}), "a camera of its own"),
        (json.dumps({**OURS, "width": 640.5}), "image size 640.5"),
        (json.dumps({**OURS, "distortion_model": "fisheye", "distortion": [1, 2]}), "has 4 coefficients"),
        ("a: [1, 2", "is no YAML"),
        ("just words", "no known form of a calibration"),
        ("[" * 10_000, "recursion"),
        (LAUGHTER + "camera_model: *a6\nintrinsics: 1\nresolution: 1\n", "repeats itself without end"),
        ("a: " + "[" * 1000, "recursion"),
        ("speed: 3\nname: cat\n", "it holds 'speed', 'name'; read are the JSON of this program"),
    ],
    ids=lambda words: words[:40],
)
def test_what_cannot_be_a_camera_is_refused_with_its_reason(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(GeometryError, match=message) as raised:
        read_camera(write(tmp_path / "given.file", text))
    assert "given.file" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_camera_that_is_not_in_the_file_and_a_file_that_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(GeometryError, match="has no camera '7'; it has 1, 2"):
        read_camera(f"{write(tmp_path / 'cameras.txt', COLMAP)}#7")
    with pytest.raises(GeometryError, match="none is called 'left'"):
        read_camera(f"{write(tmp_path / 'one.json', json.dumps(OURS))}#left")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(GeometryError, match="is not text"):
        read_camera(tmp_path / "picture.png")
    with (tmp_path / "video.yaml").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(GeometryError, match="is larger than 64 MiB"):
        read_camera(tmp_path / "video.yaml")
