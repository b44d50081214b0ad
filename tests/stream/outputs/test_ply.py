from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spark3r_stream.errors import OutputError
from spark3r_stream.map.cloud import PointCloud
from spark3r_stream.outputs.ply import PlyWriter, read_ply, write_ply

RNG = np.random.default_rng(0)


def random_cloud(count: int) -> PointCloud:
    return PointCloud(
        RNG.normal(size=(count, 3)).astype(np.float32),
        RNG.integers(0, 256, (count, 3)).astype(np.uint8),
        RNG.uniform(size=count).astype(np.float32),
    )


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_round_trip(tmp_path: Path, count: int) -> None:
    cloud = random_cloud(count)
    path = tmp_path / "cloud.ply"
    write_ply(path, cloud)
    for written, read in zip(cloud, read_ply(path), strict=True):
        np.testing.assert_array_equal(written, read)
    assert [entry.name for entry in tmp_path.iterdir()] == ["cloud.ply"]


def test_streaming_is_readable_after_every_append(tmp_path: Path) -> None:
    parts = [random_cloud(count) for count in (5, 0, 120, 7)]
    writer = PlyWriter(tmp_path / "cloud.ply")
    total = 0
    for part in parts:
        writer.append(*part)
        total += len(part.points)
        assert len(read_ply(writer.path).points) == total == writer.count
    writer.close()
    np.testing.assert_array_equal(read_ply(writer.path).points, np.concatenate([part.points for part in parts]))


def test_another_program_reads_it(tmp_path: Path) -> None:
    import trimesh

    cloud = random_cloud(50)
    write_ply(tmp_path / "cloud.ply", cloud)
    other = trimesh.load(tmp_path / "cloud.ply")
    np.testing.assert_allclose(other.vertices, cloud.points)
    np.testing.assert_array_equal(other.colors[:, :3], cloud.colours)


def test_a_file_of_other_properties(tmp_path: Path) -> None:
    path = tmp_path / "other.ply"
    header = "ply\nformat binary_little_endian 1.0\nelement vertex 2\nproperty double x\nproperty double y\n"
    header += "comment between\nproperty double z\nproperty short label\nelement face 0\nend_header\n"
    table = np.zeros(2, np.dtype([("xyz", "<f8", 3), ("label", "<i2")]))
    table["xyz"] = [[1, 2, 3], [4, 5, 6]]
    path.write_bytes(header.encode() + table.tobytes())
    cloud = read_ply(path)
    np.testing.assert_array_equal(cloud.points, [[1, 2, 3], [4, 5, 6]])
    np.testing.assert_array_equal(cloud.confidence, [1, 1])


def test_unreadable_files(tmp_path: Path) -> None:
    path = tmp_path / "cloud.ply"
    with pytest.raises(OutputError, match="cannot read"):
        read_ply(path)
    path.write_bytes(b"a text file")
    with pytest.raises(OutputError, match="not a PLY"):
        read_ply(path)
    path.write_bytes(b"ply\nformat ascii 1.0\nelement vertex 0\nend_header\n")
    with pytest.raises(OutputError, match="binary little-endian"):
        read_ply(path)
    write_ply(path, random_cloud(10))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(OutputError, match="cut short"):
        read_ply(path)
    with PlyWriter(tmp_path / "new.ply") as writer, pytest.raises(OutputError, match="expected"):
        writer.append(np.zeros((2, 3)), np.zeros((2, 3)), np.zeros(2))
