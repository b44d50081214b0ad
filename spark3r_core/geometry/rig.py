"""Cameras that are mounted on one body: where the map of one lies in the map of another, by how both were tracked.

Neither needs to see what the other sees. Both orientations of the body, at one time, give the rotation between the
maps; where the body was, over some way, gives the scale and the place. Where the body turns and the cameras are apart,
the known distance between them says how long a metre is in the maps, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spark3r_core.errors import GeometryError
from spark3r_core.geometry import se3
from spark3r_core.geometry.alignment import cauchy_weights
from spark3r_core.geometry.rotation import Array, nearest_rotation, rotation_angle
from spark3r_core.geometry.sim3 import Sim3

LEAST_POSES = 30
MOST_STD = 0.05  # of the scale, and of the second map's place over how far the first camera went
MOST_TURN_APART = np.radians(5.0)  # median, between what the two cameras say of the body's orientation
_CORRELATED = 15.0  # poses of a tracked camera that are wrong by the same
_ROUNDS = 10
_LEVER_SHARE = 0.5  # of the spread of positions, that the distance between the cameras may have; by that it is guessed


@dataclass(frozen=True, eq=False)
class RigFit:
    """first_from_second: of the maps. std: relative, of its scale, or of the place over the spread of positions, the
    larger. units_per_metre: of the first map; std_units_per_metre. turn_apart: radians, median."""

    first_from_second: Sim3
    std: float
    units_per_metre: float
    std_units_per_metre: float
    turn_apart: float

    @property
    def is_known(self) -> bool:
        return self.std <= MOST_STD and self.turn_apart <= MOST_TURN_APART


def fit_rig(
    first_from_camera: Array, second_from_camera: Array, rig_from_first_camera: Array, rig_from_second_camera: Array
) -> RigFit | None:
    """Poses (N, 4, 4) of two cameras at the same times, each in its own map; where each is on the body (4, 4), metres.

    With A the body's orientation in the first map, p, q the cameras' centres in their maps and a, b on the body, the
    body is at the same place by both: p = s R q + u A (a - b) + t, which is linear in the scale s, the units per metre
    u and t; solved by least squares with Cauchy's weights. None for too few poses, or where nothing moved.
    """
    count = len(first_from_camera)
    if count < LEAST_POSES:
        return None
    turned_first = first_from_camera[:, :3, :3] @ rig_from_first_camera[:3, :3].T
    turned_second = second_from_camera[:, :3, :3] @ rig_from_second_camera[:3, :3].T
    turns = turned_first @ np.swapaxes(turned_second, 1, 2)
    rotation, angles = _mean_turn(turns)
    there, here = first_from_camera[:, :3, 3], second_from_camera[:, :3, 3] @ rotation.T
    lever = rig_from_first_camera[:3, 3] - rig_from_second_camera[:3, 3]
    levers = turned_first @ lever
    spread, apart = _spread(there), float(np.linalg.norm(lever))
    if min(spread, _spread(here)) <= 0:
        return None
    guess = _LEVER_SHARE * spread / apart if apart > 0 else 0.0  # units per metre, a standard deviation
    design = np.concatenate(
        [np.stack([here, levers], 2), np.broadcast_to(np.eye(3), (count, 3, 3))], 2
    )  # (N, 3, 5): scale, units per metre, place
    weights = np.ones(count)
    prior = np.diag([0.0, 0.0 if guess == 0 else 1 / guess**2, 0.0, 0.0, 0.0])
    noise = spread**2
    for _ in range(_ROUNDS):
        normal = np.einsum("n,nij,nik->jk", weights, design, design) / noise + prior
        if guess == 0:
            normal[1, 1] = 1.0  # there is no such column
        right = np.einsum("n,nij,ni->j", weights, design, there) / noise
        found = np.linalg.solve(normal, right)
        left = np.linalg.norm(design @ found - there, axis=1)
        weights = cauchy_weights(left, 2e-9 * spread)
        noise = max(float(weights @ left**2 / weights.sum() / 3), (1e-9 * spread) ** 2) * _CORRELATED
    scale = float(found[0])
    if scale <= 0:
        return None
    covariance = np.linalg.inv(normal)
    middle_of_way = np.concatenate([here.mean(0)[:, None], np.zeros((3, 1)), np.eye(3)], 1)  # a place of the second map
    place_std = float(np.sqrt(np.trace(middle_of_way @ covariance @ middle_of_way.T)))
    try:
        lies = Sim3(scale, rotation, found[2:])
    except GeometryError:
        return None
    return RigFit(
        lies,
        max(float(np.sqrt(covariance[0, 0])) / scale, place_std / spread),
        float(found[1]),
        float(np.sqrt(covariance[1, 1])),
        float(np.median(angles)),
    )


def at_same_times(
    times_ns: NDArray[np.int64],
    poses: Array,
    other_times_ns: NDArray[np.int64],
    other_poses: Array,
    most_gap_ns: int,
) -> tuple[Array, Array]:
    """Poses (N, 4, 4) of one camera, and of another at the same times, interpolated where two of its own are no further
    apart than `most_gap_ns`. Times (M,), (K,) int64, rising."""
    after = np.searchsorted(other_times_ns, times_ns)
    inside = (after > 0) & (after < len(other_times_ns))
    after, mine = after[inside], np.flatnonzero(inside)
    gaps = other_times_ns[after] - other_times_ns[after - 1]
    near = (gaps <= most_gap_ns) & (gaps > 0)
    after, mine, gaps = after[near], mine[near], gaps[near]
    if not len(mine):
        return np.zeros((0, 4, 4)), np.zeros((0, 4, 4))
    shares = (times_ns[mine] - other_times_ns[after - 1]) / gaps
    return poses[mine], se3.interpolate(other_poses[after - 1], other_poses[after], shares)


def _spread(centres: Array) -> float:
    """RMS distance from their mean, of centres (N, 3)."""
    return float(np.sqrt(np.mean(np.sum((centres - centres.mean(0)) ** 2, 1))))


def _mean_turn(turns: Array) -> tuple[Array, Array]:
    """Robust mean (3, 3) of rotations (N, 3, 3), and how far each is from it, radians."""
    weights = np.ones(len(turns))
    for _ in range(_ROUNDS):
        mean = nearest_rotation(np.einsum("n,nij->ij", weights, turns))
        angles = np.asarray(rotation_angle(mean.T @ turns))
        weights = cauchy_weights(angles, 1e-6)
    return mean, angles
