from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from evo.tools import file_interface
from hypothesis import given
from hypothesis import strategies as st

from spark3r_core.errors import GeometryError
from spark3r_core.geometry import se3
from spark3r_stream.errors import OutputError
from spark3r_stream.map.trajectory import (
    Trajectory,
    TrajectoryWriter,
    format_seconds,
    match_times,
    parse_seconds,
    read_trajectory,
    write_trajectory,
)

POSES = se3.exp(np.random.default_rng(0).normal(size=(6, 6)) * [10, 10, 10, 1, 1, 1])
UNIX_NS = 1_790_000_000_123_456_789 + np.arange(6) * 33_333_333


@given(st.integers(-(2**62), 2**62))
def test_times_lose_nothing(time_ns: int) -> None:
    assert parse_seconds(format_seconds(time_ns)) == time_ns


def test_round_trip_keeps_nanoseconds_and_poses(tmp_path: Path) -> None:
    path = tmp_path / "trajectory.txt"
    write_trajectory(path, Trajectory(UNIX_NS, POSES.astype(np.float32)))
    back = read_trajectory(path)
    np.testing.assert_array_equal(back.time_ns, UNIX_NS)
    np.testing.assert_allclose(back.world_from_camera, POSES, atol=2e-6)


def test_evo_reads_the_same_poses(tmp_path: Path) -> None:
    path = tmp_path / "trajectory.txt"
    write_trajectory(path, Trajectory(UNIX_NS, POSES))
    other = file_interface.read_tum_trajectory_file(str(path))
    np.testing.assert_allclose(np.array(other.poses_se3), POSES, atol=1e-7)


def test_lines_are_on_disk_before_the_writer_closes(tmp_path: Path) -> None:
    writer = TrajectoryWriter(tmp_path / "trajectory.txt")
    for index in range(3):
        writer.add(int(UNIX_NS[index]), POSES[index])
        assert len(read_trajectory(writer.path)) == index + 1
    writer.note("submap 1 begins: a new gauge")
    with pytest.raises(GeometryError, match="world_from_camera"):
        writer.add(0, np.full((4, 4), np.nan))
    assert len(read_trajectory(writer.path)) == writer.count == 3
    writer.close()


def test_unwritable_and_no_file(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No such file"):
        TrajectoryWriter(tmp_path / "missing" / "trajectory.txt")
    with pytest.raises(OutputError, match="a folder or a device"):
        TrajectoryWriter(os.devnull)
    assert Path(os.devnull).exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0.1 1 2 3\n", "line 1: 4 values"),
        ("# fine\n0.1 0 0 0 0 0 0 1\nx 0 0 0 0 0 0 1\n", "line 3: 'x' is not a time"),
        ("0.1 0 0 zero 0 0 0 1\n", "line 1: could not convert"),
        ("0.1 0 0 0 0 0 0 0\n", "quaternion is zero"),
    ],
)
def test_malformed_files_name_the_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "broken.txt"
    path.write_text(text)
    with pytest.raises(OutputError, match=message):
        read_trajectory(path)


def test_an_empty_trajectory_is_a_trajectory(tmp_path: Path) -> None:
    path = tmp_path / "empty.txt"
    write_trajectory(path, Trajectory(np.zeros(0, np.int64), np.zeros((0, 4, 4))))
    assert len(read_trajectory(path)) == 0


@given(
    st.lists(st.integers(0, 50), min_size=0, max_size=15, unique=True),
    st.lists(st.integers(0, 50), max_size=15, unique=True),
    st.integers(0, 5),
)
def test_matches_are_near_unique_and_not_missed(first: list[int], second: list[int], limit: int) -> None:
    first, second = sorted(first), sorted(second)
    i, j = match_times(first, second, limit)
    assert len(set(i)) == len(i) == len(j) == len(set(j))
    gaps = [abs(first[a] - second[b]) for a, b in zip(i, j, strict=True)]
    assert all(gap <= limit for gap in gaps)
    exact = set(first) & set(second)
    assert exact <= {first[a] for a in i}
