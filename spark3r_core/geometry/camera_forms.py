"""What calibration files of common tools say, as a camera: one function per tool, on what was read already.

Pixel centres: OpenCV, ROS and Kalibr count them as integers, so half a pixel is added to their centre. COLMAP,
nerfstudio and this program have them at integer + 0.5.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from spark3r_core.errors import GeometryError
from spark3r_core.geometry.camera import Intrinsics

CENTRE = 0.5  # from pixel centres at integers to ours
# Names of the radial-tangential model as tools write them, and how many coefficients each may have.
RADIAL_TANGENTIAL: dict[str, tuple[int, ...]] = {
    "opencv": (0, 4, 5, 8, 12, 14),
    "opencv k1 k2 p1 p2 k3": (0, 4, 5),
    "plumb_bob": (0, 4, 5),
    "radtan": (0, 4),
    "rational_polynomial": (0, 8, 12, 14),
    "none": (0,),
    "": (0,),
}
FISHEYE = ("equidistant", "fisheye", "kannala_brandt")
# Parameters after the name of COLMAP's model, by name; f is both focal lengths.
COLMAP_MODELS: dict[str, tuple[str, ...]] = {
    "SIMPLE_PINHOLE": ("f", "cx", "cy"),
    "PINHOLE": ("fx", "fy", "cx", "cy"),
    "SIMPLE_RADIAL": ("f", "cx", "cy", "k1"),
    "RADIAL": ("f", "cx", "cy", "k1", "k2"),
    "OPENCV": ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2"),
    "FULL_OPENCV": ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6"),
    "SIMPLE_RADIAL_FISHEYE": ("f", "cx", "cy", "k1"),
    "RADIAL_FISHEYE": ("f", "cx", "cy", "k1", "k2"),
    "OPENCV_FISHEYE": ("fx", "fy", "cx", "cy", "k1", "k2", "k3", "k4"),
}
NERFSTUDIO_MODELS = ("OPENCV", "OPENCV_FISHEYE", "PINHOLE", "SIMPLE_PINHOLE", "PERSPECTIVE")
_RADIAL_TANGENTIAL_ORDER = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")
_FISHEYE_ORDER = ("k1", "k2", "k3", "k4")


def model_name(camera: Intrinsics) -> str:
    """The name of its lens in this program's own form, and on /calib/."""
    if camera.fisheye:
        return "kannala_brandt"
    return "plumb_bob" if len(camera.distortion) <= 5 else "rational_polynomial"


def of_json(content: Mapping[str, Any]) -> Intrinsics:
    """This program's own: width, height, fx, fy, cx, cy, and optionally distortion and distortion_model."""
    _need(content, ("width", "height", "fx", "fy", "cx", "cy"))
    lens = _lens(content.get("distortion_model"), content.get("distortion") or ())
    fx, fy, cx, cy = (float(content[name]) for name in ("fx", "fy", "cx", "cy"))
    return Intrinsics(fx, fy, cx, cy, _pixels(content["width"]), _pixels(content["height"]), *lens)


def of_opencv(text: str) -> Intrinsics:
    """What cv2.FileStorage wrote: the names of OpenCV's calibration samples, of any version, in any spelling."""
    import cv2

    try:
        storage = cv2.FileStorage(text, cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY)
        nodes = {name.lower().replace("_", ""): storage.getNode(name) for name in storage.root().keys()}  # noqa: SIM118
        matrix = _first(nodes, ("cameramatrix", "k", "m1", "intrinsics"), "camera_matrix").mat()
        size = [_first(nodes, (name, f"image{name}"), f"image_{name}") for name in ("width", "height")]
        width, height = (node.real() for node in size)
        coefficients = _first(
            nodes, ("distortioncoefficients", "distcoeffs", "d", "d1"), "distortion_coefficients"
        ).mat()
        fisheye = "fisheyemodel" in nodes and nodes["fisheyemodel"].real() != 0
    except (cv2.error, SystemError) as error:  # the second where it raised and the binding lost what
        reason = error.err if isinstance(error, cv2.error) else "it is no XML or YAML of cv2.FileStorage"
        raise GeometryError(f"OpenCV cannot read it: {reason}") from error
    if matrix is None or matrix.shape != (3, 3):
        raise GeometryError("camera_matrix is no matrix of 3 x 3")
    lens = _lens("fisheye" if fisheye else None, () if coefficients is None else coefficients.ravel().tolist())
    return _from_matrix(matrix, width, height, lens)


