"""trajectory.txt in TUM format: `timestamp tx ty tz qx qy qz qw`, camera-to-world, OpenCV camera axes.

Timestamps are decimal seconds with nine digits, formed from integer nanoseconds, so that writing and reading lose
nothing (a float64 of Unix seconds resolves 240 ns only).
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spark3r_core.errors import GeometryError
from spark3r_core.geometry import se3
from spark3r_stream.errors import OutputError
from spark3r_stream.files import open_new

HEADER = "# timestamp[s] tx ty tz qx qy qz qw | world_from_camera, OpenCV camera axes (x right, y down, z forward)\n"


@dataclass(frozen=True, eq=False)
class Trajectory:
    """time_ns: (n,) int64; world_from_camera: (n, 4, 4) float64."""

    time_ns: NDArray[np.int64]
    world_from_camera: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.time_ns)

    @property
    def centres(self) -> NDArray[np.float64]:
        """Camera centres (n, 3)."""
        return self.world_from_camera[:, :3, 3]


def format_seconds(time_ns: int) -> str:
    """Integer nanoseconds as exact decimal seconds, e.g. -1 -> "-0.000000001"."""
    seconds, rest = divmod(abs(int(time_ns)), 1_000_000_000)
    return f"{'-' if time_ns < 0 else ''}{seconds}.{rest:09d}"


def parse_seconds(text: str) -> int:
    """Decimal seconds -> integer nanoseconds, exact; raises ValueError for anything else."""
    try:
        return int((Decimal(text) * 1_000_000_000).to_integral_value())
    except (InvalidOperation, OverflowError):
        raise ValueError(f"{text!r} is not a time in seconds") from None


class TrajectoryWriter:
    """Writes one line per pose at once, so that a killed run keeps every pose it published. There are only whole lines
    in the file: what a full disk takes of one is taken back."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.count = 0
        self._bytes = 0
        try:
            self._file = open_new(self.path)
        except OSError as error:
            raise OutputError(f"cannot write {self.path}: {error.strerror}") from error
        self._write(HEADER)

    def add(self, time_ns: int, world_from_camera: ArrayLike) -> None:
        """Append one pose (4, 4); raises GeometryError if it is not rigid, OutputError if the disk refuses it."""
        centre, quat = se3.to_quat_xyzw(se3.require_se3(world_from_camera, "world_from_camera", tolerance=1e-3))
        numbers = " ".join(f"{value:.9g}" for value in (*centre, *quat))
        self._write(f"{format_seconds(time_ns)} {numbers}\n")
        self.count += 1

    def note(self, text: str) -> None:
        """Append a comment line, which readers of the format skip."""
        self._write(f"# {text.encode('ascii', 'replace').decode()}\n")

    def close(self) -> None:
        self._file.close()

    def _write(self, line: str) -> None:
        data = line.encode("ascii")
        try:
            written = 0
            while written < len(data):
                written += self._file.write(data[written:])
            self._bytes += written
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(self._bytes)
            raise OutputError(f"cannot write {self.path}: {error.strerror}; {self.count} poses are kept") from error


def write_trajectory(path: str | Path, trajectory: Trajectory, note: str = "") -> None:
    """Write beside `path` and rename, so that an older file stays whole until the new one is. note: a comment for its
    second line."""
    path = Path(path)
    part = path.with_name(path.name + ".part")
    try:
        writer = TrajectoryWriter(part)
        try:
            if note:
                writer.note(note)
            for time_ns, pose in zip(trajectory.time_ns, trajectory.world_from_camera, strict=True):
                writer.add(int(time_ns), pose)
        finally:
            writer.close()
        part.replace(path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def read_trajectory(path: str | Path) -> Trajectory:
    """Read a TUM file (also with commas, comments and blank lines); raises OutputError naming file and line."""
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise OutputError(f"cannot read trajectory {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise OutputError(f"{path} is not a text file; expected a TUM trajectory") from error
    times: list[int] = []
    numbers: list[list[float]] = []
    for number, line in enumerate(lines, 1):
        fields = line.split("#", 1)[0].replace(",", " ").split()
        if not fields:
            continue
        if len(fields) != 8:
            raise OutputError(f"{path}, line {number}: {len(fields)} values; expected time tx ty tz qx qy qz qw")
        try:
            times.append(parse_seconds(fields[0]))
            numbers.append([float(field) for field in fields[1:]])
        except ValueError as error:
            raise OutputError(f"{path}, line {number}: {error}") from error
    values = np.array(numbers, np.float64).reshape(-1, 7)
    try:
        poses = se3.from_quat_xyzw(values[:, :3], values[:, 3:])
    except GeometryError as error:
        raise OutputError(f"{path}: {error}") from error
    return Trajectory(np.array(times, np.int64), poses)


def match_times(
    first_ns: ArrayLike, second_ns: ArrayLike, max_difference_ns: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Index pairs (i, j), each sorted, of the nearest `second` to every `first` within `max_difference_ns`.

    `second` must be sorted. Each j is used at most once, by its nearest i.
    """
    first, second = np.asarray(first_ns, np.int64), np.asarray(second_ns, np.int64)
    if not len(first) or not len(second):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    right = np.clip(np.searchsorted(second, first), 1, len(second) - 1) if len(second) > 1 else np.zeros_like(first)
    left = np.maximum(right - 1, 0)
    nearest = np.where(np.abs(second[left] - first) <= np.abs(second[right] - first), left, right)
    gap = np.abs(second[nearest] - first)
    order = np.lexsort((gap, nearest))
    unique_first = np.ones(len(order), bool)
    unique_first[1:] = nearest[order][1:] != nearest[order][:-1]
    chosen = np.sort(order[unique_first & (gap[order] <= max_difference_ns)])
    return chosen, nearest[chosen]
