"""Whether pictures of a board say enough of a camera: where in the image it was seen, and how it was tilted.

A focal length and a distance look alike unless the board is tilted; nothing is known of a lens where the board never
was.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LEAST_CORNERS = 10  # of a view
CELLS_WH = (6, 4)  # of the image
LEAST_CELLS = 0.75  # share of them in which corners were seen
LEAST_VIEWS, MOST_VIEWS = 10, 60
TILTED = 0.2  # component of the board's normal across the axis: 12 degrees
LEAST_TILTED = 2  # views tilted each way
APART = 0.07  # of the image's diagonal: mean way of the corners from a view to the next that counts
_WAYS = ("right", "left", "lower", "upper")  # edges that are nearer


@dataclass(frozen=True)
class BoardView:
    """on_board: (N, 3) millimetres. in_image: (N, 2) pixels, centres at integer + 0.5. tilt: (2,) of the board's normal
    across the axis, roughly: right and down where the right and the lower edge are nearer."""

    on_board: Array
    in_image: Array
    tilt: Array

    @staticmethod
    def of(on_board: Array, in_image: Array, size_wh: tuple[int, int]) -> BoardView | None:
        """None for too few corners, or such as lie on one line."""
        if len(on_board) < LEAST_CORNERS or np.linalg.matrix_rank(on_board[:, :2] - on_board[0, :2], 1e-6) < 2:
            return None
        image_from_board, _ = cv2.findHomography(on_board[:, :2], in_image)
        if image_from_board is None:
            return None
        focal = float(max(size_wh))  # a guess of a camera suffices to see which way a board is tilted
        camera = np.array([[focal, 0.0, size_wh[0] / 2], [0.0, focal, size_wh[1] / 2], [0.0, 0.0, 1.0]])
        rays = np.linalg.inv(camera) @ image_from_board
        across, down = rays[:, 0] / np.linalg.norm(rays[:, 0]), rays[:, 1] / np.linalg.norm(rays[:, 1])
        normal = np.cross(across, down)
        return BoardView(on_board, in_image, normal[:2] / np.linalg.norm(normal) * np.sign(normal[2]))


@dataclass
class Coverage:
    """Gathers views of one image size (width, height) that differ from each other."""

    size_wh: tuple[int, int]
    views: list[BoardView] = field(default_factory=list)
    cells: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(CELLS_WH[::-1], bool))

    def add(self, view: BoardView) -> bool:
        """Whether it is taken: it shows the board elsewhere than the others do, or another part of it."""
        if len(self.views) >= MOST_VIEWS or any(self._is_near(view, other) for other in self.views):
            return False
        self.views.append(view)
        at = (view.in_image / self.size_wh * CELLS_WH).astype(int)
        at = np.clip(at, 0, np.array(CELLS_WH) - 1)
        self.cells[at[:, 1], at[:, 0]] = True
        return True

    @property
    def seen(self) -> float:
        """Share of the image's cells in which corners were seen."""
        return float(self.cells.mean())

    @property
    def tilted(self) -> dict[str, int]:
        """Views by the edge of the board that was nearer."""
        tilts = np.array([view.tilt for view in self.views]).reshape(-1, 2)
        counts = [tilts[:, 0] > TILTED, tilts[:, 0] < -TILTED, tilts[:, 1] > TILTED, tilts[:, 1] < -TILTED]
        return dict(zip(_WAYS, (int(count.sum()) for count in counts), strict=True))

    @property
    def missing(self) -> list[str]:
        """What is still to be shown, for people; empty when it is enough."""
        wanted = []
        if len(self.views) < LEAST_VIEWS:
            wanted.append(f"{LEAST_VIEWS - len(self.views)} more views")
        if self.seen < LEAST_CELLS:
            wanted.append(f"the board in the {self._empty_part()} of the picture")
        ways = [way for way, count in self.tilted.items() if count < LEAST_TILTED]
        if ways:
            wanted.append(f"the board tilted, its {', '.join(ways)} edge nearer")
        return wanted

    def _is_near(self, view: BoardView, other: BoardView) -> bool:
        """By the corners that both show; where they show different ones, they differ."""
        both = (np.abs(view.on_board[:, None] - other.on_board).max(-1) < 1e-6).nonzero()
        if len(both[0]) < LEAST_CORNERS:
            return False
        way = np.linalg.norm(view.in_image[both[0]] - other.in_image[both[1]], axis=1).mean()
        return bool(way < APART * np.hypot(*self.size_wh))

    def _empty_part(self) -> str:
        """The half of the picture in which most is missing, in words."""
        empty = ~self.cells
        rows, columns = empty.shape
        parts = {
            "left": empty[:, : columns // 2], "right": empty[:, columns // 2 :],
            "top": empty[: rows // 2], "bottom": empty[rows // 2 :],
        }  # fmt: skip
        return max(parts, key=lambda name: int(parts[name].sum()))