def of_ros(content: Mapping[Any, Any]) -> Intrinsics:
    """camera_info as camera_calibration writes it, or a sensor_msgs/CameraInfo as `ros2 topic echo` prints it."""
    lower = {str(name).lower(): value for name, value in content.items()}
    if "camera_matrix" in lower:
        _need(lower, ("image_width", "image_height", "camera_matrix"))
        width, height = lower["image_width"], lower["image_height"]
        matrix, coefficients = _data(lower["camera_matrix"]), _data(lower.get("distortion_coefficients") or [])
    else:
        _need(lower, ("width", "height", "k"))
        width, height, matrix, coefficients = lower["width"], lower["height"], lower["k"], lower.get("d") or []
    if len(matrix) != 9:
        raise GeometryError(f"the camera matrix has {len(matrix)} numbers; expected 9")
    if not any(matrix):
        raise GeometryError("the camera matrix is zero: this camera was never calibrated")
    return _from_matrix(np.reshape(matrix, (3, 3)), width, height, _lens(lower.get("distortion_model"), coefficients))


def colmap_lines(text: str) -> dict[str, list[str]] | None:
    """The cameras of a cameras.txt by their id, as words; None for text that is no such file."""
    lines = [line.split() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    is_colmap = bool(lines) and all(len(words) > 4 and words[0].isdecimal() and words[1].isupper() for words in lines)
    return {words[0]: words for words in lines} if is_colmap else None


def of_colmap(words: Sequence[str]) -> Intrinsics:
    """CAMERA_ID MODEL WIDTH HEIGHT PARAMS[]."""
    _, model, width, height, *values = words
    if model not in COLMAP_MODELS:
        raise GeometryError(f"COLMAP's model {model} is not read; read are {', '.join(COLMAP_MODELS)}")
    names = COLMAP_MODELS[model]
    if len(values) != len(names):
        raise GeometryError(f"{model} has {len(names)} parameters ({' '.join(names)}), the file gives {len(values)}")
    given = {name: float(value) for name, value in zip(names, values, strict=True)}
    fx, fy = (given["f"], given["f"]) if "f" in given else (given["fx"], given["fy"])
    distortion, fisheye = _named_lens(given, "FISHEYE" in model)
    return Intrinsics(fx, fy, given["cx"], given["cy"], _pixels(width), _pixels(height), distortion, fisheye)


def of_kalibr(camera: Mapping[Any, Any]) -> Intrinsics:
    """One camN of a camchain: camera_model, intrinsics, distortion_model, distortion_coeffs, resolution."""
    _need(camera, ("camera_model", "intrinsics", "resolution"))
    if camera["camera_model"] != "pinhole":
        raise GeometryError(
            f"Kalibr's camera_model {camera['camera_model']!r} is not read; expected 'pinhole' (calibrate with"
            " pinhole-radtan or pinhole-equi)"
        )
    values, size = camera["intrinsics"], camera["resolution"]
    if len(values) != 4 or len(size) != 2:
        raise GeometryError(f"expected 4 intrinsics and a resolution of 2 numbers, found {len(values)} and {len(size)}")
    fx, fy, cx, cy = (float(value) for value in values)
    lens = _lens(camera.get("distortion_model"), camera.get("distortion_coeffs") or ())
    return Intrinsics(fx, fy, cx + CENTRE, cy + CENTRE, _pixels(size[0]), _pixels(size[1]), *lens)


def of_nerfstudio(content: Mapping[str, Any]) -> Intrinsics:
    """transforms.json with one camera for all pictures (instant-ngp writes the same names)."""
    model = content.get("camera_model", "OPENCV")
    if model not in NERFSTUDIO_MODELS:
        raise GeometryError(f"camera_model {model!r} is not read; read are {', '.join(NERFSTUDIO_MODELS)}")
    if "w" not in content and any("fl_x" in frame for frame in content.get("frames") or [] if isinstance(frame, dict)):
        raise GeometryError("each of its pictures has a camera of its own; expected one for all")
    if "fl_x" not in content and "camera_angle_x" in content:
        _need(content, ("w", "h"))
        content = {**content, "fl_x": float(content["w"]) / 2 / math.tan(float(content["camera_angle_x"]) / 2)}
    _need(content, ("w", "h", "fl_x"))
    width, height = _pixels(content["w"]), _pixels(content["h"])
    fx = float(content["fl_x"])
    cx, cy = float(content.get("cx", width / 2)), float(content.get("cy", height / 2))
    coefficients = {name: float(content[name]) for name in _RADIAL_TANGENTIAL_ORDER if content.get(name)}
    distortion, fisheye = _named_lens(coefficients, model == "OPENCV_FISHEYE" or bool(content.get("is_fisheye")))
    return Intrinsics(fx, float(content.get("fl_y", fx)), cx, cy, width, height, distortion, fisheye)


def _named_lens(given: Mapping[str, float], fisheye: bool) -> tuple[tuple[float, ...], bool]:
    """Coefficients by name in the order of our models; those that are not given are zero."""
    if fisheye:
        return tuple(given.get(name, 0.0) for name in _FISHEYE_ORDER), True
    named = [given.get(name, 0.0) for name in _RADIAL_TANGENTIAL_ORDER]
    count = 8 if any(named[5:]) else 5 if named[4] else 4 if any(named) else 0
    return tuple(named[:count]), False


def _lens(model: object, coefficients: Sequence[float]) -> tuple[tuple[float, ...], bool]:
    """(distortion, fisheye). Raises GeometryError for a model that is none of ours: its numbers mean something else."""
    values = tuple(float(value) for value in coefficients)
    if model in FISHEYE:
        if len(values) not in (0, 4):
            raise GeometryError(f"distortion_model {model!r} has 4 coefficients, the file gives {len(values)}")
        return values or (0.0,) * 4, True
    if model is None:
        model = "opencv"
    if not isinstance(model, str) or model not in RADIAL_TANGENTIAL:
        known = ", ".join(repr(name) for name in (*RADIAL_TANGENTIAL, *FISHEYE) if name)
        raise GeometryError(
            f"distortion_model {model!r} is not known; known are {known}: undistort the images with another program, or"
            " calibrate anew with one of these"
        )
    counts = RADIAL_TANGENTIAL[model]
    if len(values) not in counts and any(values):
        expected = " or ".join(map(str, counts))
        raise GeometryError(f"distortion_model {model!r} has {expected} coefficients, the file gives {len(values)}")
    return values if len(values) in counts else (), False


def _from_matrix(matrix: Any, width: Any, height: Any, lens: tuple[tuple[float, ...], bool]) -> Intrinsics:
    """From K with pixel centres at integers."""
    k = Intrinsics.from_matrix(np.asarray(matrix, np.float64), _pixels(width), _pixels(height))
    return Intrinsics(k.fx, k.fy, k.cx + CENTRE, k.cy + CENTRE, k.width, k.height, *lens)


def _pixels(value: Any) -> int:
    """A whole number of pixels, also where a tool wrote it as 640.0."""
    if isinstance(value, bool) or float(value) != int(float(value)):
        raise GeometryError(f"image size {value!r}; expected a whole number of pixels")
    return int(float(value))


def _data(matrix: Any) -> Sequence[float]:
    """The numbers of a matrix as ROS writes it: {rows, cols, data}, or just the list."""
    return matrix["data"] if isinstance(matrix, Mapping) else matrix


def _need(content: Mapping[Any, Any], names: Sequence[str]) -> None:
    missing = [name for name in names if content.get(name) is None]
    if missing:
        raise GeometryError(f"no value for {', '.join(missing)}")


def _first(nodes: Mapping[str, Any], names: Sequence[str], wanted: str) -> Any:
    """The node that is there; `wanted` is the name in the error."""
    for name in names:
        if name in nodes:
            return nodes[name]
    raise GeometryError(f"no value for {wanted}")
