from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark3r_core.errors import GeometryError
from spark3r_stream.map import voxel
from spark3r_stream.map.voxel import VoxelCloud


def plain_voxels(frames: list[tuple[np.ndarray, np.ndarray, np.ndarray]], size: float) -> dict[tuple, tuple]:
    """The slow reference: a dictionary from cell to the most confident point, one point at a time."""
    best: dict[tuple, tuple] = {}
    for points, colours, confidence in frames:
        for point, colour, trust in zip(points, colours, confidence, strict=True):
            cell = tuple(np.floor(point / np.float64(size)).astype(int))
            if cell not in best or trust > best[cell][2]:
                best[cell] = (tuple(point), tuple(colour), trust)
    return best


def random_frames(rng: np.random.Generator, count: int, points: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    confidence = rng.permutation(count * points).astype(np.float32).reshape(count, points)  # no ties
    return [
        (
            rng.normal(size=(points, 3)).astype(np.float32),
            rng.integers(0, 256, (points, 3)).astype(np.uint8),
            confidence[index],
        )
        for index in range(count)
    ]


@given(st.integers(0, 10**6), st.integers(1, 8), st.integers(0, 60), st.integers(8, 80))
@settings(max_examples=60, deadline=None)
def test_equals_the_plain_dictionary(seed: int, count: int, points: int, max_points: int) -> None:
    frames = random_frames(np.random.default_rng(seed), count, points)
    cloud = VoxelCloud(max_points, 0.3)
    for frame in frames:
        cloud.add(*frame)
        assert len(cloud) <= max_points
    expected = plain_voxels(frames, cloud.voxel_size)
    found = {
        (tuple(point), tuple(colour), trust)
        for point, colour, trust in zip(*(column for column in cloud.cloud()), strict=True)
    }
    assert found == set(expected.values())


def test_many_small_and_large_levels_equal_the_plain_dictionary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voxel, "_MIN_YOUNG", 8)  # so that levels join often
    frames = random_frames(np.random.default_rng(1), 40, 50)
    cloud = VoxelCloud(10**6, 0.1)
    for frame in frames:
        cloud.add(*frame)
    assert {tuple(point) for point in cloud.cloud().points} == {
        value[0] for value in plain_voxels(frames, 0.1).values()
    }


@pytest.mark.parametrize("max_points", [10**6, 300])
def test_frames_merged_together_equal_the_plain_dictionary(monkeypatch: pytest.MonkeyPatch, max_points: int) -> None:
    monkeypatch.setattr(voxel, "_MAX_WAITING", 220)  # five frames of 50
    frames = random_frames(np.random.default_rng(2), 23, 50)
    cloud = VoxelCloud(max_points, 0.1)
    for frame in frames:
        cloud.add(*frame)
    assert len(cloud) <= cloud.most_points <= max_points
    expected = plain_voxels(frames, cloud.voxel_size)
    assert {tuple(point) for point in cloud.cloud().points} == {value[0] for value in expected.values()}


def test_memory_is_bounded_however_long_the_stream() -> None:
    rng = np.random.default_rng(0)
    cloud = VoxelCloud(2_000, 0.01)
    largest = 0
    for step in range(200):  # a camera that walks away for ever
        points = rng.normal(size=(500, 3)) + [0.2 * step, 0, 0]
        cloud.add(points, np.zeros((500, 3), np.uint8), rng.uniform(size=500))
        largest = max(largest, cloud.num_bytes)
    assert 200 < len(cloud) <= 2_000
    assert largest <= 2_000 * 27
    assert np.log2(cloud.voxel_size / 0.01) % 1 == 0


def test_points_that_cannot_be_placed_are_counted_not_kept() -> None:
    cloud = VoxelCloud(100, 1.0)
    points = np.array([[np.nan, 0, 0], [np.inf, 0, 0], [2.0**21, 0, 0], [3e38, 0, 0], [1, 2, 3], [4, 5, 6]])
    cloud.add(points, np.zeros((6, 3), np.uint8), [1, 1, 1, 1, 1, np.nan])
    assert len(cloud) == 1
    assert cloud.out_of_range == 5
    cloud.add(np.zeros((0, 3)), np.zeros((0, 3), np.uint8), np.zeros(0))
    assert len(cloud) == 1


def test_wrong_arguments() -> None:
    with pytest.raises(GeometryError, match="voxel size is 0"):
        VoxelCloud(10, 0.0)
    with pytest.raises(GeometryError, match="at least 8"):
        VoxelCloud(7, 1.0)
    with pytest.raises(GeometryError, match="expected n rows"):
        VoxelCloud(10, 1.0).add(np.zeros((2, 3)), np.zeros((3, 3)), np.zeros(2))
