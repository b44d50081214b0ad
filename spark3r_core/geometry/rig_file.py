"""Reads where cameras are on a rig: this program's own YAML, or Kalibr's camchain.

Own form, metres and quaternions, one entry per camera:

    rig_from_camera:
      gate: {translation_m: [0, 0, 0], quat_xyzw: [0, 0, 0, 1]}
      yard: {translation_m: [0.12, 0, 0], quat_xyzw: [0, 0, 0, 1]}

Kalibr's cameras are cam0, cam1, …, and the rig is cam0: `T_cn_cnm1` takes points of the camera before to the next.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from spark3r_core.errors import GeometryError
from spark3r_core.geometry import se3
from spark3r_core.geometry.rotation import Array
from spark3r_core.geometry.yaml_weight import is_light

MAX_FILE_BYTES = 1 << 20
EXPECTED = "expected rig_from_camera: {NAME: {translation_m: [x, y, z], quat_xyzw: [x, y, z, w]}}, or Kalibr's camchain"


def read_rig(path: str | Path) -> dict[str, Array]:
    """rig_from_camera (4, 4) by the camera's name, translations in metres. Raises GeometryError naming the file and
    what is wrong with it."""
    import yaml  # not part of a subscriber's installation

    path = Path(path)
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise GeometryError(f"rig file {path} is larger than {MAX_FILE_BYTES >> 20} MiB; {EXPECTED}")
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise GeometryError(f"cannot read rig file {path}: {error.strerror}") from error
    except (UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise GeometryError(f"rig file {path} is no YAML; {EXPECTED}") from error
    if not isinstance(content, Mapping):
        raise GeometryError(f"rig file {path} holds no table; {EXPECTED}")
    if not is_light(content):
        raise GeometryError(f"rig file {path} repeats itself without end; {EXPECTED}")
    try:
        rig = _chain(content) if "rig_from_camera" not in content else _poses(content["rig_from_camera"])
    except GeometryError as error:
        raise GeometryError(f"rig file {path}: {error}") from error
    if len(rig) < 2:
        raise GeometryError(f"rig file {path} has {len(rig)} camera; a rig has at least two")
    return rig


def _poses(content: Any) -> dict[str, Array]:
    if not isinstance(content, Mapping):
        raise GeometryError(f"rig_from_camera is no table; {EXPECTED}")
    rig = {}
    for name, pose in content.items():
        if not isinstance(pose, Mapping) or set(pose) != {"translation_m", "quat_xyzw"}:
            found = ", ".join(str(one) for one in pose) if isinstance(pose, Mapping) else repr(pose)
            raise GeometryError(f"{name} has {found or 'nothing'}; expected translation_m and quat_xyzw")
        translation, quat_xyzw = (_numbers(name, word, pose[word], count) for word, count in _SIZES.items())
        if not np.linalg.norm(quat_xyzw) > 1e-6:
            raise GeometryError(f"{name}: quat_xyzw is zero; no turn is [0, 0, 0, 1]")
        rig[str(name)] = np.asarray(se3.from_quat_xyzw(translation, quat_xyzw))
    return rig


_SIZES = {"translation_m": 3, "quat_xyzw": 4}


def _chain(content: Mapping[Any, Any]) -> dict[str, Array]:
    names = [f"cam{number}" for number in range(len(content)) if f"cam{number}" in content]
    if not names or len(names) != len(content):
        found = ", ".join(str(one) for one in list(content)[:6]) or "nothing"
        raise GeometryError(f"holds {found}; {EXPECTED}")
    rig = {names[0]: np.eye(4)}
    for before, name in itertools.pairwise(names):
        camera = content[name]
        if not isinstance(camera, Mapping) or "T_cn_cnm1" not in camera:
            raise GeometryError(f"{name} has no T_cn_cnm1, which says where it is beside {before}")
        rows = camera["T_cn_cnm1"]
        flat = [one for row in rows for one in row] if isinstance(rows, list) and all(map(_is_list, rows)) else rows
        step = se3.require_se3(_numbers(name, "T_cn_cnm1", flat, 16).reshape(4, 4), f"T_cn_cnm1 of {name}")
        rig[name] = rig[before] @ np.asarray(se3.invert(step))
    return rig


def _is_list(value: object) -> bool:
    return isinstance(value, list)


def _numbers(name: object, word: str, values: Any, count: int) -> Array:
    is_list = isinstance(values, list) and len(values) == count
    if not is_list or not all(isinstance(one, int | float) and not isinstance(one, bool) for one in values):
        raise GeometryError(f"{name}: {word} is {values!r}; expected {count} numbers")
    numbers = np.array(values, np.float64)
    if not np.all(np.isfinite(numbers)) or np.abs(numbers).max() > 1e6:
        raise GeometryError(f"{name}: {word} is {values!r}; expected {count} finite numbers")
    return numbers
