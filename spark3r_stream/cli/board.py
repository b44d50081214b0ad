"""`spark3r board`: a chessboard with markers to print, by which `spark3r calibrate` knows a camera."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spark3r_core.calibration.board import Board
from spark3r_core.errors import GeometryError
from spark3r_stream.cli.printed import MOST_PIXELS, check_kind, check_new, write_page
from spark3r_stream.config import ConfigError

_MM_PER_INCH = 25.4
_DPI = 600


def board_of(words: str) -> Board:
    try:
        return Board.parse(words)
    except GeometryError as error:
        raise ConfigError(f"--{error}") from None


def board_command(out: Path, words: str) -> int:
    """Write it; a file that is there is never replaced."""
    board = board_of(words)
    check_kind(out)
    check_new(out)
    write_page(out, *_page(board))
    width, height = (f"{edge / 10:g}" for edge in board.size_mm)
    print(f"{out}: {board.columns}x{board.rows} squares, {width} x {height} cm")
    print("print it, glue it to something flat, or show it on a screen that does not shine")
    print(f"then: spark3r calibrate webcam:0 --board {board.columns}x{board.rows}")
    return 0


def _page(board: Board) -> tuple[NDArray[np.uint8], float]:
    """(H, W) and its dots per inch, with a white border of half a square, without which markers at the edge are not
    found."""
    pixels = round(board.square_mm / _MM_PER_INCH * _DPI)
    if max(board.columns, board.rows) * pixels > MOST_PIXELS:
        raise ConfigError(
            f"a board of {board.size_mm[0]:g} x {board.size_mm[1]:g} mm has more than {MOST_PIXELS} dots at {_DPI} per"
            " inch; choose smaller squares"
        )
    page = np.pad(board.picture(pixels), pixels // 2, constant_values=255)
    dots = pixels / board.square_mm * _MM_PER_INCH  # what makes a square as long as it should be
    return page, dots
