"""A camera from views of a board (Zhang, 2000; OpenCV), and how well each of its numbers is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from spark3r_core.calibration.coverage import BoardView
from spark3r_core.errors import GeometryError
from spark3r_core.geometry.camera import Intrinsics
from spark3r_core.geometry.rotation import exp_so3

Array = NDArray[np.float64]

NAMES = ("fx", "fy", "cx", "cy")
RADIAL_TANGENTIAL, FISHEYE = ("k1", "k2", "p1", "p2", "k3"), ("k1", "k2", "k3", "k4")
MOST_ERROR = 3.0  # of the median error of a view, beyond which it is left out (blurred, or a board that bends)
LEAST_LEFT = 0.7  # share of the views
MOST_RMS = 2.0  # pixels of a picture 640 wide
_STEP = 1e-6  # of numeric derivatives, relative


@dataclass(frozen=True)
class Calibrated:
    """rms: pixels. deviations: standard deviation of each number of the camera by its name, pixels for fx fy cx cy,
    from the residuals, taken as independent. used: which of the views."""

    camera: Intrinsics
    rms: float
    deviations: dict[str, float]
    used: tuple[int, ...]


def calibrate(views: Sequence[BoardView], size_wh: tuple[int, int], *, fisheye: bool = False) -> Calibrated:
    """The camera that explains all views but those that contradict the others.

    Raises GeometryError where there is none, or where too many contradict it.
    """
    used = list(range(len(views)))
    camera, poses = _solved([views[index] for index in used], size_wh, fisheye)
    errors = np.array([_rms(_residuals(camera, *pose, views[index])) for index, pose in zip(used, poses, strict=True)])
    good = errors <= MOST_ERROR * np.median(errors)
    if good.mean() < LEAST_LEFT:
        raise GeometryError(
            f"{int((~good).sum())} of {len(views)} views contradict the others; the board has to be flat and held still"
        )
    if not good.all():
        used = np.flatnonzero(good).tolist()
        camera, poses = _solved([views[index] for index in used], size_wh, fisheye)
    chosen = [views[index] for index in used]
    residuals = np.concatenate([_residuals(camera, *pose, view) for pose, view in zip(poses, chosen, strict=True)])
    if _rms(residuals) > MOST_RMS * max(size_wh) / 640:
        raise GeometryError(
            f"views contradict each other by {_rms(residuals):.1f} pixels; is the board flat, the lens a fisheye"
            f" ({'given as one' if fisheye else 'not given as one'}), and does it keep its zoom and focus?"
        )
    return Calibrated(camera, _rms(residuals), _deviations(camera, poses, chosen, residuals), tuple(used))


def _solved(
    views: Sequence[BoardView], size_wh: tuple[int, int], fisheye: bool
) -> tuple[Intrinsics, list[tuple[Array, Array]]]:
    on_board = [view.on_board.astype(np.float32) for view in views]
    in_image = [(view.in_image - 0.5).astype(np.float32) for view in views]  # OpenCV's pixel centres are integers
    try:
        if fisheye:
            focal = max(size_wh) / 2.2  # of some 130 degrees
            k = np.array([[focal, 0, size_wh[0] / 2 - 0.5], [0, focal, size_wh[1] / 2 - 0.5], [0, 0, 1]])
            names = cv2.fisheye if hasattr(cv2.fisheye, "CALIB_FIX_SKEW") else cv2  # since OpenCV 5
            flags = names.CALIB_USE_INTRINSIC_GUESS | names.CALIB_RECOMPUTE_EXTRINSIC | names.CALIB_FIX_SKEW
            _, k, distortion, turns, shifts = cv2.fisheye.calibrate(
                [points[None].astype(np.float64) for points in on_board],
                [points[None].astype(np.float64) for points in in_image],
                size_wh, k, np.zeros((4, 1)), flags=flags,
            )  # fmt: skip
        else:
            _, k, distortion, turns, shifts = cv2.calibrateCamera(on_board, in_image, size_wh, None, None)  # type: ignore[call-overload]
    except cv2.error as error:
        raise GeometryError(f"no camera explains these views: {str(error).splitlines()[0]}") from None
    numbers = tuple(np.asarray(distortion, np.float64).ravel()[: 4 if fisheye else 5].tolist())
    camera = Intrinsics(
        float(k[0, 0]), float(k[1, 1]), float(k[0, 2]) + 0.5, float(k[1, 2]) + 0.5, *size_wh, numbers, fisheye
    )
    flat = [[np.asarray(one, np.float64).ravel() for one in part] for part in (turns, shifts)]
    return camera, list(zip(*flat, strict=True))


def _residuals(camera: Intrinsics, rotvec: Array, shift: Array, view: BoardView) -> Array:
    """(N, 2) pixels."""
    return np.asarray(camera.project(view.on_board @ exp_so3(rotvec).T + shift) - view.in_image)


def _rms(residuals: Array) -> float:
    return float(np.sqrt(np.square(residuals).sum(-1).mean()))


def _deviations(
    camera: Intrinsics, poses: Sequence[tuple[Array, Array]], views: Sequence[BoardView], residuals: Array
) -> dict[str, float]:
    """By the inverse of the normal equations at the solution, the poses of the board eliminated."""
    names = NAMES + (FISHEYE if camera.fisheye else RADIAL_TANGENTIAL)
    values = np.array([camera.fx, camera.fy, camera.cx, camera.cy, *camera.distortion])
    information = np.zeros((len(names), len(names)))
    for (rotvec, shift), view in zip(poses, views, strict=True):

        def at(numbers: Array, pose: Array, view: BoardView = view) -> Array:
            fx, fy, cx, cy, *lens = numbers.tolist()
            moved = Intrinsics(fx, fy, cx, cy, camera.width, camera.height, tuple(lens), camera.fisheye)
            return _residuals(moved, pose[:3], pose[3:], view).ravel()

        pose = np.concatenate([rotvec, shift])
        by_camera = _derivatives(lambda one, pose=pose, at=at: at(one, pose), values)  # type: ignore[misc]
        by_pose = _derivatives(lambda one, at=at: at(values, one), pose)  # type: ignore[misc]
        own, cross = by_pose.T @ by_pose, by_pose.T @ by_camera
        information += by_camera.T @ by_camera - cross.T @ np.linalg.solve(own, cross)
    free = residuals.size - 6 * len(views) - len(names)
    variance = float(np.square(residuals).sum()) / max(free, 1)
    scale = 1 / np.sqrt(np.diag(information))  # so that pixels and coefficients go together
    covariance = np.linalg.inv(information * scale * scale[:, None]) * scale * scale[:, None] * variance
    return dict(zip(names, np.sqrt(np.diag(covariance)).tolist(), strict=True))


def _derivatives(function, values: Array) -> Array:  # type: ignore[no-untyped-def]
    """(residuals, values), central differences."""
    columns = []
    for index in range(len(values)):
        step = np.zeros(len(values))
        step[index] = _STEP * max(1.0, abs(values[index]))
        columns.append((function(values + step) - function(values - step)) / (2 * step[index]))
    return np.stack(columns, 1)
