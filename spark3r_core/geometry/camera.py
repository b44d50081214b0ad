"""Cameras with a lens, as OpenCV models them, and what happens to them when an image is resized or cut.

Pixel centres are at integer + 0.5 (README.md): the left edge of an image is x = 0, so a resize is a pure scaling of
x and y, and `cx = width / 2` is the exact centre. OpenCV's own functions put centres at integers; `cx - 0.5` is done
here where they are called. Pixel maps are 3x3 affine matrices acting on (x, y, 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from spark3r_core.errors import GeometryError
from spark3r_core.geometry.rotation import Array, as_float64

# How many coefficients a lens may have.
RADIAL_TANGENTIAL_COUNTS = (0, 4, 5, 8, 12, 14)
FISHEYE_COUNT = 4


def resize_map(from_size: tuple[int, int], to_size: tuple[int, int]) -> Array:
    """Pixel map of a resize between (width, height) sizes."""
    return np.diag([to_size[0] / from_size[0], to_size[1] / from_size[1], 1.0])


def shift_map(right: float, down: float) -> Array:
    """Pixel map of a pad of `right` columns and `down` rows at the left and top; negative: a crop."""
    return np.array([[1.0, 0.0, right], [0.0, 1.0, down], [0.0, 0.0, 1.0]])


def transform_matrix(intrinsics: ArrayLike, pixel_map: ArrayLike) -> Array:
    """(..., 3, 3) intrinsics of the image after an affine pixel map (3, 3): the map times K."""
    return as_float64(pixel_map, (3, 3), "pixel_map") @ as_float64(intrinsics, (3, 3), "intrinsics")


def with_square_pixels(intrinsics: ArrayLike, pixel_map: ArrayLike) -> Array:
    """(3, 3) with one focal length: the geometric mean of both, in the picture whose pixels are square.

    pixel_map: (3, 3) from that picture to the image of `intrinsics`, which may have stretched it. A network says both
    focal lengths by themselves, and they differ by up to a sixth where the camera's do not.
    """
    k, stretch = as_float64(intrinsics, (3, 3), "intrinsics"), as_float64(pixel_map, (3, 3), "pixel_map")
    focal = np.sqrt(k[0, 0] / stretch[0, 0] * k[1, 1] / stretch[1, 1])
    tied = k.copy()
    tied[0, 0], tied[1, 1] = focal * stretch[0, 0], focal * stretch[1, 1]
    return tied


@dataclass(frozen=True)
class Intrinsics:
    """A camera: fx fy cx cy in pixels of a width x height image, and its lens.

    distortion: OpenCV's radial-tangential k1 k2 p1 p2 [k3 [k4 k5 k6 [s1 s2 s3 s4 [tx ty]]]]; with fisheye the four of
    the equidistant model (Kannala, Brandt, 2006). It acts on normalised coordinates, so it survives resize, crop and
    pad unchanged.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int
    distortion: tuple[float, ...] = ()
    fisheye: bool = False

    def __post_init__(self) -> None:
        numbers = (self.fx, self.fy, self.cx, self.cy, *self.distortion)
        if not np.all(np.isfinite(numbers)):
            raise GeometryError(f"intrinsics contain values that are not finite: {numbers}")
        if self.fx <= 0 or self.fy <= 0:
            raise GeometryError(f"focal lengths are {self.fx} and {self.fy}; expected positive pixels")
        if self.width < 1 or self.height < 1:
            raise GeometryError(f"image size is {self.width}x{self.height}; expected at least 1x1")
        counts = (FISHEYE_COUNT,) if self.fisheye else RADIAL_TANGENTIAL_COUNTS
        if len(self.distortion) not in counts:
            lens = "a fisheye" if self.fisheye else "OpenCV's radial-tangential model"
            raise GeometryError(
                f"{len(self.distortion)} distortion coefficients; {lens} has {', '.join(map(str, counts))}"
            )

    @staticmethod
    def from_matrix(matrix: ArrayLike, width: int, height: int) -> Intrinsics:
        """From K (3, 3) without skew; raises GeometryError if it has one."""
        k = as_float64(matrix, (3, 3), "intrinsics")
        if (
            k.ndim != 2
            or abs(k[0, 1]) > 1e-6 * abs(k[0, 0])
            or np.abs(k[[1, 2, 2, 2], [0, 0, 1, 2]] - [0, 0, 0, 1]).max() > 1e-9
        ):
            raise GeometryError("intrinsics matrix has a skew or a wrong shape; expected [[fx 0 cx] [0 fy cy] [0 0 1]]")
        return Intrinsics(float(k[0, 0]), float(k[1, 1]), float(k[0, 2]), float(k[1, 2]), width, height)

    @property
    def matrix(self) -> Array:
        """K (3, 3)."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])

    @property
    def is_distorted(self) -> bool:
        return self.fisheye or any(self.distortion)

    def mapped(self, pixel_map: ArrayLike, width: int, height: int) -> Intrinsics:
        """The camera of the image after an axis-aligned affine pixel map (3, 3), with its new size."""
        m = as_float64(pixel_map, (3, 3), "pixel_map")
        if m[0, 1] or m[1, 0]:
            raise GeometryError("pixel map turns or shears the image; only resize, crop and pad keep a pinhole upright")
        k = transform_matrix(self.matrix, m)
        fx, fy, cx, cy = k[0, 0].item(), k[1, 1].item(), k[0, 2].item(), k[1, 2].item()
        return Intrinsics(fx, fy, cx, cy, width, height, self.distortion, self.fisheye)

    def resized(self, width: int, height: int) -> Intrinsics:
        return self.mapped(resize_map((self.width, self.height), (width, height)), width, height)

    def cropped(self, left: int, top: int, width: int, height: int) -> Intrinsics:
        """Camera of the `width` x `height` part that starts at column `left` and row `top`; it must lie inside."""
        if left < 0 or top < 0 or left + width > self.width or top + height > self.height:
            raise GeometryError(
                f"crop {width}x{height} at ({left}, {top}) leaves the image of {self.width}x{self.height}; use padded"
            )
        return self.mapped(shift_map(-left, -top), width, height)

    def padded(self, left: int = 0, top: int = 0, right: int = 0, bottom: int = 0) -> Intrinsics:
        """Camera after adding columns and rows at the four sides."""
        return self.mapped(shift_map(left, top), self.width + left + right, self.height + top + bottom)

    def pinhole(self) -> Intrinsics:
        """The same camera without distortion."""
        return Intrinsics(self.fx, self.fy, self.cx, self.cy, self.width, self.height)

    def project(self, camera_points: ArrayLike) -> Array:
        """Camera points (..., 3) with z > 0 -> pixels (..., 2); NaN where z <= 0."""
        points = as_float64(camera_points, (3,), "camera_points")
        z = np.where(points[..., 2:] > 0, points[..., 2:], np.nan)
        normalised = distort(points[..., :2] / z, self.distortion, self.fisheye)
        return normalised * np.array([self.fx, self.fy]) + np.array([self.cx, self.cy])

    def rays(self, pixels: ArrayLike) -> Array:
        """Pixels (..., 2) of any lens -> the rays that it images there (..., 3), z = 1; see `undistort`."""
        places = as_float64(pixels, (2,), "pixels")
        seen = undistort(
            (places - np.array([self.cx, self.cy])) / np.array([self.fx, self.fy]), self.distortion, self.fisheye
        )
        return np.concatenate([seen, np.ones((*seen.shape[:-1], 1))], -1)

    def unproject(self, pixels: ArrayLike, depth: ArrayLike) -> Array:
        """Pixels (..., 2) and z-depths (...) -> camera points (..., 3). Only for cameras without distortion."""
        if self.is_distorted:
            raise GeometryError("unproject needs a pinhole camera; undistort the image first (rectification.py)")
        pixels, depth = as_float64(pixels, (2,), "pixels"), np.asarray(depth, np.float64)
        rays = (pixels - np.array([self.cx, self.cy])) / np.array([self.fx, self.fy])
        return np.concatenate([rays * depth[..., None], np.broadcast_to(depth, rays.shape[:-1])[..., None]], -1)


def distort(normalised: ArrayLike, coefficients: tuple[float, ...], fisheye: bool = False) -> Array:
    """Where a lens images the rays x/z, y/z (..., 2): normalised coordinates again. See `Intrinsics.distortion`."""
    xy = as_float64(normalised, (2,), "normalised")
    if fisheye:
        return _equidistant(xy, coefficients)
    if not any(coefficients):
        return xy
    k1, k2, p1, p2, k3, k4, k5, k6, s1, s2, s3, s4, tilt_x, tilt_y = (*coefficients, *[0.0] * (14 - len(coefficients)))
    x, y = xy[..., 0], xy[..., 1]
    r2 = x * x + y * y
    radial = (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
    bent = np.stack(
        [
            x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x) + r2 * (s1 + r2 * s2),
            y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y + r2 * (s3 + r2 * s4),
        ],
        -1,
    )
    return _tilted(bent, tilt_x, tilt_y) if tilt_x or tilt_y else bent


def undistort(imaged: ArrayLike, coefficients: tuple[float, ...], fisheye: bool = False) -> Array:
    """The rays x/z, y/z (..., 2) that a lens images there: the inverse of `distort`, by Newton's method.

    NaN where there is no such ray in front of the camera.
    """
    xy = as_float64(imaged, (2,), "imaged")
    if fisheye:
        return _from_equidistant(xy, coefficients)
    found = xy.copy()
    step = 1e-6
    for _ in range(20):
        at = distort(found, coefficients)
        across = (distort(found + [step, 0.0], coefficients) - at) / step
        down = (distort(found + [0.0, step], coefficients) - at) / step
        left = xy - at
        area = across[..., 0] * down[..., 1] - down[..., 0] * across[..., 1]
        found = found + np.stack(
            [
                (left[..., 0] * down[..., 1] - down[..., 0] * left[..., 1]) / area,
                (across[..., 0] * left[..., 1] - left[..., 0] * across[..., 1]) / area,
            ],
            -1,
        )
    missed = np.linalg.norm(distort(found, coefficients) - xy, axis=-1, keepdims=True)
    return np.where(missed < 1e-6, found, np.nan)


def _from_equidistant(xy: Array, coefficients: tuple[float, ...]) -> Array:
    radius = np.linalg.norm(xy, axis=-1, keepdims=True)
    k1, k2, k3, k4 = coefficients
    theta = radius.copy()
    for _ in range(20):
        t2 = theta * theta
        value = theta * (1 + t2 * (k1 + t2 * (k2 + t2 * (k3 + t2 * k4)))) - radius
        theta = theta - value / (1 + t2 * (3 * k1 + t2 * (5 * k2 + t2 * (7 * k3 + t2 * 9 * k4))))
    is_ahead = (theta >= 0) & (theta < np.pi / 2) & (np.abs(value) < 1e-6)
    factor = np.where(radius > 1e-12, np.tan(theta) / np.maximum(radius, 1e-12), 1.0)
    return xy * np.where(is_ahead, factor, np.nan)


def _equidistant(xy: Array, coefficients: tuple[float, ...]) -> Array:
    """A ray at the angle t to the axis is imaged t (1 + k1 t^2 + k2 t^4 + k3 t^6 + k4 t^8) from it."""
    radius = np.linalg.norm(xy, axis=-1, keepdims=True)
    theta = np.arctan(radius)
    t2 = theta * theta
    k1, k2, k3, k4 = coefficients
    seen = theta * (1 + t2 * (k1 + t2 * (k2 + t2 * (k3 + t2 * k4))))
    return xy * np.where(radius > 1e-12, seen / np.maximum(radius, 1e-12), 1.0)


def _tilted(xy: Array, tilt_x: float, tilt_y: float) -> Array:
    """On a sensor that is turned by these angles (radians) against the lens: OpenCV's tilted model (Scheimpflug)."""
    cos_x, sin_x, cos_y, sin_y = np.cos(tilt_x), np.sin(tilt_x), np.cos(tilt_y), np.sin(tilt_y)
    about_x = np.array([[1, 0, 0], [0, cos_x, sin_x], [0, -sin_x, cos_x]])
    about_y = np.array([[cos_y, 0, -sin_y], [0, 1, 0], [sin_y, 0, cos_y]])
    turn = about_y @ about_x
    onto = np.array([[turn[2, 2], 0, -turn[0, 2]], [0, turn[2, 2], -turn[1, 2]], [0, 0, 1]]) @ turn
    seen = xy @ onto[:, :2].T + onto[:, 2]
    return np.asarray(seen[..., :2] / seen[..., 2:])
