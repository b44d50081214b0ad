"""A camera from points that it saw from several places, without a board: bundle adjustment over its own numbers.

One focal length (pixels are square), the centre, k1 and k2 are adjusted together with the pose of each picture and each
point: x is seen at f x (1 + k1 |x|^2 + k2 |x|^4) + c, x = (X / Z, Y / Z). Levenberg-Marquardt with Huber's weight, the
points eliminated by the Schur complement, sightings that do not fit left out between the rounds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spark3r_core.bundle.problem import Cameras, Observations
from spark3r_core.bundle.residuals import huber
from spark3r_core.bundle.triangulate import triangulate
from spark3r_core.errors import GeometryError
from spark3r_core.geometry import se3
from spark3r_core.geometry.camera import Intrinsics

Array = NDArray[np.float64]

NUMBERS = 5  # log focal length, centre in focal lengths, k1, k2
CENTRE_SIGMA, LENS_SIGMA = 0.1, 0.5  # of what is expected before anything was seen: in focal lengths, and of k1, k2
LEAST_PIXELS, HUBER, OUTLIER = 0.3, 2.0, 4.0  # pixels of a picture 640 wide; in deviations
DEPENDENT = 3.0  # errors of sightings depend on each other: factor of the deviations, from synthetic worlds
LEAST_PICTURES, LEAST_SIGHTINGS, ROUNDS, STEPS = 6, 500, 4, 15
MOST_RMS = 2.0  # pixels of a picture 640 wide
_HELD = 1e-6  # of a pose, so that where all of it lies is somewhere
_EXPECTED = np.array([CENTRE_SIGMA, CENTRE_SIGMA, LENS_SIGMA, LENS_SIGMA]) ** -2.0  # information of these four, and
_PINHOLE = np.full(4, 1e12)  # where they are zero


@dataclass(frozen=True)
class MotionCalibration:
    """rms: pixels. deviations: standard deviation of each number by its name, pixels for fx fy cx cy. pictures,
    sightings: that it is from."""

    camera: Intrinsics
    rms: float
    deviations: dict[str, float]
    pictures: int
    sightings: int


@dataclass(frozen=True)
class _State:
    numbers: Array  # (NUMBERS,)
    poses: Array  # (K, 4, 4) camera_from_world
    points: Array  # (P, 3)


def calibrate_from_motion(
    seen: Observations, camera_from_world: Array, size_wh: tuple[int, int], focal: float
) -> MotionCalibration:
    """The camera that explains where points were seen.

    seen: places in pixels of the pictures as they came from the lens, slots of `camera_from_world` (K, 4, 4), which,
    with `focal` in pixels, is where adjustment begins. Raises GeometryError where there is too little to calibrate by.
    """
    kept = np.ones(len(seen), bool)
    middle = np.array(size_wh, np.float64) / 2
    pixel = max(size_wh) / 640
    start = Cameras(
        camera_from_world, np.zeros(len(camera_from_world)), np.ones(len(camera_from_world), bool), focal, focal, 0.0,
        middle,
    )  # fmt: skip
    numbers, poses, sigma = np.array([np.log(focal), 0.0, 0.0, 0.0, 0.0]), camera_from_world, 3 * pixel
    for turn in range(ROUNDS):
        views = np.bincount(seen.point[kept], minlength=seen.count)
        kept = kept & (views[seen.point] >= 2)
        current = seen.where(kept)
        if len(current) < LEAST_SIGHTINGS or len(np.unique(current.slot)) < LEAST_PICTURES:
            raise GeometryError(
                f"{len(current)} sightings of points in {len(np.unique(current.slot))} pictures fit together; at least"
                f" {LEAST_SIGHTINGS} in {LEAST_PICTURES} are needed"
            )
        if turn == 0:
            points, ahead = triangulate(start, current)
            kept[kept] = ahead[current.point]
            current, points = seen.where(kept), points[ahead]
        # First of all the focal length alone: a lens that is free from the start bends to poses that are off.
        expected = _EXPECTED if turn > 0 else _PINHOLE
        state = _adjusted(_State(numbers, poses, points), current, middle, sigma, expected)
        numbers, poses = state.numbers, state.poses
        error = np.linalg.norm(_residuals(state, current, middle)[0], axis=1)
        sigma = max(LEAST_PIXELS * pixel, 1.4826 * float(np.median(error)) / 1.1774)  # of one coordinate
        if turn < ROUNDS - 1:
            fits = error < OUTLIER * sigma
            left = np.bincount(current.point[fits], minlength=current.count) >= 2
            kept[kept] = fits & left[current.point]
            points = state.points[left]
    found = _told(state, current, middle, sigma, size_wh)
    if not found.rms <= MOST_RMS * pixel:
        raise GeometryError(
            f"no camera with k1 and k2 explains where points were seen: {found.rms:.1f} pixels are left over"
        )
    return found


def _told(
    state: _State, seen: Observations, middle: Array, sigma: float, size_wh: tuple[int, int]
) -> MotionCalibration:
    focal, (cx, cy), (k1, k2) = float(np.exp(state.numbers[0])), state.numbers[1:3], state.numbers[3:]
    matrix = _normal(state, seen, middle, sigma, _EXPECTED, 0.0)[0]
    covariance = np.linalg.inv(matrix)[-NUMBERS:, -NUMBERS:]
    of_log, *others = (DEPENDENT * np.sqrt(np.maximum(np.diag(covariance), 0))).tolist()
    deviations = {"fx": of_log * focal, "fy": of_log * focal, "cx": others[0] * focal, "cy": others[1] * focal}
    centre = middle + focal * np.array([cx, cy])
    camera = Intrinsics(focal, focal, float(centre[0]), float(centre[1]), *size_wh, (float(k1), float(k2), 0.0, 0.0))
    residuals = _residuals(state, seen, middle)[0]
    return MotionCalibration(
        camera, float(np.sqrt(np.square(residuals).sum(1).mean())), deviations | {"k1": others[2], "k2": others[3]},
        len(np.unique(seen.slot)), len(seen),
    )  # fmt: skip


def _adjusted(state: _State, seen: Observations, middle: Array, sigma: float, expected: Array) -> _State:
    damping, cost = 1e-3, _cost(state, seen, middle, sigma, expected)
    for _ in range(STEPS):
        better = None
        while better is None and damping < 1e8:
            proposal = _step(state, seen, middle, sigma, expected, damping)
            new = np.inf if proposal is None else _cost(proposal, seen, middle, sigma, expected)
            better = proposal if new < cost else None
            damping = damping / 5 if better is not None else damping * 8
        if better is None:
            break
        is_settled, state, cost = cost - new < 1e-6 * cost, better, new
        if is_settled:
            break
    return state


def _residuals(state: _State, seen: Observations, middle: Array) -> tuple[Array, Array]:
    """(M, 2) pixels, and (M, 3) the points in their cameras."""
    pose = state.poses[seen.slot]
    at = np.einsum("mij,mj->mi", pose[:, :3, :3], state.points[seen.point]) + pose[:, :3, 3]
    focal, centre, (k1, k2) = np.exp(state.numbers[0]), state.numbers[1:3], state.numbers[3:]
    flat = at[:, :2] / np.where(at[:, 2:] > 1e-9, at[:, 2:], 1e-9)
    square = np.square(flat).sum(1, keepdims=True)
    return focal * (flat * (1 + k1 * square + k2 * square**2) + centre) + middle - seen.places, at


def _cost(state: _State, seen: Observations, middle: Array, sigma: float, expected: Array) -> float:
    residuals, at = _residuals(state, seen, middle)
    length = np.where(at[:, 2] > 1e-9, np.linalg.norm(residuals, axis=1) / sigma, 50.0)
    return float(huber(length, HUBER).sum() + 0.5 * (expected * np.square(state.numbers[1:])).sum())


def _normal(
    state: _State, seen: Observations, middle: Array, sigma: float, expected: Array, damping: float
) -> tuple[Array, Array, Array, Array, Array]:
    """Schur complement over [poses (6 each), numbers] and its gradient; and for the points: the inverses of their
    blocks (P, 3, 3), the cross terms (P, 3, 6 K + NUMBERS) and gradients (P, 3)."""
    residuals, at = _residuals(state, seen, middle)
    length = np.linalg.norm(residuals, axis=1) / sigma
    root = np.where(at[:, 2] > 1e-9, np.sqrt(np.minimum(1.0, HUBER / np.maximum(length, 1e-9))), 0.0) / sigma
    by_at, by_numbers = _derivatives(state.numbers, at)
    by_at, by_numbers = by_at * root[:, None, None], by_numbers * root[:, None, None]
    weighted = residuals * root[:, None]
    by_pose = np.concatenate([by_at, np.cross(at[:, None], by_at)], 2)  # a turn phi moves the point by phi x p
    by_point = by_at @ state.poses[seen.slot, :3, :3]
    keyframes, count = len(state.poses), seen.count
    size = 6 * keyframes + NUMBERS
    matrix, gradient = np.zeros((size, size)), np.zeros(size)
    cross = np.zeros((count, 3, size))
    blocks, towards = np.zeros((count, 3, 3)), np.zeros((count, 3))
    np.add.at(blocks, seen.point, by_point.transpose(0, 2, 1) @ by_point)
    np.add.at(towards, seen.point, (by_point.transpose(0, 2, 1) @ weighted[..., None])[..., 0])
    np.add.at(cross[:, :, -NUMBERS:], seen.point, by_point.transpose(0, 2, 1) @ by_numbers)
    for slot in range(keyframes):
        mine, own = seen.slot == slot, np.r_[6 * slot : 6 * slot + 6, size - NUMBERS : size]
        rows = np.concatenate([by_pose[mine], by_numbers[mine]], 2)
        flat = rows.reshape(-1, len(own))
        matrix[np.ix_(own, own)] += flat.T @ flat
        gradient[own] += flat.T @ weighted[mine].ravel()
        block = np.zeros((count, 3, 6))
        np.add.at(block, seen.point[mine], by_point[mine].transpose(0, 2, 1) @ by_pose[mine])
        cross[:, :, own[:6]] = block
    # The first guess of the focal length is worth nothing.
    held = np.r_[np.full(6 * keyframes, _HELD), 0.0, expected]
    gradient[-NUMBERS + 1 :] += expected * state.numbers[1:]
    diagonal = np.arange(size)
    matrix[diagonal, diagonal] += held + damping * matrix[diagonal, diagonal]
    blocks += (damping * blocks + 1e-9 * np.trace(blocks, axis1=1, axis2=2)[:, None, None]) * np.eye(3)
    inverse = np.linalg.inv(blocks + 1e-12 * np.eye(3))
    lower = np.linalg.cholesky(inverse)
    half = (lower.transpose(0, 2, 1) @ cross).reshape(-1, size)
    matrix -= half.T @ half
    gradient -= half.T @ (lower.transpose(0, 2, 1) @ towards[..., None]).ravel()
    return matrix, gradient, np.asarray(inverse, np.float64), cross, towards


def _step(
    state: _State, seen: Observations, middle: Array, sigma: float, expected: Array, damping: float
) -> _State | None:
    matrix, gradient, inverse, cross, towards = _normal(state, seen, middle, sigma, expected, damping)
    try:
        change = -np.linalg.solve(matrix, gradient)
    except np.linalg.LinAlgError:
        return None
    if not np.isfinite(change).all():
        return None
    moved = -(inverse @ (towards + cross @ change)[..., None])[..., 0]
    numbers = state.numbers + np.clip(change[-NUMBERS:], -0.3, 0.3)
    poses = se3.compose(se3.exp(change[:-NUMBERS].reshape(-1, 6)), state.poses)
    return _State(numbers, poses, state.points + moved)


def _derivatives(numbers: Array, at: Array) -> tuple[Array, Array]:
    """(M, 2, 3) of where a point is seen by the point in the camera, and (M, 2, NUMBERS) by the camera's numbers."""
    focal, centre, (k1, k2) = np.exp(numbers[0]), numbers[1:3], numbers[3:]
    z = np.where(at[:, 2] > 1e-9, at[:, 2], 1e-9)
    flat = at[:, :2] / z[:, None]
    square = np.square(flat).sum(1)
    factor = 1 + k1 * square + k2 * square**2
    by_flat = factor[:, None, None] * np.eye(2)
    by_flat = by_flat + (2 * k1 + 4 * k2 * square)[:, None, None] * flat[:, :, None] * flat[:, None]
    projected = np.zeros((len(at), 2, 3))
    projected[:, 0, 0] = projected[:, 1, 1] = 1 / z
    projected[:, :, 2] = -flat / z[:, None]
    by_numbers = np.zeros((len(at), 2, NUMBERS))
    by_numbers[:, :, 0] = flat * factor[:, None] + centre
    by_numbers[:, 0, 1] = by_numbers[:, 1, 2] = 1.0
    by_numbers[:, :, 3], by_numbers[:, :, 4] = flat * square[:, None], flat * np.square(square)[:, None]
    return focal * by_flat @ projected, focal * by_numbers
