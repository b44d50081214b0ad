"""Signed distance to the solids of one world (numpy, float64): what keeps cameras out of walls and what tests check rays against."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class WorldDistance:
    """Solids of one world. Box and cylinder distances are exact outside; inside they are negative."""

    room_min: np.ndarray
    room_max: np.ndarray
    open_sky: bool
    boxes: tuple[np.ndarray, np.ndarray, np.ndarray]  # centres (N, 3), world_from_box (N, 3, 3), half extents (N, 3)
    spheres: tuple[np.ndarray, np.ndarray]  # centres (N, 3), radii (N,)
    cylinders: tuple[np.ndarray, np.ndarray, np.ndarray]  # centres (N, 3), radii (N,), half heights (N,)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Distance (N,) from points (N, 3) to the nearest surface; negative inside a solid or outside the room."""
        to_low, to_high = points - self.room_min, self.room_max - points
        if self.open_sky:
            to_low[:, 1] = np.inf
        nearest = np.minimum(to_low.min(axis=1), to_high.min(axis=1))
        centre, rotation, half = self.boxes
        if len(centre):
            offset = points[:, None] - centre
            local = np.abs(np.einsum("nkj,kji->nki", offset, rotation)) - half
            outside = np.linalg.norm(np.maximum(local, 0), axis=2)
            nearest = np.minimum(nearest, (outside + np.minimum(local.max(axis=2), 0)).min(axis=1))
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

    def gradient(self, points: np.ndarray, epsilon: float = 1e-3) -> np.ndarray:
        """Direction (N, 3) in which the distance grows, by central differences."""
        steps = np.eye(3) * epsilon
        ahead = np.concatenate([points + s for s in steps] + [points - s for s in steps])
        values = self(ahead).reshape(6, len(points))
        return ((values[:3] - values[3:]) / (2 * epsilon)).T

    def march(self, origin: np.ndarray, direction: np.ndarray, limit: float = 100.0) -> float:
        """Distance along one ray to the first surface by sphere tracing; infinite beyond `limit` or out of an open sky."""
        direction = direction / np.linalg.norm(direction)
        travelled = 0.0
        for _ in range(400):
            point = origin + travelled * direction
            if self.open_sky and point[1] < self.room_min[1]:
                return np.inf
            step = float(self(point[None])[0])
            if step < 1e-6:
                return travelled
            travelled += step
            if travelled > limit:
                return np.inf
        return travelled

    def sample_free_point(self, rng: np.random.Generator, clearance: float, height: tuple[float, float]) -> np.ndarray:
        """A point (3,) `height` above the floor with `clearance` around it; the freest of many where nothing is that free."""
        low, high = self.room_min.copy(), self.room_max.copy()
        ceiling = np.inf if self.open_sky else -self.room_min[1] - 0.3
        low[1], high[1] = -min(height[1], ceiling), -min(height[0], ceiling)
        best, best_free = (low + high) / 2, -np.inf
        for _ in range(8):
            points = rng.uniform(low, high, (32, 3))
            free = self(points)
            good = np.flatnonzero(free >= clearance)
            if len(good):
                return points[good[0]]
            if free.max() > best_free:
                best, best_free = points[free.argmax()], free.max()
        return best
