"""The numbers that decide whether a network is good enough, picked out of a suite's results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tools.evaluation.comparison import CONSTANT_VELOCITY, NO_MOTION, ODOMETRY, UNREFINED

KITCHEN = "7scenes_redkitchen_a"
ABS_REL = "AbsRel, one scale per sequence"
DEGREES, OF_MOTION, PERCENT = "°", "of the true length", "%"


@dataclass(frozen=True)
class Must:
    """One measured number beside the same number of what needs no network (None: it has none).

    unrefined: by the network's own poses, where value is after refinement. no_motion: for depths, the same depth
    everywhere. of_no_motion: value over it; below 1 beats predicting nothing.
    """

    where: str
    what: str
    unit: str
    value: float | None
    unrefined: float | None = None
    no_motion: float | None = None
    constant_velocity: float | None = None
    odometry: float | None = None

    @property
    def of_no_motion(self) -> float | None:
        return self.value / self.no_motion if self.value is not None and self.no_motion else None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"of_no_motion": self.of_no_motion}


def musts(result: Mapping[str, Any], method: str) -> list[Must]:
    """Rows of whatever parts the suite ran. method: the network's name in the results."""
    worlds = dict(result.get("worlds", {}))
    refined_pairs = worlds.pop("pairs, refined", None)
    rows = [
        must
        for name, row in worlds.items()
        for must in _of_worlds(name, row, refined_pairs if name == "pairs" else None)
    ]
    streams = list(result.get("streams", {}).values())
    if streams:
        where = f"{len(streams)} synthetic loops of {streams[0][method]['frames']} frames, medians"
        rows += [
            _row(streams, method, where, "ATE / path length", PERCENT, "ate", "of_path", factor=100),
            *_relative(streams, method, where),
            _abs_rel(streams, method, where),
        ]
    kitchen = result.get("real", {}).get(KITCHEN)
    if kitchen is not None:
        rows += [
            *_relative([kitchen], method, "kitchen, streamed"),
            _row(
                [kitchen],
                method,
                "kitchen, streamed",
                "field of view, relative error",
                PERCENT,
                "fov_error",
                factor=100,
            ),
            _row([kitchen], method, "kitchen, whole clip", "ATE / spread", "", "ate", "of_spread"),
            _abs_rel([kitchen], method, "kitchen, whole clip"),
        ]
    pairs, own = result.get("kitchen_pairs"), result.get("kitchen_pairs_unrefined")
    if pairs is not None and own is not None:
        where, still = "kitchen, pairs", pairs["no_motion_rotation_deg"]
        fovs = (_times(numbers.get("fov_error"), 100) for numbers in (pairs, own))
        rows += [
            Must(where, "rotation", DEGREES, pairs["rotation_deg"], own["rotation_deg"], still),
            Must(
                where, "direction of translation, median", DEGREES, pairs["direction_deg"], own["direction_deg"], 90.0
            ),
            Must(where, "field of view, relative error", PERCENT, *fovs),
        ]
    return rows


def _of_worlds(name: str, own: Mapping[str, Any], refined: Mapping[str, Any] | None) -> list[Must]:
    """own: the network alone; refined: the same views after refinement, where one keyframe sees them all."""
    where = f"{own['worlds']} held-out worlds, {name}"
    kinds: list[tuple[str, str, Callable[[Mapping[str, Any]], float], float | None]] = [
        ("rotation", DEGREES, lambda row: row["rotation_deg"], own["no_motion_rotation_deg"]),
        ("translation, network's own unit", OF_MOTION, lambda row: row["translation_of_length"], 1.0),
        ("translation, in the depths' one scale", OF_MOTION, lambda row: row["translation_of_length_depth_scale"], 1.0),
        ("direction of translation, median", DEGREES, lambda row: row["direction_deg"], 90.0),
        (ABS_REL, "", lambda row: row["depth"]["abs_rel"], own["depth"]["flat_abs_rel"]),
        ("field of view, relative error", PERCENT, lambda row: 100 * row["fov_error"], None),
    ]
    if refined is None:
        return [Must(where, what, unit, pick(own), no_motion=still) for what, unit, pick, still in kinds]
    return [Must(where, what, unit, pick(refined), pick(own), still) for what, unit, pick, still in kinds]


def _relative(sequences: Sequence[Mapping[str, Any]], method: str, where: str) -> list[Must]:
    return [
        _row(sequences, method, where, "rotation", DEGREES, "rpe", "rotation_deg"),
        _row(sequences, method, where, "direction of translation, median", DEGREES, "rpe", "direction_deg"),
        _row(sequences, method, where, "translation, Sim(3)'s scale", OF_MOTION, "rpe", "translation_of_motion"),
    ]


def _abs_rel(sequences: Sequence[Mapping[str, Any]], method: str, where: str) -> Must:
    found, flat = (_median(sequences, method, ("depth", key)) for key in ("abs_rel", "flat_abs_rel"))
    return Must(where, ABS_REL, "", found, _median(sequences, UNREFINED, ("depth", "abs_rel")), flat)


def _row(
    sequences: Sequence[Mapping[str, Any]], method: str, where: str, what: str, unit: str, *keys: str, factor: float = 1
) -> Must:
    methods = (method, UNREFINED, NO_MOTION, CONSTANT_VELOCITY, ODOMETRY)
    values = (_times(_median(sequences, name, keys), factor) for name in methods)
    return Must(where, what, unit, *values)


def _median(sequences: Sequence[Mapping[str, Any]], method: str, keys: Sequence[str]) -> float | None:
    """Median over sequences of one number of a method; None where a sequence lacks it."""
    found = []
    for sequence in sequences:
        value: Any = sequence.get(method)
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        if value is None:
            return None
        found.append(value)
    return float(np.median(found))


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else factor * value
