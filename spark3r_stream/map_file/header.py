"""The header of a map file: JSON in the metadata of the safetensors file, every field of it checked by a rule."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.stream.keyframe_map import Array, KeyframeMap
from spark3r_stream.map_file.layout import COUNTS, MAJOR, MAX_PIXELS, MAX_SIDE, MINOR
from spark3r_stream.map_file.saved_map import MapFacts, Metres
from spark3r_stream.plain_text import cleaned
from spark3r_stream.rules import Rule, integer, number, one_of, optional, read_json, text, yes_or_no

_FOCAL = number(1e-3, 1e7)
_CENTRE = number(-1e7, 1e7)
_FIELDS: dict[str, Rule] = {
    "version": text(r"\d{1,4}\.\d{1,4}", 9, "a version such as 1.0"),
    "counts": Rule(lambda value: isinstance(value, dict) and set(value) >= set(COUNTS), f"all of {', '.join(COUNTS)}"),
    "picture_hw": Rule(
        lambda value: (
            isinstance(value, list)
            and len(value) == 2
            and all(map(integer(1, MAX_SIDE).holds, value))
            and math.prod(value) <= MAX_PIXELS
        ),
        f"height and width up to {MAX_SIDE}, {MAX_PIXELS} pixels at most",
    ),
    "focal": _FOCAL,
    "focal_std": optional(number(0, 1e6)),
    "settled_focal": number(0, 1e7),
    "given_camera": Rule(
        lambda value: (
            value is None
            or (
                isinstance(value, dict)
                and set(value) == {"fx", "fy", "cx", "cy"}
                and all(_FOCAL.holds(value[name]) for name in ("fx", "fy"))
                and all(_CENTRE.holds(value[name]) for name in ("cx", "cy"))
            )
        ),
        "nothing, or fx fy cx cy",
    ),
    "source": Rule(lambda value: isinstance(value, dict), "an object"),
}
_METRES: dict[str, Rule] = {
    "keyframe_id": integer(-(2**62), 2**62),
    "scale": number(1e-9, 1e9),
    "quat_xyzw": Rule(
        lambda value: (
            isinstance(value, list)
            and len(value) == 4
            and all(map(number(-1.001, 1.001).holds, value))
            and abs(math.hypot(*value) - 1) < 1e-3
        ),
        "a unit quaternion",
    ),
    "translation": Rule(
        lambda value: isinstance(value, list) and len(value) == 3 and all(map(number(-1e9, 1e9).holds, value)),
        "three numbers",
    ),
    "std": number(0, 1e3),
    "source": text(),
    "z_up": yes_or_no(),
}
_SOURCE: dict[str, Rule] = {
    "source_id": text(),
    "source_kind": text(r"[a-z]*", 32, "the name of a kind of source"),
    "fps": optional(number(0, 1e6)),
    "captured_ns": integer(-(2**62), 2**62),
    "captured_clock": one_of("unix", "source"),
    "model": text(r"[a-z0-9][a-z0-9._-]*", 64, "the name of a model"),
    "program": text(r"[\w.+-]*", 64, "a version"),
}


@dataclass(frozen=True)
class Header:
    """focal and the rest: as in `KeyframeMap`. counts: of what the tensors hold. is_newer: has what we do not know."""

    counts: Mapping[str, int]
    picture_hw: tuple[int, int]
    focal: float
    focal_std: float
    settled_focal: float
    given_camera: Array | None
    facts: MapFacts
    is_newer: bool = False


def header_json(world: KeyframeMap, facts: MapFacts, counts: Mapping[str, int]) -> str:
    """The same text for the same map."""
    camera = world.given_camera
    fields = {
        "version": f"{MAJOR}.{MINOR}",
        "counts": {name: counts[name] for name in COUNTS},
        "picture_hw": [int(side) for side in world.picture_hw],
        "focal": float(world.focal),
        "focal_std": float(world.focal_std) if math.isfinite(world.focal_std) else None,
        "settled_focal": float(world.settled_focal),
        "given_camera": None
        if camera is None
        else {
            "fx": float(camera[0, 0]), "fy": float(camera[1, 1]), "cx": float(camera[0, 2]), "cy": float(camera[1, 2]),
        },
        "source": {name: getattr(facts, name) for name in _SOURCE},
        "metres": _metres_fields(facts.metres[0]) if facts.metres else None,
    }  # fmt: skip
    return json.dumps(fields, sort_keys=True)


def checked_header(words: str) -> Header:
    """Raises ValueError naming what is wrong with it."""
    try:
        fields = read_json(words)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its header is damaged: {cleaned(error)}") from None
    if not isinstance(fields, dict):
        raise ValueError("its header is no object")
    _require("", fields, {"version": _FIELDS["version"]})
    major, minor = map(int, fields["version"].split("."))
    if major != MAJOR:
        raise ValueError(
            f"it is of version {major}.{minor}, this program reads {MAJOR}.x; use the release that wrote it"
        )
    _require("", fields, _FIELDS)
    counts = {name: fields["counts"][name] for name in COUNTS}
    _require("the number of ", counts, {name: integer(int(name == "keyframes"), most) for name, most in COUNTS.items()})
    _require("", fields["source"], _SOURCE)
    given, std = fields["given_camera"], fields["focal_std"]
    return Header(
        counts,
        (fields["picture_hw"][0], fields["picture_hw"][1]),
        float(fields["focal"]),
        math.inf if std is None else float(std),
        float(fields["settled_focal"]),
        None if given is None else _matrix(given),
        MapFacts(**{name: fields["source"][name] for name in _SOURCE}, metres=_metres(fields.get("metres"))),
        minor > MINOR,
    )


def _metres_fields(metres: Metres) -> dict[str, Any]:
    lies = metres.metres_from_map
    return {
        "keyframe_id": metres.keyframe_id,
        "scale": lies.scale,
        "quat_xyzw": lies.quat_xyzw.tolist(),
        "translation": lies.translation.tolist(),
        "std": metres.std,
        "source": metres.source,
        "z_up": metres.z_up,
    }


def _metres(fields: Any) -> tuple[Metres, ...]:
    if fields is None:  # not known, or a file of version 1.0
        return ()
    if not isinstance(fields, dict):
        raise ValueError("what it says of metres is no object")
    _require("of its metres ", fields, _METRES)
    lies = Sim3.from_quat_xyzw(fields["scale"], fields["quat_xyzw"], fields["translation"])
    return (Metres(fields["keyframe_id"], lies, float(fields["std"]), fields["source"], fields["z_up"]),)


def _matrix(given: Mapping[str, float]) -> Array:
    return np.array([[given["fx"], 0, given["cx"]], [0, given["fy"], given["cy"]], [0, 0, 1]], np.float64)


def _require(what: str, fields: Mapping[str, Any], rules: Mapping[str, Rule]) -> None:
    for name, rule in rules.items():
        if name not in fields:
            raise ValueError(f"{what}{name} is missing")
        if not rule.holds(fields[name]):
            raise ValueError(f"{what}{name} is {cleaned(repr(fields[name]), 64)}; expected {rule.expected}")
