"""How far a trajectory is off another one, pose by pose. Poses are world_from_camera (n, 4, 4) float64."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry.rotation import rotation_angle
from spark3r_core.geometry.sim3 import Sim3

Array = NDArray[np.float64]


class AbsoluteError(NamedTuple):
    """rmse: of the camera centres after alignment (ATE), in units of the truth. spread: root mean square distance of
    the true centres from their mean. distances: (n,), what rmse is made of. truth_from_estimate: the alignment."""

    rmse: float
    spread: float
    distances: Array
    truth_from_estimate: Sim3


def spread(centres: Array) -> float:
    """Root mean square distance of points (n, 3) from their mean."""
    return float(np.sqrt(((centres - centres.mean(0)) ** 2).sum(1).mean()))


def absolute_error(estimate: Array, truth: Array) -> AbsoluteError:
    """ATE (Sturm et al. 2012) after the one Sim(3) that makes it least.

    An estimate that does not move is placed at the truth's mean: its error is the truth's spread.
    """
    similarity = closest_similarity(estimate, truth)
    distances = np.linalg.norm(similarity.apply_to_points(estimate[:, :3, 3]) - truth[:, :3, 3], axis=1)
    rmse = float(np.sqrt(np.mean(distances**2)))
    return AbsoluteError(rmse, spread(truth[:, :3, 3]), distances, similarity)


def closest_similarity(estimate: Array, truth: Array) -> Sim3:
    """The Sim(3) of least squares between camera centres (Umeyama 1991, eq. 38-42); any of them where it is not unique:
    of centres on a line the error is unique all the same."""
    source, target = estimate[:, :3, 3], truth[:, :3, 3]
    centred = source - source.mean(0)
    u, d, vt = np.linalg.svd((target - target.mean(0)).T @ centred)
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = (u * signs) @ vt
    moved, size = float((centred**2).sum()), float((source**2).sum())
    scale = float((d * signs).sum()) / moved if moved > 1e-18 * max(1.0, size) else 0.0
    scale = max(scale, 1e-12)  # a point, and what is best shrunk to one, has no scale
    return Sim3(scale, rotation, target.mean(0) - scale * rotation @ source.mean(0))


def relative_rotation_deg(estimate: Array, truth: Array, first: NDArray[np.int64], second: NDArray[np.int64]) -> Array:
    """Degrees (m,) by which the turn from pose `first` to pose `second` is wrong; no alignment is needed."""

    def turns(poses: Array) -> Array:
        return np.asarray(np.swapaxes(poses[first, :3, :3], 1, 2) @ poses[second, :3, :3])

    return np.degrees(rotation_angle(np.swapaxes(turns(truth), 1, 2) @ turns(estimate)))
