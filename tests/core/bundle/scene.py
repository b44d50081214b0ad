"""Points on the walls of a room seen by a camera that moves through it, with what a tracker and a network would say."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from spark3r_core.bundle.problem import Array, Cameras, Observations, PoseFactors
from spark3r_core.geometry import se3

WIDTH, HEIGHT, FOCAL = 640, 480, 530.0
CENTRE = np.array([WIDTH / 2, HEIGHT / 2])


@dataclass(frozen=True)
class Scene:
    """truth: the true cameras. points: (P, 3). seen: noisy sightings of them. outlier: (M,) which are wrong."""

    truth: Cameras
    points: Array
    seen: Observations
    outlier: np.ndarray

    def start(
        self, rng: np.random.Generator, shift: float = 0.05, turn: float = 0.01, focal: float = 1.0, sigma: float = 0.3
    ) -> Cameras:
        """Cameras as a tracker might have them: a random twist off, and `focal` times the true focal length, by whose
        inverse the camera seems to have turned."""
        noise = np.concatenate(
            [rng.normal(0, shift, (len(self.truth.fixed), 3)), rng.normal(0, turn, (len(self.truth.fixed), 3))], 1
        )
        noise[self.truth.fixed] = 0
        poses = self.truth.camera_from_world
        first = poses[0]
        twist = se3.log(se3.compose(poses, se3.invert(first)))
        twist[:, 3:] /= focal
        poses = se3.compose(se3.exp(noise), se3.exp(twist), first)
        found = FOCAL * focal
        return replace(self.truth, camera_from_world=poses, focal=found, focal_prior=found, focal_sigma=sigma)

    def tracked(self, rng: np.random.Generator, shift: float = 0.005, turn: float = 0.002) -> PoseFactors:
        """Steps from camera to camera, with noise and the information that fits it."""
        poses = self.truth.camera_from_world
        first = np.arange(len(poses) - 1)
        sigmas = np.array([shift] * 3 + [turn] * 3)
        noise = se3.exp(rng.normal(0, 1, (len(first), 6)) * sigmas)
        steps = se3.compose(noise, poses[1:], se3.invert(poses[:-1]))
        return PoseFactors(first, first + 1, steps, np.broadcast_to(np.diag(sigmas**-2.0), (len(first), 6, 6)).copy())


def make_scene(
    seed: int = 0,
    keyframes: int = 8,
    points: int = 400,
    *,
    pixel_noise: float = 0.5,
    depth_error: float = 0.15,
    outliers: float = 0.0,
    path: str = "sideways",
    focal: float = FOCAL,
) -> Scene:
    """path: "sideways" (turning as it goes), "forward" or "turning" (no parallax at all)."""
    rng = np.random.default_rng(seed)
    half = np.array([2.0, 1.5, 3.0])
    cloud = rng.uniform(-1, 1, (points * 4, 3)) * half
    wall = rng.integers(0, 3, len(cloud))
    cloud[np.arange(len(cloud)), wall] = np.sign(rng.uniform(-1, 1, len(cloud))) * half[wall]
    along = np.linspace(-1, 1, keyframes)
    twists = np.zeros((keyframes, 6))
    if path == "sideways":
        twists[:, 0], twists[:, 1], twists[:, 4] = 0.7 * along, 0.2 * along**2, 0.35 * along
        twists[:, 2], twists[:, 3] = 0.3 * np.sin(3 * along), 0.1 * np.cos(2 * along)
    elif path == "forward":
        twists[:, 2], twists[:, 4] = 0.9 * along, 0.03 * along
    else:
        twists[:, 4], twists[:, 3] = 0.5 * along, 0.1 * np.sin(4 * along)
    camera_from_world = se3.invert(se3.exp(twists))
    at = np.einsum("kij,pj->kpi", camera_from_world[:, :3, :3], cloud) + camera_from_world[:, None, :3, 3]
    z = np.where(at[..., 2] > 0.3, at[..., 2], np.nan)
    places = at[..., :2] / z[..., None] * focal + CENTRE
    inside = np.isfinite(z) & (places > 0).all(-1) & (places < [WIDTH, HEIGHT]).all(-1)
    chosen = np.flatnonzero(inside.sum(0) >= 3)[:points]
    slot, point = np.nonzero(inside[:, chosen])
    exact = places[slot, chosen[point]]
    noisy = exact + rng.normal(0, pixel_noise, exact.shape)
    wrong = rng.uniform(size=len(point)) < outliers
    noisy[wrong] += rng.uniform(-80, 80, (int(wrong.sum()), 2))
    log_scale = np.where(np.arange(keyframes) == 0, 0.0, rng.normal(0, 0.1, keyframes))
    network = z[slot, chosen[point]] * np.exp(rng.normal(0, depth_error, len(point)) - log_scale[slot])
    order = np.argsort(point, kind="stable")
    seen = Observations(point[order], slot[order], noisy[order], network[order])
    truth = Cameras(camera_from_world, np.zeros(keyframes), np.arange(keyframes) == 0, focal, focal, 0.0, CENTRE)
    return Scene(truth, cloud[chosen], seen, wrong[order])


def shape_error(found: Array, truth: Array) -> float:
    """RMS of camera centres over their spread, after the first pose is made the same and the scale fitted."""
    relative = [se3.invert(se3.compose(poses, se3.invert(poses[0])))[:, :3, 3] for poses in (found, truth)]
    scale = float((relative[0] * relative[1]).sum() / np.square(relative[0]).sum())
    error = scale * relative[0] - relative[1]
    spread = relative[1] - relative[1].mean(0)
    return float(np.sqrt(np.square(error).sum() / np.square(spread).sum()))
