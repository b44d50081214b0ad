"""A board in front of a camera with a lens: where its corners are, and pictures of it."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from spark3r_core.calibration.board import Board
from spark3r_core.calibration.coverage import BoardView
from spark3r_core.geometry.camera import Intrinsics, undistort
from spark3r_core.geometry.rotation import exp_so3

BOARD = Board()
SIZE_WH = (640, 480)
CAMERA = Intrinsics(520.0, 523.0, 324.0, 236.0, *SIZE_WH, (-0.28, 0.09, 0.001, -0.0005, 0.0))
FISHEYE = Intrinsics(290.0, 291.0, 322.0, 238.0, *SIZE_WH, (0.02, -0.01, 0.003, -0.001), True)
_PIXELS, _BORDER = 48, 24  # of a square of the drawn board

Pose = tuple[np.ndarray, np.ndarray]  # camera_from_board: (3, 3), (3,) millimetres


def poses(camera: Intrinsics, tilt_deg: float = 30.0, reach: float = 1.0, seed: int = 0) -> Iterator[Pose]:
    """The board at twelve places of the picture, tilted four ways, as a person would hold it. reach: how far the places
    are from the middle of the picture, of the way to its edge."""
    rng = np.random.default_rng(seed)
    width, height = BOARD.size_mm
    for row in (-0.55, 0.0, 0.55):
        for column in (-0.6, -0.2, 0.2, 0.6):
            tilt = tilt_deg * rng.uniform(0.7, 1.0) * rng.choice([-1, 1], 2)
            turn = exp_so3(np.deg2rad([*tilt, rng.uniform(-8, 8)]))
            at = np.array([0.5 + 0.5 * reach * column, 0.5 + 0.5 * reach * row]) * SIZE_WH
            ray = undistort((at - [camera.cx, camera.cy]) / [camera.fx, camera.fy], camera.distortion, camera.fisheye)
            middle = np.append(ray, 1.0) * width * camera.fx / SIZE_WH[0] * rng.uniform(1.3, 1.7)
            yield turn, middle - turn @ np.array([width / 2, height / 2, 0.0])


def view(camera: Intrinsics, pose: Pose, noise: float = 0.1, seed: int = 0) -> BoardView | None:
    """The corners that the camera sees, with errors."""
    turn, shift = pose
    across, down = np.meshgrid(np.arange(1, BOARD.columns), np.arange(1, BOARD.rows))
    corners = np.stack([across.ravel(), down.ravel(), 0 * down.ravel()], -1) * BOARD.square_mm
    pixels = camera.project(corners @ turn.T + shift) + np.random.default_rng(seed).normal(0, noise, (len(corners), 2))
    inside = ((pixels > 0) & (pixels < SIZE_WH)).all(1)
    return BoardView.of(corners[inside], pixels[inside], SIZE_WH)


class Renderer:
    """Pictures by one camera."""

    def __init__(self, camera: Intrinsics) -> None:
        u, v = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
        imaged = np.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy], -1)
        xy = undistort(imaged, camera.distortion, camera.fisheye)
        self._rays = np.concatenate([xy, np.ones((*xy.shape[:2], 1))], -1)
        self._drawn = np.pad(BOARD.picture(_PIXELS), _BORDER, constant_values=255).astype(np.float32)

    def __call__(self, pose: Pose, seed: int = 0) -> np.ndarray:
        """(H, W) uint8, a little out of focus and with noise."""
        turn, shift = pose
        normal = turn[:, 2]
        far = (normal @ shift) / (self._rays @ normal)
        on_board = (self._rays * far[..., None] - shift) @ turn * (_PIXELS / BOARD.square_mm) + _BORDER - 0.5
        at = np.where(np.isfinite(on_board) & (far > 0)[..., None], on_board, -100.0).astype(np.float32)
        seen = cv2.remap(
            self._drawn, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=110
        )
        seen = cv2.GaussianBlur(seen, (0, 0), 0.7)
        noisy = 0.8 * seen + 20 + np.random.default_rng(seed).normal(0, 2, seen.shape)
        return np.clip(noisy, 0, 255).astype(np.uint8)
