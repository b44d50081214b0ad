"""A point cloud of bounded size: at most one point per voxel, and the voxels grow when there are too many.

Two arrays sorted by voxel key, the large `settled` one and a small `young` one, as in a two-level log-structured merge
tree. A few frames together are sorted and looked up in both by bisection; new voxels enter `young`, which joins
`settled` when it exceeds an eighth of it. So a frame costs O(n log m) and each point is copied O(log m) times in all,
where m is the number of points held; a growing voxel costs one sort, and doubles, so that it happens rarely.
Consecutive frames show the same surface, so taking several at once halves the work.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spark3r_core.errors import GeometryError
from spark3r_stream.map.cloud import PointCloud

_AXIS_BITS = 21
_HALF_RANGE = 1 << (_AXIS_BITS - 1)
_MIN_YOUNG = 16_384
_MAX_WAITING = 65_536  # points added and not yet merged


class _Level(NamedTuple):
    keys: NDArray[np.int64]  # (m,) sorted, unique
    points: NDArray[np.float32]
    colours: NDArray[np.uint8]
    confidence: NDArray[np.float32]

    def take(self, index: NDArray) -> _Level:
        rows = {name: column.take(index, axis=0) for name, column in self._asdict().items()}  # 4x faster than [index]
        return _Level(**rows)


def _empty() -> _Level:
    return _Level(
        np.zeros(0, np.int64), np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8), np.zeros(0, np.float32)
    )


class VoxelCloud:
    """Most confident point of each voxel, at most `max_points` of them.

    voxel_size: edge in model units to begin with; doubles whenever the limit would be exceeded. Of equally
    confident points in a voxel the first one added stays. Points beyond 2^20 voxels of the origin on any axis are
    refused (counted in `out_of_range`), as are points that are not finite.
    """

    def __init__(self, max_points: int, voxel_size: float) -> None:
        if max_points < 8:  # the eight cells around the origin never join, however large they grow
            raise GeometryError(f"max_points is {max_points}; expected at least 8")
        if not (np.isfinite(voxel_size) and voxel_size > 0):
            raise GeometryError(f"voxel size is {voxel_size}; expected a positive length")
        self.max_points = max_points
        self.voxel_size = float(voxel_size)
        self._out_of_range = 0
        self._settled = _empty()
        self._young = _empty()
        self._waiting: list[tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.float32]]] = []

    def __len__(self) -> int:
        self._merge()
        return self.most_points

    @property
    def most_points(self) -> int:
        """An upper bound of `len` that costs nothing; merging may find that points share voxels."""
        return len(self._settled.keys) + len(self._young.keys) + sum(len(points) for points, _, _ in self._waiting)

    @property
    def out_of_range(self) -> int:
        """Points refused so far."""
        self._merge()
        return self._out_of_range

    @property
    def num_bytes(self) -> int:
        """Bytes of the arrays held."""
        self._merge()
        return sum(column.nbytes for level in (self._settled, self._young) for column in level)

    def add(self, points: ArrayLike, colours: ArrayLike, confidence: ArrayLike) -> None:
        """Points (n, 3), colours (n, 3) uint8, confidence (n,); copied."""
        points, colours = np.array(points, np.float32), np.array(colours, np.uint8)
        confidence = np.array(confidence, np.float32)
        n = len(points)
        if points.shape != (n, 3) or colours.shape != (n, 3) or confidence.shape != (n,):
            raise GeometryError(f"cloud of shapes {points.shape}, {colours.shape}, {confidence.shape}; expected n rows")
        self._waiting.append((points, colours, confidence))
        if sum(len(waiting) for _, _, waiting in self._waiting) >= _MAX_WAITING:
            self._merge()

    def _merge(self) -> None:
        """Take in what was added since the last time, in that order."""
        if not self._waiting:
            return
        points, colours, confidence = (np.concatenate(columns) for columns in zip(*self._waiting, strict=True))
        self._waiting = []
        with np.errstate(invalid="ignore", over="ignore"):
            cells = np.floor(points / np.float64(self.voxel_size))
        inside = np.all(np.abs(cells) < _HALF_RANGE, axis=1) & np.isfinite(confidence)  # NaN compares False
        self._out_of_range += int(len(inside) - inside.sum())
        index = np.flatnonzero(inside)
        columns = (column.take(index, axis=0) for column in (points, colours, confidence))
        fresh = _best_per_key(_Level(_pack(cells.take(index, axis=0).astype(np.int64)), *columns))
        for level in (self._settled, self._young):
            fresh = _improve(level, fresh)
        self._young = _join(self._young, fresh)
        if len(self._young.keys) > max(_MIN_YOUNG, len(self._settled.keys) // 8):
            self._settle()
        while self.most_points > self.max_points:  # nothing waits now: the number held
            self.coarsen()

    def coarsen(self) -> None:
        """Double the voxel edge. Never changes which is the most confident point of a (larger) voxel."""
        self._merge()
        self._settle()
        self.voxel_size *= 2
        keys = _pack(_unpack(self._settled.keys) >> 1)  # floor division, also for negative cells
        self._settled = _best_per_key(self._settled._replace(keys=keys))

    def cloud(self) -> PointCloud:
        """A copy of the points held, in a fixed order (by voxel)."""
        self._merge()
        both = _join(self._settled, self._young)
        return PointCloud(both.points.copy(), both.colours.copy(), both.confidence.copy())

    def _settle(self) -> None:
        self._settled, self._young = _join(self._settled, self._young), _empty()


def _pack(cells: NDArray[np.int64]) -> NDArray[np.int64]:
    """Cells (n, 3) in [-2^20, 2^20) -> keys (n,) of 63 bits."""
    shifted = cells + _HALF_RANGE
    return (shifted[:, 0] << (2 * _AXIS_BITS)) | (shifted[:, 1] << _AXIS_BITS) | shifted[:, 2]


def _unpack(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    mask = (1 << _AXIS_BITS) - 1
    return np.stack([keys >> (2 * _AXIS_BITS), (keys >> _AXIS_BITS) & mask, keys & mask], -1) - _HALF_RANGE


def _best_per_key(level: _Level) -> _Level:
    """Sort by key and keep the most confident of each, the first one of equals."""
    if not len(level.keys):
        return level
    order = np.argsort(level.keys, kind="stable")  # after a coarsening these are sorted runs, which timsort merges
    keys, confidence = level.keys[order], level.confidence[order]
    first = np.ones(len(keys), bool)
    first[1:] = keys[1:] != keys[:-1]
    starts = np.flatnonzero(first)
    voxel = np.cumsum(first) - 1
    best = np.flatnonzero(confidence == np.maximum.reduceat(confidence, starts)[voxel])
    single = np.ones(len(best), bool)
    single[1:] = voxel[best][1:] != voxel[best][:-1]
    return level.take(order[best[single]])


def _improve(level: _Level, fresh: _Level) -> _Level:
    """Write `fresh` points over less confident ones of the same voxel; return those without a voxel in `level`."""
    if not len(level.keys) or not len(fresh.keys):
        return fresh
    position = np.minimum(np.searchsorted(level.keys, fresh.keys), len(level.keys) - 1)
    known = level.keys[position] == fresh.keys
    better = known & (fresh.confidence > level.confidence[position])
    slot = position[better]
    level.points[slot], level.colours[slot] = fresh.points[better], fresh.colours[better]
    level.confidence[slot] = fresh.confidence[better]
    return fresh.take(np.flatnonzero(~known))


def _join(first: _Level, second: _Level) -> _Level:
    """Merge two levels without common keys."""
    if not len(second.keys):
        return first
    both = _Level(
        np.concatenate([first.keys, second.keys]),
        np.concatenate([first.points, second.points]),
        np.concatenate([first.colours, second.colours]),
        np.concatenate([first.confidence, second.confidence]),
    )
    return both.take(np.argsort(both.keys, kind="stable"))  # timsort: linear on two sorted runs
