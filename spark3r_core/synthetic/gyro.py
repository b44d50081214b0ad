"""What a gyroscope on a camera of a synthetic path would say."""

from __future__ import annotations

import numpy as np

from spark3r_core.geometry.rotation import log_so3


def gyro_samples(
    world_from_camera: np.ndarray, hertz: float, seed: int = 0, noise: float = 0.01, bias_deg: float = 0.3
) -> np.ndarray:
    """(S - 1, 3) angular velocities, radians per second in the camera's axes, between poses (S, 4, 4) that lie
    1/hertz s apart: each holds for the middle of its two. noise: standard deviation of one, radians per second, as
    a phone's at 200 Hz. bias_deg: degrees per second about each axis, with random signs.
    """
    rotations = world_from_camera[:, :3, :3]
    rates = log_so3(rotations[:-1].swapaxes(1, 2) @ rotations[1:]) * hertz
    rng = np.random.default_rng(seed)
    return np.asarray(rates + rng.normal(0, noise, rates.shape) + np.deg2rad(bias_deg) * rng.choice([-1, 1], 3))
