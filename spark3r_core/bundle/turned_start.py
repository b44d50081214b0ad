"""Another place to begin adjustment from: turns by bearings alone, and centres where points of known depth put them.

A camera that turns a little and steps aside a little sees nearly the same. Tracking on a guessed depth may take the one
for the other, and adjustment, which goes downhill from there, ends in a valley beside the true one, with another focal
length. From turns that explain all that turns can explain, it goes down on the other side.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace

import numpy as np

from spark3r_core.bundle.problem import Array, Cameras, Observations
from spark3r_core.errors import GeometryError
from spark3r_core.geometry import se3
from spark3r_core.geometry.alignment import cauchy_weights
from spark3r_core.geometry.rotation import nearest_rotation

LEAST_SHARED = 8  # points of two keyframes
ROUNDS, LEAST_SCALE = 10, 1e-9  # of Cauchy's weights


def turned_start(cameras: Cameras, seen: Observations) -> Cameras:
    """The same keyframes placed anew, in their order, each against those before it; the first stays.

    A turn against the keyframe before is the rotation that takes bearings to bearings (Kabsch); a centre is where rays
    pass closest to points at the depth that the first keyframe to see them has for them.
    """
    rays = cameras.rays(seen.slot, seen.places)
    bearings = rays / np.linalg.norm(rays, axis=1, keepdims=True)
    depth = seen.depth * np.exp(cameras.log_scale[seen.slot])
    world_from_camera = se3.invert(cameras.camera_from_world)
    placed = np.array(world_from_camera)
    points = np.full((seen.count, 3), np.nan)
    before: dict[int, Array] = {}
    for slot in range(len(placed)):
        rows = np.flatnonzero(seen.slot == slot)
        numbers, directions = seen.point[rows], bearings[rows]
        if slot > 0:
            step = se3.invert(world_from_camera[slot - 1]) @ world_from_camera[slot]
            shared = [index for index, number in enumerate(numbers.tolist()) if number in before]
            turn = step[:3, :3]
            if len(shared) >= LEAST_SHARED:
                with contextlib.suppress(GeometryError):  # all bearings are one: no camera has such a focal length
                    turn = _turn(np.stack([before[int(numbers[index])] for index in shared]), directions[shared])
            rotation = nearest_rotation(placed[slot - 1, :3, :3] @ turn)
            known = np.isfinite(points[numbers]).all(1)
            centre = placed[slot - 1, :3, 3]
            if known.sum() >= LEAST_SHARED:
                centre = _centre(points[numbers[known]], directions[known] @ rotation.T)
            placed[slot] = se3.make_pose(rotation, centre)
        new = np.isnan(points[numbers]).any(1) & np.isfinite(depth[rows]) & (depth[rows] > 0)
        at = rays[rows[new]] * depth[rows[new], None]
        points[numbers[new]] = at @ placed[slot, :3, :3].T + placed[slot, :3, 3]
        before = dict(zip(numbers.tolist(), directions, strict=True))
    return replace(cameras, camera_from_world=np.asarray(se3.invert(placed)))


def _turn(first: Array, second: Array) -> Array:
    """(3, 3) that takes bearings (N, 3) of the second camera to those of the first, robustly."""
    weights = np.ones(len(first))
    for _ in range(ROUNDS):
        turn = nearest_rotation((first * weights[:, None]).T @ second)
        weights = cauchy_weights(np.linalg.norm(first - second @ turn.T, axis=1), LEAST_SCALE)
    return np.asarray(turn)


def _centre(points: Array, directions: Array) -> Array:
    """(3,) where rays (N, 3), unit vectors, that end in the points (N, 3) begin together, robustly."""
    across = np.eye(3) - directions[:, :, None] * directions[:, None, :]
    right = np.einsum("nij,nj->ni", across, points)
    weights = np.ones(len(points))
    for _ in range(ROUNDS):
        normal = np.einsum("n,nij->ij", weights, across) + 1e-9 * np.eye(3)
        centre = np.linalg.solve(normal, np.einsum("n,ni->i", weights, right))
        weights = cauchy_weights(np.linalg.norm(right - across @ centre, axis=1), LEAST_SCALE)
    return np.asarray(centre)
