"""A map of keyframes that turned once round a room of points, with drift in turn, way and scale."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np

from spark3r_core.geometry import se3
from spark3r_core.stream.joined_tracks import join_tracks, neighbours
from spark3r_core.stream.keyframe_map import Keyframe, KeyframeMap
from spark3r_core.stream.loops import remembered
from tests.core.places.views import CAMERA, HW, Room, pose, seen

DEPTH_HW = (24, 32)


def true_poses(count: int, turns: float = 1.12) -> np.ndarray:
    """(count, 4, 4) once round, a little further, on a small circle."""
    yaw = np.linspace(0, 2 * np.pi * turns, count)
    return np.stack([pose(one, (0.5 * np.sin(one), 0.05 * np.sin(3 * one), 0.5 * np.cos(one))) for one in yaw])


def drifted(truth: np.ndarray, turn: float = 0.012, growth: float = 0.02) -> tuple[np.ndarray, np.ndarray]:
    """Poses of a chain that turns too much and grows with every step; and its scales."""
    poses, scales = [truth[0]], [1.0]
    for before, after in itertools.pairwise(truth):
        step = se3.compose(se3.invert(before), after)
        step = se3.compose(step, se3.exp(np.array([0.002, 0, 0, 0, turn, 0])))
        scales.append(scales[-1] * np.exp(growth))
        step[:3, 3] *= scales[-1]
        poses.append(se3.compose(poses[-1], step))
    return np.stack(poses), np.array(scales)


def make_map(room: Room, truth: np.ndarray, poses: np.ndarray, scales: np.ndarray, reach: float = 6.0) -> KeyframeMap:
    """Keyframes 0, 10, 20, … matched with their neighbours and known to place recognition."""
    world = KeyframeMap(given_camera=CAMERA, focal=float(CAMERA[0, 0]), focal_std=0.0)
    picture_from_depth = np.diag([HW[1] / DEPTH_HW[1], HW[0] / DEPTH_HW[0], 1.0])
    for i, (true, lies, scale) in enumerate(zip(truth, poses, scales, strict=True)):
        view = seen(room, true, unit=1.0, seed=i, depth_error=0.05, reach=reach)
        depth = np.full(DEPTH_HW, view.median_depth, np.float32)
        frame_id = 10 * i
        world.keyframes[frame_id] = Keyframe(
            frame_id, 0.1 * i, lies, float(scale), depth, np.ones_like(depth),
            np.linalg.inv(picture_from_depth) @ CAMERA, picture_from_depth, view.features, view.depth,
        )  # fmt: skip
        join_tracks(world, frame_id, neighbours(world, frame_id), HW)
        remembered(world, frame_id)
    return world


def off(world: KeyframeMap, truth: np.ndarray) -> float:
    """RMS distance of keyframes from the truth; the first one is held."""
    centres = np.stack([world.keyframes[one].world_from_camera[:3, 3] for one in world.order])
    return float(np.sqrt(np.square(centres - truth[:, :3, 3]).sum(1).mean()))


HALF = 10  # keyframes of each of the two `halves`
ROOM, TRUTH = Room.of(1, points=1800), true_poses(2 * HALF)
SECOND_BEGINS = np.array([40.0, -3.0, 7.0])  # where the second half's own frame puts it


def halves() -> tuple[KeyframeMap, KeyframeMap]:
    """Of one walk once round, each in a frame of its own, the second at 1.7 times the size."""
    poses, scales = drifted(TRUTH, turn=0.004, growth=0.005)
    turned = pose(1.1) @ se3.invert(poses[HALF])
    second_poses = turned @ poses[HALF:]
    second_poses[:, :3, 3] = 1.7 * second_poses[:, :3, 3] + SECOND_BEGINS
    first = make_map(ROOM, TRUTH[:HALF], poses[:HALF], scales[:HALF])
    second = make_map(ROOM, TRUTH[HALF:], second_poses, 1.7 * scales[HALF:])
    return replace(first, picture_hw=HW), replace(second, picture_hw=HW)
