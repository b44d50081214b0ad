"""What any method must beat: standing still, going on as before, and classical visual odometry by OpenCV."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry import se3
from spark3r_core.geometry.camera import Intrinsics
from tools.evaluation import metrics

Array = NDArray[np.float64]


def no_motion(count: int) -> Array:
    """The trajectory (count, 4, 4) of a camera that never moves."""
    return np.broadcast_to(np.eye(4), (count, 4, 4)).copy()


def constant_velocity_rpe(truth: Array, distance: int) -> dict[str, float]:
    """Relative pose error of repeating the last true motion over the same distance: knows the past exactly."""
    if len(truth) <= 2 * distance:
        raise ValueError(f"{len(truth)} frames are too few for motions over {distance} and {distance} before")
    now = range(distance, len(truth) - distance)
    before = metrics.relative(truth, [i - distance for i in now], now)
    true = metrics.relative(truth, now, [i + distance for i in now])
    shortest = metrics.MOVED * metrics.spread(truth)
    return metrics.summarise(metrics.relative_errors(before, true, shortest), true)


class VisualOdometry:
    """Monocular odometry: SIFT features, essential matrix to start, PnP against the map, triangulation at keyframes.

    No loop closing and no bundle adjustment. Until features have moved against each other by more than a rotation
    explains, only the rotation is followed; a frame that cannot be placed keeps the last pose.
    """

    min_parallax = 0.008  # of the image width: median motion beyond a rotation's before triangulating,
    min_parallax_pixels = 2.5  # but no less than this, or the noise of the features decides
    key_parallax = 0.06  # of the image width: median motion since the keyframe that asks for the next one
    min_inliers = 20

    def __init__(self, intrinsics: Intrinsics) -> None:
        self.k = intrinsics.matrix
        self.width = intrinsics.width
        self.distortion = np.array(intrinsics.distortion or (0.0,) * 4)
        self.detector = cv2.SIFT_create(nfeatures=1200)
        self.matcher = cv2.BFMatcher(cv2.NORM_L2)
        self.pose = np.eye(4)  # world_from_camera
        self.lost = 0
        self.key_points: Array | None = None  # (n, 2) undistorted pixels of the keyframe
        self.key_descriptors: NDArray[np.float32] | None = None
        self.key_pose = np.eye(4)
        self.key_world: Array | None = None  # (n, 3), NaN where not triangulated

    def track(self, image: NDArray[np.uint8]) -> Array:
        """Pose (4, 4) of the next RGB frame."""
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        found, descriptors = self.detector.detectAndCompute(grey, None)
        if descriptors is None or len(found) < self.min_inliers:
            self.lost += 1
            return self.pose.copy()
        seen = np.float64([p.pt for p in found])[:, None]
        points = cv2.undistortPoints(seen, self.k, self.distortion, P=self.k)[:, 0]
        if self.key_descriptors is None:
            self._set_key(points, descriptors, np.full((len(points), 3), np.nan))
            return self.pose.copy()
        old, new = self._match(descriptors)
        if len(old) < self.min_inliers:
            self._lose(points, descriptors)
            return self.pose.copy()
        parallax = float(np.median(np.linalg.norm(self.key_points[old] - points[new], axis=1)))
        known = np.isfinite(self.key_world[old, 0])
        if known.sum() < self.min_inliers:
            self._start(points, descriptors, old, new)
            return self.pose.copy()
        if not self._locate(self.key_world[old[known]], points[new[known]]):
            self._lose(points, descriptors)
        elif parallax > self.key_parallax * self.width or known.sum() < 3 * self.min_inliers:
            self._extend(points, descriptors, old, new)
        return self.pose.copy()

    def _match(self, descriptors: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        pairs = [p for p in self.matcher.knnMatch(self.key_descriptors, descriptors, k=2) if len(p) == 2]
        good = [a for a, b in pairs if a.distance < 0.75 * b.distance]
        return np.array([m.queryIdx for m in good], int), np.array([m.trainIdx for m in good], int)

    def _start(self, points: Array, descriptors: NDArray[np.float32], old: NDArray, new: NDArray) -> None:
        rotation, beyond = self._rotation(self.key_points[old], points[new])
        if beyond < max(self.min_parallax_pixels, self.min_parallax * self.width):
            self.pose = self.key_pose @ se3.invert(se3.make_pose(rotation, np.zeros(3)))
            if len(old) < 3 * self.min_inliers:
                self._set_key(points, descriptors, np.full((len(points), 3), np.nan))
            return
        essential, mask = cv2.findEssentialMat(
            self.key_points[old], points[new], self.k, method=cv2.RANSAC, prob=0.999, threshold=1.0
        )
        if essential is None or essential.shape != (3, 3) or mask.sum() < self.min_inliers:
            return
        _, rotation, translation, _ = cv2.recoverPose(essential, self.key_points[old], points[new], self.k, mask=mask)
        self.pose = self.key_pose @ se3.invert(se3.make_pose(rotation, translation[:, 0]))
        self._extend(points, descriptors, old, new)

    def _rotation(self, before: Array, after: Array) -> tuple[Array, float]:
        """Rotation (3, 3) that best explains how pixels (n, 2) moved, and the median motion it leaves, in pixels."""
        inverse = np.linalg.inv(self.k)
        rays = [np.column_stack([pixels, np.ones(len(pixels))]) @ inverse.T for pixels in (before, after)]
        old, new = (ray / np.linalg.norm(ray, axis=1, keepdims=True) for ray in rays)
        keep = np.ones(len(old), bool)
        for _ in range(3):  # the half that fits best decides: wrong matches and near things do not
            u, _, vt = np.linalg.svd(new[keep].T @ old[keep])
            rotation = (u * [1.0, 1.0, np.linalg.det(u) * np.linalg.det(vt)]) @ vt
            turned = rays[0] @ rotation.T @ self.k.T
            left = np.linalg.norm(turned[:, :2] / np.maximum(turned[:, 2:], 1e-9) - after, axis=1)
            keep = left <= np.median(left)
        return rotation, float(np.median(left))

    def _locate(self, world: Array, pixels: Array) -> bool:
        guess = se3.invert(self.pose)
        good, turn, shift, inliers = cv2.solvePnPRansac(
            world, pixels, self.k, None, cv2.Rodrigues(guess[:3, :3])[0], guess[:3, 3].copy(), True, 200, 3.0, 0.999
        )
        if not good or inliers is None or len(inliers) < self.min_inliers:
            return False
        self.pose = se3.invert(se3.make_pose(cv2.Rodrigues(turn)[0], shift.reshape(3)))
        return True

    def _extend(self, points: Array, descriptors: NDArray[np.float32], old: NDArray, new: NDArray) -> None:
        """Make this frame the keyframe: keep what it sees of the map, triangulate what it matches beyond."""
        world = np.full((len(points), 3), np.nan)
        world[new] = self.key_world[old]
        todo = ~np.isfinite(world[new, 0])
        cameras = [self.k @ se3.invert(pose)[:3] for pose in (self.key_pose, self.pose)]
        four = cv2.triangulatePoints(*cameras, self.key_points[old[todo]].T, points[new[todo]].T)
        with np.errstate(divide="ignore", invalid="ignore"):
            fresh = (four[:3] / four[3]).T
        keep = np.isfinite(fresh).all(1)
        for pose, seen in ((self.key_pose, self.key_points[old[todo]]), (self.pose, points[new[todo]])):
            local = np.where(keep[:, None], se3.transform_points(se3.invert(pose), np.nan_to_num(fresh)), 1.0)
            pixel = (local @ self.k.T)[:, :2] / np.maximum(local[:, 2:], 1e-9)
            keep &= (local[:, 2] > 0) & (np.linalg.norm(pixel - seen, axis=1) < 3.0)
        world[new[todo][keep]] = fresh[keep]
        self._set_key(points, descriptors, world)

    def _lose(self, points: Array, descriptors: NDArray[np.float32]) -> None:
        self.lost += 1
        self._set_key(points, descriptors, np.full((len(points), 3), np.nan))

    def _set_key(self, points: Array, descriptors: NDArray[np.float32], world: Array) -> None:
        self.key_points, self.key_descriptors, self.key_world = points, descriptors, world
        self.key_pose = self.pose.copy()


def visual_odometry(frames: Iterable[NDArray[np.uint8]], intrinsics: Intrinsics) -> tuple[Array, int]:
    """Trajectory (n, 4, 4) of a sequence, and how many of its frames could not be placed."""
    odometry = VisualOdometry(intrinsics)
    poses = np.stack([odometry.track(image) for image in frames])
    return poses, odometry.lost
