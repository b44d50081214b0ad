"""Assertions for tests of programs that use Spark3R-Stream, and a pytest plugin that runs recordings as tests.

from spark3r_stream.testing import assert_ate, assert_same
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from spark3r_stream.evaluation.compare import LEAST_COVERAGE, TOLERANCE_S, Limits, compare_paths

__all__ = ["assert_ate", "assert_same"]


def assert_same(
    recording: str | Path, *options: str, ate: float | None = None, rotation_deg: float | None = None
) -> None:
    """Run a recording again, in a process of its own, and assert that the result is the recorded one.

    Without limits every message has to be equal, byte by byte: that holds on the same kind of machine with the same
    versions. With `ate` (of the path's spread) or `rotation_deg` (median, over a second) the two final trajectories
    have to agree so far, which holds across machines. options: further ones of `spark3r run`, such as "--weights".
    """
    __tracebackhide__ = True
    if Path(recording).suffix.lower() != ".mcap":
        raise ValueError(f"{recording} is not run again; expected a recording, a file whose name ends in .mcap")
    command = [sys.executable, "-m", "spark3r_stream", "run", str(recording), *options]
    if ate is None and rotation_deg is None:
        _, error = _run(command)
        assert error is None, error
        return
    with tempfile.TemporaryDirectory() as folder:
        again = Path(folder) / "again.mcap"
        code, error = _run([*command, "--record", str(again), "--record-only", "input"])
        # 1 is also the code of a run that differs from its recording, which the limits may allow
        assert code in (0, 1), error
        assert again.exists(), error
        _assert_within(str(again), str(recording), Limits(ate, rotation_deg), TOLERANCE_S)


def assert_ate(
    estimate: str | Path,
    truth: str | Path,
    most: float,
    *,
    rotation_deg: float | None = None,
    coverage: float = LEAST_COVERAGE,
    tolerance_s: float = TOLERANCE_S,
) -> None:
    """Assert that a trajectory is close to the truth.

    estimate, truth: result folders, recordings, TUM or KITTI files, "synthetic:…" (`spark3r compare`). most: root mean
    square error of the camera centres after one similarity, as a share of the spread of the true path.
    rotation_deg: median error of turns over a second. coverage: share of the truth that must have poses.
    """
    __tracebackhide__ = True
    _assert_within(str(estimate), str(truth), Limits(most, rotation_deg, coverage), tolerance_s)


def _assert_within(estimate: str, reference: str, limits: Limits, tolerance_s: float) -> None:
    __tracebackhide__ = True
    failures = compare_paths(estimate, reference, tolerance_s).failures(limits)
    assert not failures, f"{estimate} against {reference}: {'; '.join(failures)}"


def _run(command: list[str]) -> tuple[int, str | None]:
    """The exit code, and what the command said if it is not 0."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return 0, None
    said = "\n".join(line for line in done.stderr.splitlines()[-10:] if line.strip())
    return done.returncode, f"{' '.join(command[2:])} ended with code {done.returncode}:\n{said}"
