"""Rooms of points with descriptors, and what cameras in them see: pictures without pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spark3r_core.features.rootsift import Features
from spark3r_core.geometry import se3
from spark3r_core.places.verification import View

HW = (480, 640)
CAMERA = np.array([[520.0, 0, 320], [0, 520, 240], [0, 0, 1]])


@dataclass(frozen=True)
class Room:
    """points: (P, 3). descriptors: (P, 128) of unit length, as RootSIFT's are."""

    points: np.ndarray
    descriptors: np.ndarray

    @staticmethod
    def of(seed: int, points: int = 3000, size: float = 4.0) -> Room:
        """Points on and before the walls of a square room."""
        rng = np.random.default_rng(seed)
        angle, height = rng.uniform(0, 2 * np.pi, points), rng.uniform(-1.5, 1.5, points)
        away = size * rng.uniform(0.6, 1.0, points)
        places = np.stack([away * np.sin(angle), height, away * np.cos(angle)], 1)
        described = np.sqrt(rng.dirichlet(np.full(128, 0.25), points))
        return Room(places, described.astype(np.float32))

    def shifted(self, by: np.ndarray) -> Room:
        """An equal room elsewhere."""
        return Room(self.points + by, self.descriptors)

    def joined(self, other: Room) -> Room:
        return Room(np.concatenate([self.points, other.points]), np.concatenate([self.descriptors, other.descriptors]))


def pose(yaw: float, place: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> np.ndarray:
    """world_from_camera (4, 4) of a camera that looks along yaw (radians)."""
    c, s = np.cos(yaw), np.sin(yaw)
    return se3.make_pose(np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]), np.array(place))


def seen(
    room: Room,
    world_from_camera: np.ndarray,
    unit: float = 1.0,
    seed: int = 0,
    depth_error: float = 0.1,
    reach: float = 6.0,
) -> View:
    """What a camera sees of a room up to `reach`. unit: of its depth, in units of the room; depth is off smoothly."""
    rng = np.random.default_rng(seed)
    at = se3.transform_points(se3.invert(world_from_camera), room.points)
    ahead = (at[:, 2] > 0.3) & (np.linalg.norm(at, axis=1) < reach)
    uv = at[:, :2] / np.where(ahead, at[:, 2], 1.0)[:, None] * CAMERA[0, 0] + CAMERA[:2, 2]
    inside = np.flatnonzero(ahead & ((uv >= 0) & (uv < np.array(HW[::-1]))).all(1))
    places = uv[inside] + rng.normal(0, 0.5, (len(inside), 2))
    noise = rng.normal(0, 0.02, (len(inside), 128)).astype(np.float32)
    described = np.abs(room.descriptors[inside] + noise)
    described /= np.linalg.norm(described, axis=1, keepdims=True)
    bend = np.exp(depth_error * np.sin(places[:, 0] / 150 + rng.uniform(0, 6)) * np.cos(places[:, 1] / 200))
    histograms = np.rint(255 * np.square(described) / np.square(described).max(1, keepdims=True, initial=1e-12))
    features = Features(places.astype(np.float32), histograms.astype(np.uint8), np.full(len(inside), 5, np.float32))
    return View(features, at[inside, 2] / unit * bend, CAMERA, HW)
