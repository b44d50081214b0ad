"""Reads a camera from a calibration file, whichever common tool wrote it. The forms are in camera_forms.py.

What a file is follows from what is in it, not from its name. Where a file has several cameras, the one that is meant
comes after a #: `cameras.txt#3`, `camchain.yaml#cam1`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spark3r_core.errors import GeometryError
from spark3r_core.geometry import camera_forms
from spark3r_core.geometry.camera import Intrinsics
from spark3r_core.geometry.yaml_weight import is_light

MAX_FILE_BYTES = 64 << 20  # a transforms.json names every picture
FORMS = (
    "the JSON of this program, OpenCV's YAML or XML, ROS camera_info YAML, COLMAP's cameras.txt, Kalibr's camchain YAML"
    " and nerfstudio's transforms.json"
)


def read_camera(path: str | Path) -> Intrinsics:
    """The camera of a calibration file, pixel centres at integer + 0.5 whatever the tool's own convention.

    Raises GeometryError naming the file and what is wrong with it.
    """
    file, which = _file_and_name(Path(path))
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            raise GeometryError(f"camera file {file} is larger than {MAX_FILE_BYTES >> 20} MiB; that is no calibration")
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise GeometryError(f"cannot read camera file {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise GeometryError(f"camera file {file} is not text; read are {FORMS}") from error
    try:
        return _camera_in(text, which)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise GeometryError(f"camera file {file}: {error}") from error
    except GeometryError as error:
        raise GeometryError(f"camera file {file}: {error}") from error


def camera_as_json(camera: Intrinsics) -> dict[str, Any]:
    """The fields of this program's own form, which `read_camera` reads to the same camera."""
    return {
        "width": camera.width,
        "height": camera.height,
        "fx": camera.fx,
        "fy": camera.fy,
        "cx": camera.cx,
        "cy": camera.cy,
        "distortion_model": camera_forms.model_name(camera),
        "distortion": list(camera.distortion),
        "pixel_centres": "integer + 0.5",
    }


def _file_and_name(path: Path) -> tuple[Path, str | None]:
    """The file, and which of its cameras; a # that belongs to the file's own name stays there."""
    if "#" not in path.name or path.exists():
        return path, None
    name, _, which = path.name.rpartition("#")
    return path.with_name(name), which


def _camera_in(text: str, which: str | None) -> Intrinsics:
    start = text.lstrip("\ufeff \t\r\n")
    if start.startswith(("<", "%YAML:")) or "!!opencv-matrix" in start:
        _refuse_name(which)
        return camera_forms.of_opencv(start)
    if start.startswith(("{", "[")):
        _refuse_name(which)
        content = _json(start)
        nerfstudio = "fx" not in content and any(name in content for name in ("fl_x", "camera_angle_x", "frames"))
        return camera_forms.of_nerfstudio(content) if nerfstudio else camera_forms.of_json(content)
    if (cameras := camera_forms.colmap_lines(start)) is not None:
        line = _chosen(cameras, which, "COLMAP's cameras.txt")
        return camera_forms.of_colmap(line)
    content = _yaml(start)
    kalibr = {
        str(name): value for name, value in content.items() if str(name).startswith("cam") and "_" not in str(name)
    }
    if kalibr and all(isinstance(value, Mapping) for value in kalibr.values()):
        return camera_forms.of_kalibr(_chosen(kalibr, which, "this camera chain"))
    _refuse_name(which)
    if "camera_model" in content and "intrinsics" in content:  # one camera of a chain, cut out of it
        return camera_forms.of_kalibr(content)
    if "camera_matrix" in content or "k" in content or "K" in content:
        return camera_forms.of_ros(content)
    if "fx" in content:
        return camera_forms.of_json(content)
    names = ", ".join(repr(str(name)) for name in list(content)[:6]) or "nothing"
    raise GeometryError(f"no known form of a calibration: it holds {names}; read are {FORMS}")


def _json(text: str) -> Mapping[str, Any]:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise GeometryError(f"begins like JSON and is none: {error}") from error
    if not isinstance(content, dict):
        raise GeometryError(f"holds a {type(content).__name__}; expected an object")
    return content


def _yaml(text: str) -> Mapping[Any, Any]:
    import yaml  # not part of a subscriber's installation

    try:
        documents = [part for part in yaml.safe_load_all(text) if part is not None]
    except yaml.YAMLError as error:
        where = str(error).splitlines()[0]
        raise GeometryError(f"is no YAML, either ({where}); read are {FORMS}") from error
    if not documents or not isinstance(documents[0], dict):  # `ros2 topic echo` writes a document per message
        raise GeometryError(f"no known form of a calibration; read are {FORMS}")
    if not is_light(documents[0]):
        raise GeometryError("it repeats itself without end, by YAML's aliases")
    return documents[0]


def _chosen(cameras: Mapping[str, Any], which: str | None, what: str) -> Any:
    names = ", ".join(list(cameras)[:8]) + (", …" if len(cameras) > 8 else "")
    if which is None:
        if len(cameras) != 1:
            raise GeometryError(f"{what} has {len(cameras)} cameras ({names}); say which after a #, as in FILE#NAME")
        (which,) = cameras
    if which not in cameras:
        raise GeometryError(f"{what} has no camera {which!r}; it has {names}")
    return cameras[which]


def _refuse_name(which: str | None) -> None:
    if which is not None:
        raise GeometryError(f"it holds one camera, and none is called {which!r}; leave #{which} away")
