"""Pinhole cameras with optional OpenCV distortion, and what happens to them when an image is resized or cut.

Pixel centres are at integer + 0.5 (README.md): the left edge of an image is x = 0, so a resize is a pure scaling of
x and y, and `cx = width / 2` is the exact centre. OpenCV's own functions put centres at integers; `cx - 0.5` is done
here where they are called. Pixel maps are 3x3 affine matrices acting on (x, y, 1).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spark3r_core.errors import GeometryError
from spark3r_core.geometry.rotation import Array, as_float64

# Names of OpenCV's model as we, ROS and Kalibr write them, and how many coefficients each may have.
DISTORTION_MODELS: dict[str, tuple[int, ...]] = {
    "opencv k1 k2 p1 p2 k3": (0, 4, 5),
    "plumb_bob": (0, 4, 5),
    "radtan": (0, 4),
    "rational_polynomial": (0, 8),
    "none": (0,),
}


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
    """A camera: fx fy cx cy in pixels of a width x height image; distortion is OpenCV's k1 k2 p1 p2 [k3 [k4 k5 k6]].

    Distortion acts on normalised coordinates, so it survives resize, crop and pad unchanged.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int
    distortion: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        numbers = (self.fx, self.fy, self.cx, self.cy, *self.distortion)
        if not np.all(np.isfinite(numbers)):
            raise GeometryError(f"intrinsics contain values that are not finite: {numbers}")
        if self.fx <= 0 or self.fy <= 0:
            raise GeometryError(f"focal lengths are {self.fx} and {self.fy}; expected positive pixels")
        if self.width < 1 or self.height < 1:
            raise GeometryError(f"image size is {self.width}x{self.height}; expected at least 1x1")
        if len(self.distortion) not in (0, 4, 5, 8):
            raise GeometryError(f"{len(self.distortion)} distortion coefficients; OpenCV's model has 4, 5 or 8")

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
        return any(self.distortion)

    def mapped(self, pixel_map: ArrayLike, width: int, height: int) -> Intrinsics:
        """The camera of the image after an axis-aligned affine pixel map (3, 3), with its new size."""
        m = as_float64(pixel_map, (3, 3), "pixel_map")
        if m[0, 1] or m[1, 0]:
            raise GeometryError("pixel map turns or shears the image; only resize, crop and pad keep a pinhole upright")
        k = transform_matrix(self.matrix, m)
        return Intrinsics(k[0, 0], k[1, 1], k[0, 2], k[1, 2], width, height, self.distortion)

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
        normalised = distort(points[..., :2] / z, self.distortion)
        return normalised * np.array([self.fx, self.fy]) + np.array([self.cx, self.cy])

    def unproject(self, pixels: ArrayLike, depth: ArrayLike) -> Array:
        """Pixels (..., 2) and z-depths (...) -> camera points (..., 3). Only for cameras without distortion."""
        if self.is_distorted:
            raise GeometryError("unproject needs a pinhole camera; undistort the image first (undistortion_maps)")
        pixels, depth = as_float64(pixels, (2,), "pixels"), np.asarray(depth, np.float64)
        rays = (pixels - np.array([self.cx, self.cy])) / np.array([self.fx, self.fy])
        return np.concatenate([rays * depth[..., None], np.broadcast_to(depth, rays.shape[:-1])[..., None]], -1)


def distort(normalised: ArrayLike, coefficients: tuple[float, ...]) -> Array:
    """OpenCV's model on normalised coordinates x/z, y/z (..., 2); () is the identity."""
    xy = as_float64(normalised, (2,), "normalised")
    if not any(coefficients):
        return xy
    k1, k2, p1, p2, k3, k4, k5, k6 = (*coefficients, *[0.0] * (8 - len(coefficients)))
    x, y = xy[..., 0], xy[..., 1]
    r2 = x * x + y * y
    radial = (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
    return np.stack(
        [
            x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
            y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
        ],
        -1,
    )


def undistortion_maps(
    camera: Intrinsics, alpha: float = 0.0
) -> tuple[NDArray[np.float32], NDArray[np.float32], Intrinsics]:
    """Maps for `cv2.remap(image, map_x, map_y, ...)`, each (H, W) float32, and the pinhole camera of the result.

    alpha 0 keeps only pixels that exist in the source (no black border), 1 keeps every source pixel. Needs OpenCV.
    """
    import cv2  # heavy, and not part of a subscriber's installation

    k = camera.matrix
    k[:2, 2] -= 0.5  # OpenCV's pixel centres are integers
    size = (camera.width, camera.height)
    coefficients = np.array(camera.distortion or (0.0,) * 5)
    optimal, _ = cv2.getOptimalNewCameraMatrix(k, coefficients, size, alpha, size)
    map_x, map_y = cv2.initUndistortRectifyMap(k, coefficients, np.eye(3), optimal, size, cv2.CV_32FC1)
    new_k = np.array(optimal, np.float64)
    new_k[:2, 2] += np.float64(0.5)
    return np.asarray(map_x, np.float32), np.asarray(map_y, np.float32), Intrinsics.from_matrix(new_k, *size)


def _check_model(model: object, distortion: tuple[float, ...]) -> None:
    """GeometryError for a distortion model that is not OpenCV's, or whose coefficients are not those given."""
    if model is None:
        return
    if model not in DISTORTION_MODELS:
        raise GeometryError(
            f"distortion_model {model!r} is not known; known are {', '.join(map(repr, DISTORTION_MODELS))}: undistort"
            " the images with another program, or calibrate anew with one of these"
        )
    if len(distortion) not in (counts := DISTORTION_MODELS[str(model)]):
        expected = " or ".join(map(str, counts))
        raise GeometryError(f"distortion_model {model!r} has {expected} coefficients, the file gives {len(distortion)}")


def read_intrinsics(path: str | Path) -> Intrinsics:
    """Camera from a JSON file with width, height, fx, fy, cx, cy and optionally `distortion` (k1 k2 p1 p2 k3) and
    `distortion_model` (one of DISTORTION_MODELS; any other is refused, its numbers mean something else).

    Pixel centres as everywhere here; a calibration made by OpenCV itself needs 0.5 added to cx and cy.
    Raises GeometryError naming the file and the field.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise GeometryError(f"cannot read intrinsics file {path}: {error.strerror}") from error
    except ValueError as error:
        raise GeometryError(f"intrinsics file {path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise GeometryError(f"intrinsics file {path} holds a {type(content).__name__}; expected an object")
    missing = [name for name in ("width", "height", "fx", "fy", "cx", "cy") if content.get(name) is None]
    if missing:
        raise GeometryError(f"intrinsics file {path} has no value for {', '.join(missing)}")
    try:
        fx, fy, cx, cy = (float(content[name]) for name in ("fx", "fy", "cx", "cy"))
        width, height = (int(content[name]) for name in ("width", "height"))
        distortion = tuple(float(value) for value in content.get("distortion") or ())
        _check_model(content.get("distortion_model"), distortion)
        return Intrinsics(fx, fy, cx, cy, width, height, distortion)
    except (TypeError, ValueError) as error:
        raise GeometryError(f"intrinsics file {path}: {error}") from error
    except GeometryError as error:
        raise GeometryError(f"intrinsics file {path}: {error}") from error
