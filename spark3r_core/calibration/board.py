"""ChArUco boards: chessboards whose white squares carry markers, so that a part of one is enough (OpenCV)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from spark3r_core.errors import GeometryError

LEAST_SQUARES, MOST_SQUARES = 3, 24
MARKER_SHARE = 0.74  # of a square's side
DICTIONARY = cv2.aruco.DICT_5X5_250
_FORM = re.compile(r"(\d{1,3})x(\d{1,3})(?::(\d+(?:\.\d+)?))?")


@dataclass(frozen=True)
class Board:
    """columns x rows squares, each of `square_mm`. What is printed and what is looked for have to be the same; the size
    of a square changes nothing of a camera."""

    columns: int = 8
    rows: int = 5
    square_mm: float = 32.0

    @staticmethod
    def parse(words: str) -> Board:
        """ "8x5" or "8x5:32" (mm). Raises GeometryError."""
        match = _FORM.fullmatch(words.strip())
        if match is None:
            raise GeometryError(f"board {words!r}: expected COLUMNSxROWS or COLUMNSxROWS:MILLIMETRES, as in 8x5:32")
        board = Board(int(match[1]), int(match[2]), float(match[3] or Board.square_mm))
        if not all(LEAST_SQUARES <= count <= MOST_SQUARES for count in (board.columns, board.rows)):
            raise GeometryError(f"board {words!r}: expected {LEAST_SQUARES} to {MOST_SQUARES} squares each way")
        if not 1 <= board.square_mm <= 1000:
            raise GeometryError(f"board {words!r}: squares of {board.square_mm:g} mm; expected 1 to 1000")
        return board

    @property
    def corners(self) -> int:
        """Inner corners."""
        return (self.columns - 1) * (self.rows - 1)

    @property
    def size_mm(self) -> tuple[float, float]:
        return self.columns * self.square_mm, self.rows * self.square_mm

    def picture(self, pixels_per_square: int) -> NDArray[np.uint8]:
        """(H, W) grey, without a border."""
        size = (self.columns * pixels_per_square, self.rows * pixels_per_square)
        return np.asarray(self._board.generateImage(size), np.uint8)

    def find(self, grey: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """(N, 3) corners on the board in millimetres, z = 0, and (N, 2) where a picture (H, W) shows them, pixel
        centres at integer + 0.5; None where none is seen."""
        corners, ids, _, _ = self._detector.detectBoard(grey)
        if ids is None or len(ids) < 4:
            return None
        on_board = np.asarray(self._board.getChessboardCorners(), np.float64)[np.asarray(ids).ravel()]
        return on_board, np.asarray(corners, np.float64).reshape(-1, 2) + 0.5

    @cached_property
    def _board(self) -> cv2.aruco.CharucoBoard:
        dictionary = cv2.aruco.getPredefinedDictionary(DICTIONARY)
        marker_mm = self.square_mm * MARKER_SHARE
        return cv2.aruco.CharucoBoard((self.columns, self.rows), self.square_mm, marker_mm, dictionary)

    @cached_property
    def _detector(self) -> cv2.aruco.CharucoDetector:
        return cv2.aruco.CharucoDetector(self._board)
