"""Signed distance to the solids of one world (numpy, float64): what keeps cameras out of walls and what tests check
rays against.
"""

from __future__ import annotations

import numpy as np


class WorldDistance:
    """Distance to the nearest surface of one world; negative inside a solid or outside the room, exact outside
    solids.
    """

    def __init__(
        self,
        room_min: np.ndarray,
        room_max: np.ndarray,
        open_sky: bool,
        boxes: tuple[np.ndarray, np.ndarray, np.ndarray],
        spheres: tuple[np.ndarray, np.ndarray],
        cylinders: tuple[np.ndarray, np.ndarray, np.ndarray],
    ) -> None:
        """boxes: centres (N, 3), world_from_box (N, 3, 3), half extents (N, 3). spheres: centres, radii. cylinders:
        centres, radii, half heights; their axis is vertical. An open sky is no surface."""
        self.room_min, self.room_max, self.open_sky = room_min, room_max, open_sky
        self.boxes, self.spheres, self.cylinders = boxes, spheres, cylinders
        centre, rotation, _ = boxes
        # One matrix product takes a point into the frames of all boxes.
        self._to_boxes = rotation.transpose(1, 0, 2).reshape(3, -1)
        self._box_offset = np.einsum("ki,kij->kj", centre, rotation).ravel()

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Distance (N,) from points (N, 3)."""
        to_low, to_high = points - self.room_min, self.room_max - points
        if self.open_sky:
            to_low[:, 1] = np.inf
        nearest = np.minimum(to_low.min(axis=1), to_high.min(axis=1))
        half = self.boxes[2]
        if len(half):
            local = np.abs(points @ self._to_boxes - self._box_offset).reshape(len(points), -1, 3) - half
            outside = np.maximum(local, 0)
            away = np.sqrt(np.einsum("nki,nki->nk", outside, outside)) + np.minimum(local.max(axis=2), 0)
            nearest = np.minimum(nearest, away.min(axis=1))
        if len(self.spheres[0]):
            away = np.linalg.norm(points[:, None] - self.spheres[0], axis=2) - self.spheres[1]
            nearest = np.minimum(nearest, away.min(axis=1))
        centre, radius, half_height = self.cylinders
        if len(centre):
            offset = points[:, None] - centre
            across = np.hypot(offset[..., 0], offset[..., 2]) - radius
            along = np.abs(offset[..., 1]) - half_height
            outside = np.hypot(np.maximum(across, 0), np.maximum(along, 0))
            nearest = np.minimum(nearest, (outside + np.minimum(np.maximum(across, along), 0)).min(axis=1))
        return nearest

    def gradient(self, point: np.ndarray, epsilon: float = 1e-3) -> np.ndarray:
        """Direction (3,) in which the distance from point (3,) grows, by central differences."""
        steps = np.eye(3) * epsilon
        values = self(np.concatenate([point + steps, point - steps]))
        return (values[:3] - values[3:]) / (2 * epsilon)

    def march(self, origin: np.ndarray, direction: np.ndarray, limit: float = 100.0) -> float:
        """Distance along one ray to the first surface by sphere tracing; infinite beyond `limit` or out of an open
        sky.
        """
        direction = direction / np.linalg.norm(direction)
        travelled = 0.0
        for _ in range(2000):
            point = origin + travelled * direction
            if self.open_sky and point[1] < self.room_min[1]:
                return np.inf
            step = float(self(point[None])[0])
            if step < 1e-7:
                return travelled
            travelled += step
            if travelled > limit:
                return np.inf
        return travelled

    def free_view(self, origin: np.ndarray, yaws: np.ndarray) -> np.ndarray:
        """How far (N,) one sees from origin (3,) in horizontal directions; a few sphere-tracing steps, so a lower
        bound.
        """
        direction = np.stack([np.sin(yaws), np.zeros_like(yaws), np.cos(yaws)], -1)
        travelled = np.zeros(len(yaws))
        for _ in range(6):
            travelled += np.maximum(self(origin + travelled[:, None] * direction), 0.0)
        return travelled

    def sample_free_point(self, rng: np.random.Generator, clearance: float, height: tuple[float, float]) -> np.ndarray:
        """A point (3,) `height` above the floor with `clearance` around it; the freest of many where nothing is that
        free.
        """
        low, high = self.room_min.copy(), self.room_max.copy()
        ceiling = np.inf if self.open_sky else -self.room_min[1] - clearance - 0.05
        low[1], high[1] = -min(height[1], ceiling), -min(height[0], ceiling)
        best, best_free = (low + high) / 2, -np.inf
        for _ in range(8):
            points = rng.uniform(low, high, (16, 3))
            free = self(points)
            good = np.flatnonzero(free >= clearance)
            if len(good):
                return points[good[0]]
            if free.max() > best_free:
                best, best_free = points[free.argmax()], free.max()
        return best
