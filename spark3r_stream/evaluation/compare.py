"""Two trajectories, matched by time: how much of the reference is covered, and how far off the estimate is."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from spark3r_core.geometry.trajectory_errors import absolute_error, relative_rotation_deg
from spark3r_stream.errors import OutputError
from spark3r_stream.evaluation.paths import read_path
from spark3r_stream.map.trajectory import Trajectory, match_times

TOLERANCE_S = 0.02  # between times that are taken for the same
APART_S = 1.0  # of the frames whose relative turn is looked at
LEAST_POSES = 3
LEAST_COVERAGE = 0.8


@dataclass(frozen=True)
class Limits:
    """None: not asked for. ate: of the true path's spread. rotation_deg: median. coverage: at least."""

    ate: float | None = None
    rotation_deg: float | None = None
    coverage: float = LEAST_COVERAGE

    @property
    def are_given(self) -> bool:
        return self.ate is not None or self.rotation_deg is not None


@dataclass(frozen=True)
class Compared:
    """poses: matched. coverage: share of the reference's poses that have one of the estimate within one and a half of
    its periods. ate: RMSE of the camera centres after one Sim(3), over the spread of the reference; ate_units: in its
    units, of which its path has a spread of `spread`. scale: reference units per unit of the estimate.
    rotation_deg, rotation_p95_deg: median and 95th percentile of how wrong turns over `apart_s` seconds are.
    estimate, reference: the matched poses, the estimate aligned.
    """

    poses: int
    coverage: float
    ate: float
    ate_units: float
    spread: float
    scale: float
    rotation_deg: float
    rotation_p95_deg: float
    apart_s: float
    estimate: Trajectory = field(repr=False)
    reference: Trajectory = field(repr=False)

    def failures(self, limits: Limits) -> list[str]:
        """What is beyond the limits, in words; empty if nothing is."""
        found = []
        if limits.ate is not None and not self.ate <= limits.ate:
            found.append(f"the trajectory error is {self.ate:.4f} of the path's spread, more than {limits.ate:g}")
        if limits.rotation_deg is not None and not self.rotation_deg <= limits.rotation_deg:
            found.append(f"the rotation error is {self.rotation_deg:.3f} deg, more than {limits.rotation_deg:g}")
        if limits.are_given and not self.coverage >= limits.coverage:
            found.append(f"{self.coverage:.1%} of the reference is covered, less than {limits.coverage:.0%}")
        return found

    def as_dict(self) -> dict[str, Any]:
        return {one.name: getattr(self, one.name) for one in fields(self) if one.repr}


def compare_paths(estimate: str, reference: str, tolerance_s: float = TOLERANCE_S, offset_s: float = 0.0) -> Compared:
    """Names as `read_path` takes them. offset_s: added to the estimate's times. Raises OutputError where the two have
    too little in common."""
    (first, first_timed), (second, second_timed) = read_path(estimate), read_path(reference)
    if not (first_timed and second_timed):
        if len(first) != len(second):
            untimed = reference if first_timed else estimate
            raise OutputError(
                f"{untimed} has no times, and {len(first)} poses cannot be matched with {len(second)} line by line;"
                " put times.txt (seconds, one a line) beside it"
            )
        times = np.arange(len(first), dtype=np.int64) * 1_000_000_000
        first, second = Trajectory(times, first.world_from_camera), Trajectory(times, second.world_from_camera)
    else:
        first = Trajectory(first.time_ns + round(offset_s * 1e9), first.world_from_camera)
    return compare(_in_order(first), _in_order(second), tolerance_s, f"{estimate} and {reference}")


def compare(estimate: Trajectory, reference: Trajectory, tolerance_s: float, names: str) -> Compared:
    """Of trajectories in the order of their times. Raises OutputError for fewer than three matched poses."""
    rows, columns = match_times(estimate.time_ns, reference.time_ns, round(tolerance_s * 1e9))
    if len(rows) < LEAST_POSES:
        raise OutputError(
            f"{names} have {len(rows)} poses at the same times (to {tolerance_s:g} s; {_span(estimate)} and"
            f" {_span(reference)}); at least {LEAST_POSES} are needed: --offset moves the first, --tolerance allows"
            " more"
        )
    matched = Trajectory(estimate.time_ns[rows], estimate.world_from_camera[rows])
    truth = Trajectory(reference.time_ns[columns], reference.world_from_camera[columns])
    error = absolute_error(matched.world_from_camera, truth.world_from_camera)
    first, second, apart_s = _pairs(truth.time_ns)
    turns = relative_rotation_deg(matched.world_from_camera, truth.world_from_camera, first, second)
    aligned = error.truth_from_estimate.apply_to_poses(matched.world_from_camera)
    return Compared(
        poses=len(rows),
        coverage=_coverage(estimate.time_ns, reference.time_ns, tolerance_s),
        ate=error.rmse / error.spread if error.spread else (0.0 if error.rmse == 0 else float("inf")),
        ate_units=error.rmse,
        spread=error.spread,
        scale=error.truth_from_estimate.scale,
        rotation_deg=float(np.median(turns)),
        rotation_p95_deg=float(np.percentile(turns, 95)),
        apart_s=apart_s,
        estimate=Trajectory(truth.time_ns, np.asarray(aligned)),
        reference=truth,
    )


def _in_order(trajectory: Trajectory) -> Trajectory:
    order = np.argsort(trajectory.time_ns, kind="stable")
    return Trajectory(trajectory.time_ns[order], trajectory.world_from_camera[order])


def _pairs(time_ns: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Each pose and the one a second later; of less than two seconds, half of them later."""
    apart_ns = min(int(APART_S * 1e9), int(time_ns[-1] - time_ns[0]) // 2)
    later = np.searchsorted(time_ns, time_ns + apart_ns)
    first = np.flatnonzero(later < len(time_ns))
    return first, later[first], apart_ns / 1e9


def _coverage(estimate_ns: np.ndarray, reference_ns: np.ndarray, tolerance_s: float) -> float:
    period_ns = float(np.median(np.diff(estimate_ns)))
    after = np.clip(np.searchsorted(estimate_ns, reference_ns), 1, len(estimate_ns) - 1)
    nearest = np.minimum(np.abs(estimate_ns[after - 1] - reference_ns), np.abs(estimate_ns[after] - reference_ns))
    return float(np.mean(nearest <= max(1.5 * period_ns, tolerance_s * 1e9)))


def _span(trajectory: Trajectory) -> str:
    return f"{trajectory.time_ns[0] / 1e9:.3f} to {trajectory.time_ns[-1] / 1e9:.3f} s"
