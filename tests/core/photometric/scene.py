"""An analytic room for tests of the refinement: walls and a box with a smooth solid texture, exact depth, fast.

The room is about one unit in size, as a map is whose unit is the first frame's depth.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spark3r_core.geometry import se3
from spark3r_core.geometry.rotation import exp_so3
from spark3r_core.stream.estimates import FrameEstimate

Array = NDArray[np.float64]

HALF = np.array([1.2, 0.9, 1.5])  # of the room, whose middle is the origin
BOX_LOW, BOX_HIGH = np.array([-0.5, 0.1, 0.7]), np.array([0.0, 0.9, 1.1])


def camera(hw: tuple[int, int], focal: float = 0.8) -> Array:
    """(3, 3); `focal` in image widths."""
    return np.array([[focal * hw[1], 0, hw[1] / 2], [0, focal * hw[1], hw[0] / 2], [0, 0, 1]])


class Room:
    def __init__(self, seed: int = 0, box: bool = True, waves: int = 24) -> None:
        """box: whether something stands in it, whose edges hide what is behind."""
        self.box = box
        rng = np.random.default_rng(seed)
        directions = rng.normal(size=(waves, 3))
        length = np.exp(rng.uniform(np.log(0.13), np.log(1.2), waves))
        self.k = 2 * np.pi * directions / np.linalg.norm(directions, axis=1, keepdims=True) / length[:, None]
        self.phase = rng.uniform(0, 2 * np.pi, waves)

    def render(self, world_from_camera: Array, intrinsics: Array, hw: tuple[int, int]) -> tuple[Array, Array]:
        """Intensity (H, W) in [0, 1] and z-depth (H, W), sampled at pixel centres."""
        v, u = np.mgrid[: hw[0], : hw[1]] + 0.5
        x, y = (u - intrinsics[0, 2]) / intrinsics[0, 0], (v - intrinsics[1, 2]) / intrinsics[1, 1]
        rays = np.stack([x, y, np.ones_like(u)], -1) @ world_from_camera[:3, :3].T
        rays = np.where(rays == 0, 1e-12, rays)
        centre = world_from_camera[:3, 3]
        walls = ((np.sign(rays) * HALF - centre) / rays).min(-1)
        if not self.box:
            return self._shade(centre, rays, walls), walls
        near, far = np.sort([(BOX_LOW - centre) / rays, (BOX_HIGH - centre) / rays], axis=0)
        enter, leave = near.max(-1), far.min(-1)
        depth = np.where((enter < leave) & (enter > 0), np.minimum(enter, walls), walls)
        return self._shade(centre, rays, depth), depth

    def _shade(self, centre: Array, rays: Array, depth: Array) -> Array:
        points = centre + rays * depth[..., None]
        waves = np.sin(points @ self.k.T + self.phase).sum(-1) / np.sqrt(len(self.k) / 2)
        return np.clip(0.5 + 0.17 * waves, 0, 1)


def path(count: int, step: float = 1.0) -> Array:
    """(count, 4, 4) world_from_camera: a hand that moves smoothly, some hundredths of the room and a degree a frame."""
    t = step * np.arange(count)
    turn = np.stack([0.06 * np.sin(0.11 * t), 0.25 * np.sin(0.05 * t), 0.03 * np.sin(0.09 * t)], -1)
    place = np.stack([0.35 * np.sin(0.06 * t), 0.1 * np.sin(0.13 * t), 0.25 * np.sin(0.045 * t) - 0.4], -1)
    return se3.make_pose(exp_so3(turn), place)


def video(room: Room, poses: Array, hw: tuple[int, int], noise: float = 0.0, seed: int = 0) -> tuple[Tensor, Array]:
    """Images (n, 3, H, W) and depths (n, H, W) along `poses`, with independent noise of so many sigma."""
    rng = np.random.default_rng(seed)
    views = [room.render(pose, camera(hw), hw) for pose in poses]
    grey = np.stack([np.clip(image + noise * rng.normal(size=hw), 0, 1) for image, _ in views])
    return torch.from_numpy(grey).float()[:, None].expand(-1, 3, -1, -1), np.stack([depth for _, depth in views])


def estimates(poses: Array, depths: Array, intrinsics: Array, first: int = 0) -> list[FrameEstimate]:
    """What a network would say that knew everything; the first frame's pose is not the origin."""
    ones = np.ones(depths.shape[1:], np.float32)
    return [
        FrameEstimate(first + i, pose.copy(), intrinsics.copy(), depth.astype(np.float32), ones)
        for i, (pose, depth) in enumerate(zip(poses, depths, strict=True))
    ]


def jittered(frames: list[FrameEstimate], turn: float, share: float, seed: int = 0) -> list[FrameEstimate]:
    """Estimates whose poses, but the first, are off by `turn` radians and `share` units, independently."""
    rng = np.random.default_rng(seed)
    sigma = np.array([share] * 3 + [turn] * 3)
    return frames[:1] + [
        replace(frame, world_from_camera=se3.compose(frame.world_from_camera, se3.exp(rng.normal(size=6) * sigma)))
        for frame in frames[1:]
    ]


def steps(poses: Array) -> Array:
    """(n - 1, 4, 4) motions from frame to frame."""
    return se3.compose(se3.invert(poses[:-1]), poses[1:])


def step_errors(found: Array, truth: Array) -> tuple[float, float]:
    """RMS error of the motions from frame to frame: radians, units."""
    off = se3.log(se3.compose(se3.invert(steps(truth)), steps(found)))
    return tuple(float(np.sqrt((off[:, part] ** 2).sum(1).mean())) for part in (slice(3, 6), slice(0, 3)))
