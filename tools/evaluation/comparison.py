"""One sequence, every method: results on disk, the engine run here, and what any method must beat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spark3r_core.errors import Spark3rError
from spark3r_core.models.interface import Backbone
from spark3r_stream.map.trajectory import match_times, read_trajectory
from tools.evaluation import baselines, metrics, report
from tools.evaluation.depth_maps import saved_depth_numbers, saved_fov_error
from tools.evaluation.engine_run import engine_numbers, run_engine
from tools.evaluation.sequences import TrueSequence

Array = NDArray[np.float64]
NO_MOTION, CONSTANT_VELOCITY, ODOMETRY = "no motion", "constant velocity", "OpenCV odometry"
UNREFINED = "network's own poses"


class EvaluationError(Spark3rError):
    """A result that cannot be compared with the truth."""


@dataclass
class Comparison:
    """numbers by method, and aligned poses (n, 4, 4) of those that gave a trajectory."""

    sequence: TrueSequence
    truth: Array
    distance: int
    numbers: dict[str, dict[str, Any]] = field(default_factory=dict)
    aligned: dict[str, Array] = field(default_factory=dict)

    def add(self, name: str, measured: tuple[dict[str, Any], Array]) -> None:
        self.numbers[name], self.aligned[name] = measured

    def write(self, out: Path, name: str | None = None) -> None:
        """NAME.json, NAME.md and NAME.png in folder `out`."""
        name = name or self.sequence.name
        report.write(out, name, self.distance, self.numbers)
        calibration = {
            method: row["depth"]["calibration"]
            for method, row in self.numbers.items()
            if "calibration" in row.get("depth", {})
        }
        report.plot(out / f"{name}.png", name, self.truth, self.aligned, calibration)


def compare(
    sequence: TrueSequence,
    distance: int = 8,
    *,
    results: Mapping[str, Path] | None = None,
    model: Backbone | None = None,
    model_name: str = "engine",
    long_side: int | None = None,
    with_odometry: bool = False,
) -> Comparison:
    """Numbers of every method on one sequence.

    Args:
        distance: frames between the two of a relative pose.
        results: folders of `spark3r run`, or TUM files, by name.
        model: run through the engine here, under `model_name`; where the engine refines its poses, also without that.
        with_odometry: also OpenCV's, where the true intrinsics are known.

    Raises:
        EvaluationError: too few poses with a truth.
    """
    frames, truth = sequence.truth_of_frames()
    if len(truth) <= distance:
        raise EvaluationError(f"{sequence.name}: {len(truth)} frames have a true pose; expected more than {distance}")
    comparison = Comparison(sequence, truth, distance)
    for name, path in (results or {}).items():
        comparison.add(name, result_numbers(path, sequence, distance))
    odometry = None
    if model is not None:
        run = run_engine(model, sequence, long_side, with_odometry=with_odometry)
        odometry = run.odometry
        try:
            comparison.add(model_name, engine_numbers(run, sequence, distance))
            if model.capabilities.refines:
                own = run_engine(model, sequence, long_side, refine=False)
                comparison.add(UNREFINED, engine_numbers(own, sequence, distance))
        except ValueError as error:
            raise EvaluationError(str(error)) from error
    elif with_odometry and sequence.intrinsics is not None:
        odometry = baselines.visual_odometry(sequence.frames(), sequence.intrinsics)
    comparison.numbers[NO_MOTION], _ = metrics.trajectory(baselines.no_motion(len(truth)), truth, distance)
    if len(truth) > 2 * distance:
        velocity = baselines.constant_velocity_rpe(truth, distance)
        comparison.numbers[CONSTANT_VELOCITY] = {"frames": len(truth), "rpe": velocity}
    if odometry is not None:
        poses, lost = odometry
        comparison.add(ODOMETRY, metrics.trajectory(poses[frames], truth, distance))
        comparison.numbers[ODOMETRY]["frames_lost"] = lost
    return comparison


def result_numbers(path: Path, sequence: TrueSequence, distance: int) -> tuple[dict[str, Any], Array]:
    """Numbers of one result on disk and its aligned poses; frames without a pose are left out and counted."""
    found = read_trajectory(path / "trajectory.txt" if path.is_dir() else path)
    frames, truth = sequence.truth_of_frames()
    mine, theirs = match_times(found.time_ns, sequence.time_ns[frames], 10_000_000)
    if len(mine) <= distance:
        raise EvaluationError(f"{path}: {len(mine)} poses match the truth's times; expected more than {distance}")
    numbers, aligned = metrics.trajectory(found.world_from_camera[mine], truth[theirs], distance)
    numbers["frames_missing"] = len(truth) - len(mine)
    if path.is_dir():
        numbers |= saved_depth_numbers(path, sequence) | saved_fov_error(path, sequence)
    return numbers, aligned
