"""Where a tag of known size lies in a map of unknown scale: one similarity from its corners in several views.

A corner c of the tag (metres) lies at X = s R c + t in the map, s units per metre, and is seen by view i with camera
K_i and pose P_i at π(K_i P_i X). (s, R, t) minimise the reprojection errors by Gauss-Newton with Cauchy's weight. One
view alone, or several from one place, leave the scale open: there the map's own depth at the tag decides, as badly as
it is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry import se3
from spark3r_core.geometry.rotation import exp_so3, nearest_rotation, skew
from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.metric.tags import TagSpec

Array = NDArray[np.float64]

LEAST_PIXEL_STD = 0.1  # corners are found to 0.05, and to 0.2 where a tag is 30 pixels wide
CALIBRATED_STDS = 2.0  # poses of views depend on each other: factor of the standard deviation, from synthetic worlds
MOST_PIXEL_STD = 6.0  # of a fit that is believed
CAUCHY = 2.4
_ITERATIONS = 25


@dataclass(frozen=True, eq=False)
class TagView:
    """One sighting. corners: (4, 2) pixels. camera: (3, 3). map_from_camera: (4, 4), translation in the map's unit.

    depth: z of the tag's centre as the map has it, in its unit; None where it does not say. depth_std: of its
    logarithm.
    """

    corners: Array
    camera: Array
    map_from_camera: Array
    depth: float | None
    depth_std: float

    @cached_property
    def camera_from_map(self) -> Array:
        """(4, 4)."""
        return np.asarray(se3.invert(self.map_from_camera), np.float64)


@dataclass(frozen=True, eq=False)
class TagFit:
    """map_from_tag: its scale is units of the map per metre. log_std: of that scale's logarithm. pixel_error: mean of
    the corners', however small: of two poses that look nearly the same it decides. turn_std: of its orientation,
    radians. views: how many were used."""

    map_from_tag: Sim3
    log_std: float
    pixel_error: float
    turn_std: float
    views: int


def fit_tag(spec: TagSpec, views: Sequence[TagView]) -> TagFit | None:
    """None where the views do not say, or contradict each other."""
    found = [_fitted(spec.corners_m, views, begin) for begin in _beginnings(spec.corners_m, views)]
    usable = [fit for fit in found if fit is not None]
    return min(usable, key=lambda fit: fit.pixel_error, default=None)


def _fitted(corners_m: Array, views: Sequence[TagView], begin: Sim3) -> TagFit | None:
    log_scale, rotation, translation = np.log(begin.scale), begin.rotation, begin.translation
    residuals = np.zeros(0)
    pixel_std, normal, said_by_corners = LEAST_PIXEL_STD, np.eye(7), np.zeros((7, 7))
    damping = 1e-6
    cost = np.inf
    for _ in range(_ITERATIONS):
        residuals, jacobian, ahead = _linearised(corners_m, views, log_scale, rotation, translation)
        if not ahead:
            return None
        size = np.linalg.norm(residuals.reshape(-1, 2), axis=1)
        pixel_std = max(LEAST_PIXEL_STD, float(1.4826 * np.median(np.abs(residuals))))
        weight = np.repeat(1 / (1 + np.square(size / (CAUCHY * pixel_std))), 2) / pixel_std**2
        normal = jacobian.T @ (weight[:, None] * jacobian)
        said_by_corners = normal.copy()
        gradient = jacobian.T @ (weight * residuals)
        for residual, row in _depth_rows(views, translation):
            normal += np.outer(row, row)
            gradient += row * residual
        step = np.linalg.solve(normal + damping * np.diag(np.diag(normal) + 1e-12), -gradient)
        step[:3] = np.clip(step[:3], -0.5, 0.5)
        log_scale += float(np.clip(step[6], -0.5, 0.5))
        rotation = exp_so3(step[:3]) @ rotation
        translation = translation + step[3:6]
        now = float(weight @ np.square(residuals))
        if abs(cost - now) < 1e-9 * max(now, 1e-12) and np.abs(step).max() < 1e-9:
            break
        cost = now
    if pixel_std > MOST_PIXEL_STD:
        return None
    try:
        covariance = np.linalg.inv(said_by_corners / CALIBRATED_STDS**2 + normal - said_by_corners)
    except np.linalg.LinAlgError:
        return None
    log_std = float(np.sqrt(max(covariance[6, 6], 0)))
    turn_std = float(np.sqrt(max(np.trace(covariance[:3, :3]), 0)))
    found = Sim3(float(np.exp(log_scale)), nearest_rotation(rotation), translation)
    pixel_error = float(np.abs(residuals).mean())
    return TagFit(found, log_std, pixel_error, turn_std, len(views)) if np.isfinite(log_std) else None


def _beginnings(corners_m: Array, views: Sequence[TagView]) -> list[Sim3]:
    """By the view that sees the tag largest, where a square has two poses that look nearly the same: each at the scale
    that suits all views best."""
    import cv2

    if not views:
        return []
    largest = max(views, key=lambda view: float(np.ptp(view.corners, axis=0).prod()))
    flat = (largest.corners - largest.camera[:2, 2]) / np.diag(largest.camera)[:2]
    count, turns, places, _ = cv2.solvePnPGeneric(
        corners_m, flat[:, None], np.eye(3), None, flags=cv2.SOLVEPNP_IPPE_SQUARE
    )
    begins = []
    for turn, place in zip(turns[:count], places[:count], strict=True):
        place = np.asarray(place, np.float64).ravel()
        if not np.isfinite(place).all() or place[2] <= 0:
            continue
        rotation, costs = exp_so3(np.asarray(turn, np.float64).ravel()), []
        for scale in _likely_scales(place[2], views):
            found = Sim3.from_matrix(largest.map_from_camera) @ Sim3(scale, rotation, place * scale)
            residuals, _, ahead = _linearised(corners_m, views, np.log(scale), found.rotation, found.translation)
            costs.append((float(np.median(np.abs(residuals))) if ahead else np.inf, found))
        begins.append(min(costs, key=lambda one: one[0])[1])
    return begins


def _likely_scales(depth_m: float, views: Sequence[TagView]) -> list[float]:
    """Units of the map per metre that are worth a try."""
    depths = [view.depth for view in views if view.depth is not None]
    usual = float(np.median(depths)) / depth_m if depths else 1.0
    return [usual * factor for factor in (0.5, 0.7, 1.0, 1.4, 2.0)]


def _linearised(
    corners_m: Array, views: Sequence[TagView], log_scale: float, rotation: Array, translation: Array
) -> tuple[Array, Array, bool]:
    """Residuals (8 V,), Jacobian (8 V, 7) by [turn from the left, translation, log scale], and whether every view has
    the tag ahead."""
    arms = np.exp(log_scale) * corners_m @ rotation.T  # (4, 3)
    points = arms + translation
    by_point = np.zeros((4, 3, 7))
    by_point[:, :, :3] = -skew(arms)
    by_point[:, :, 3:6] = np.eye(3)
    by_point[:, :, 6] = arms
    residuals, rows = [], []
    for view in views:
        camera_from_map = view.camera_from_map
        seen = points @ camera_from_map[:3, :3].T + camera_from_map[:3, 3]
        if seen[:, 2].min() <= 1e-9:
            return np.zeros(0), np.zeros((0, 7)), False
        pixels = seen @ view.camera.T
        residuals.append((pixels[:, :2] / pixels[:, 2:] - view.corners).ravel())
        inverse = 1 / seen[:, 2]
        by_seen = np.zeros((4, 2, 3))
        by_seen[:, 0, 0], by_seen[:, 1, 1] = view.camera[0, 0] * inverse, view.camera[1, 1] * inverse
        by_seen[:, 0, 2] = -view.camera[0, 0] * seen[:, 0] * inverse**2
        by_seen[:, 1, 2] = -view.camera[1, 1] * seen[:, 1] * inverse**2
        rows.append((by_seen @ camera_from_map[:3, :3] @ by_point).reshape(8, 7))
    return np.concatenate(residuals), np.concatenate(rows), True


def _depth_rows(views: Sequence[TagView], translation: Array) -> list[tuple[float, Array]]:
    """Residual and row, in standard deviations, of the logarithm of the centre's depth, for each view that has it.

    Views that follow each other are wrong alike: all of them count as one.
    """
    having = [(view, view.depth) for view in views if view.depth is not None]
    found = []
    for view, depth in having:
        camera_from_map, std = view.camera_from_map, view.depth_std * np.sqrt(len(having))
        z = float(camera_from_map[2, :3] @ translation + camera_from_map[2, 3])
        row = np.zeros(7)
        row[3:6] = camera_from_map[2, :3] / (z * std)
        found.append((float(np.log(z / depth) / std), row))
    return found
