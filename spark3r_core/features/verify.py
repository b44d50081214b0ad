"""Which matches a rigid scene allows: epipolar geometry of two pictures, and the pose of one against known points.

MAGSAC++ (Barath et al., 2020) by OpenCV, with a fixed number of tries and its own fixed seed, so that the same input
gives the same answer.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry import se3

Array = NDArray[np.float64]

LEAST_MATCHES = 12
EPIPOLAR_PIXELS = 1.5  # of a picture 640 pixels wide
PNP_PIXELS = 4.0  # likewise: points carry a network's depth, which is off by more than a feature's place
LEAST_INLIERS = 20
TRIES = 2000
CONFIDENCE = 0.999


def epipolar_inliers(a: NDArray[np.float32], b: NDArray[np.float32], width: int) -> NDArray[np.bool_]:
    """(N,) which pairs of places (N, 2) agree with one fundamental matrix. width: of the pictures in pixels."""
    if len(a) < LEAST_MATCHES:
        return np.zeros(len(a), bool)
    threshold = EPIPOLAR_PIXELS * width / 640
    try:
        _, mask = cv2.findFundamentalMat(a, b, cv2.USAC_MAGSAC, threshold, CONFIDENCE, TRIES)
    except cv2.error:  # degenerate sets
        return np.zeros(len(a), bool)
    return np.zeros(len(a), bool) if mask is None else mask.ravel().astype(bool)


def camera_from_points(
    points: Array, places: NDArray[np.float32], intrinsics: Array, width: int
) -> tuple[Array, NDArray[np.bool_]] | None:
    """Pose of a camera that sees points (N, 3) at places (N, 2): camera_from_points (4, 4) and which agree.

    None when fewer than LEAST_INLIERS do.
    """
    if len(points) < LEAST_INLIERS:
        return None
    threshold = PNP_PIXELS * width / 640
    cv2.setRNGSeed(0)
    try:
        ok, turn, shift, inliers = cv2.solvePnPRansac(
            points.astype(np.float64),
            (places - 0.5).astype(np.float64),
            _opencv(intrinsics),
            None,
            iterationsCount=300,
            reprojectionError=threshold,
            confidence=CONFIDENCE,
            flags=cv2.SOLVEPNP_SQPNP,
        )
        if not ok or inliers is None or len(inliers) < LEAST_INLIERS:
            return None
        rows = inliers.ravel()
        turn, shift = cv2.solvePnPRefineLM(
            points[rows].astype(np.float64),
            (places[rows] - 0.5).astype(np.float64),
            _opencv(intrinsics),
            None,
            turn,
            shift,
        )
    except cv2.error:
        return None
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = cv2.Rodrigues(turn)[0], shift.ravel()
    if not np.isfinite(pose).all():
        return None
    mask = np.zeros(len(points), bool)
    mask[rows] = True
    return se3.require_se3(pose), mask


def reprojection_errors(
    camera_from_points: Array, points: Array, places: Array | NDArray[np.float32], intrinsics: Array
) -> Array:
    """(N,) pixels between where a camera (4, 4) sees points (N, 3) and where they should be, (N, 2); inf behind it."""
    seen = points @ camera_from_points[:3, :3].T + camera_from_points[:3, 3]
    ahead = seen[:, 2] > 1e-9
    pixels = seen @ intrinsics.T
    at = pixels[:, :2] / np.where(ahead, pixels[:, 2], 1.0)[:, None]
    return np.where(ahead, np.linalg.norm(at - places, axis=1), np.inf)


def _opencv(intrinsics: Array) -> Array:
    """OpenCV puts pixel centres at integers."""
    shifted = np.array(intrinsics, np.float64)
    shifted[:2, 2] -= 0.5
    return shifted
