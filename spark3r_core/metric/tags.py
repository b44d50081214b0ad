"""Printed tags (AprilTag, ArUco) in a picture. OpenCV finds them; this names their families and their corners."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spark3r_core.errors import GeometryError

# Families by the names that people use for them. OpenCV calls them DICT_APRILTAG_36h11, DICT_4X4_50, ...
FAMILIES: dict[str, str] = {
    **{name: f"DICT_APRILTAG_{name}" for name in ("16h5", "25h9", "36h10", "36h11")},
    **{
        f"{bits}x{bits}_{count}": f"DICT_{bits}X{bits}_{count}"
        for bits in (4, 5, 6, 7)
        for count in (50, 100, 250, 1000)
    },
}
LEAST_SIZE_M, MOST_SIZE_M = 0.005, 10.0
LEAST_LIKENESS = 0.85  # correlation of a tag's pattern with the picture
STEP = 12  # pixels along a cell where pattern and picture are compared: smoothing there must not reach the next edge
LEAST_SIDE_PX = 12.0  # of a tag in the picture: a smaller one says nothing about a scale
_EXAMPLE = "36h11:0.16 (AprilTag 36h11 with a black square of 16 cm), or 4x4_50:0.1:7 for ArUco with one id"


@dataclass(frozen=True)
class TagSpec:
    """Tags to look for. size_m: edge of the black square. tag_id: the only one to be used; None: all of the family."""

    family: str
    size_m: float
    tag_id: int | None = None

    @staticmethod
    def parse(text: str) -> TagSpec:
        """ "36h11:0.16", "4x4_50:0.1:7". Raises GeometryError that says what was expected."""
        match = re.fullmatch(r"\s*([A-Za-z0-9_]+):([0-9.eE+-]+)(?::(\d+))?\s*", text)
        if match is None:
            raise GeometryError(f"cannot read the tag {text!r}; write FAMILY:METRES[:ID], as in {_EXAMPLE}")
        family = match[1].lower().removeprefix("tag").removeprefix("apriltag_")
        if family not in FAMILIES:
            raise GeometryError(f"unknown family of tags {match[1]!r}; known are {', '.join(FAMILIES)}")
        try:
            size_m = float(match[2])
        except ValueError:
            size_m = float("nan")
        if not LEAST_SIZE_M <= size_m <= MOST_SIZE_M:
            raise GeometryError(
                f"a tag of {match[2]} m; expected the edge of its black square in metres, {LEAST_SIZE_M:g} to"
                f" {MOST_SIZE_M:g}"
            )
        spec = TagSpec(family, size_m, None if match[3] is None else int(match[3]))
        spec.check_id()
        return spec

    def check_id(self) -> None:
        """Raises GeometryError for an id that the family does not have."""
        count = len(_dictionary(self.family).bytesList)
        if self.tag_id is not None and self.tag_id >= count:
            raise GeometryError(f"tag {self.tag_id} of {self.family}; the family has ids 0 to {count - 1}")

    @property
    def corners_m(self) -> NDArray[np.float64]:
        """(4, 3) in the tag's own frame, x right, y up, z out of the paper: top left, top right, bottom right, bottom
        left."""
        half = self.size_m / 2
        return np.array([[-half, half, 0], [half, half, 0], [half, -half, 0], [-half, -half, 0]])

    def __str__(self) -> str:
        return f"{self.family}:{self.size_m:g}" + ("" if self.tag_id is None else f":{self.tag_id}")


@dataclass(frozen=True, eq=False)
class TagSighting:
    """corners: (4, 2) pixels, centres at integer + 0.5, in the order of `TagSpec.corners_m`."""

    tag_id: int
    corners: NDArray[np.float64]


class TagDetector:
    """Callable: picture (H, W, 3) uint8 RGB → the tags in it."""

    def __init__(self, spec: TagSpec) -> None:
        import cv2

        self.spec = spec
        self._detector = cv2.aruco.ArucoDetector(_dictionary(spec.family), cv2.aruco.DetectorParameters())

    def __call__(self, picture: NDArray[np.uint8]) -> list[TagSighting]:
        import cv2

        grey = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8)
        corners, ids, _ = self._detector.detectMarkers(grey)
        found: dict[int, TagSighting | None] = {}
        for places, known in zip(corners, [] if ids is None else ids.ravel().tolist(), strict=True):
            tag_id, rough = int(known), np.asarray(places, np.float64).reshape(4, 2)
            sides = np.linalg.norm(rough - np.roll(rough, 1, axis=0), axis=1)
            if sides.min() < LEAST_SIDE_PX or self.spec.tag_id not in (None, tag_id):
                continue
            exact = refined(grey, rough, tag_picture(self.spec.family, tag_id, cells(self.spec.family)))
            if exact is None:
                continue
            # An id twice in one picture is two pieces of paper, and nobody knows which is which.
            found[tag_id] = None if tag_id in found else TagSighting(tag_id, exact + 0.5)
        return [found_one for _, found_one in sorted(found.items()) if found_one is not None]


def refined(
    grey: NDArray[np.uint8], corners: NDArray[np.float64], pattern: NDArray[np.uint8]
) -> NDArray[np.float64] | None:
    """Corners (4, 2), centres of pixels at integers, where the whole pattern fits best; None where it does not fit.

    A detector's corners are those of a thresholded contour, which lies half a pixel inside of the black square: 5 % of
    a small tag's size. Aligning the pattern with all its edges (enhanced correlation coefficient, Evangelidis and
    Psarakis, PAMI 2008) has no such bias.
    """
    import cv2

    count = len(pattern) + 2  # with the white around it
    side = np.linalg.norm(corners - np.roll(corners, 1, axis=0), axis=1).mean()
    template = np.full((count, count), 255, np.uint8)
    template[1:-1, 1:-1] = pattern
    template = np.kron(template, np.ones((STEP, STEP), np.uint8))
    # Half of the white: what lies beyond it shines into the rest.
    template = template[STEP // 2 : -(STEP // 2), STEP // 2 : -(STEP // 2)]
    low = np.maximum(np.floor(corners.min(0) - 3 * side / len(pattern) - 2).astype(int), 0)
    high = np.ceil(corners.max(0) + 3 * side / len(pattern) + 3).astype(int)
    part = grey[low[1] : high[1], low[0] : high[0]]
    # Cells as large in the one as in the other: both are smoothed by the same number of pixels.
    wider = STEP * len(pattern) / side
    size = np.maximum(1, np.round(np.array(part.shape[::-1]) * wider)).astype(int)
    wider = size / part.shape[::-1]
    part = np.asarray(
        cv2.resize(part, size.tolist(), interpolation=cv2.INTER_CUBIC if wider[0] > 1 else cv2.INTER_AREA)
    )
    edge = np.array([STEP, (count - 1) * STEP]) - STEP // 2 - 0.5
    in_template = np.array([[edge[0], edge[0]], [edge[1], edge[0]], [edge[1], edge[1]], [edge[0], edge[1]]])
    rough = (corners - low + 0.5) * wider - 0.5
    begin = cv2.getPerspectiveTransform(in_template.astype(np.float32), rough.astype(np.float32))
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 40, 1e-6)
    try:
        likeness, warp = cv2.findTransformECC(template, part, begin.astype(np.float32), cv2.MOTION_HOMOGRAPHY, criteria)
    except cv2.error:
        return None
    exact = (cv2.perspectiveTransform(in_template[None], warp.astype(np.float64))[0] + 0.5) / wider - 0.5 + low
    if likeness < LEAST_LIKENESS or np.abs(exact - corners).max() > max(2.0, side / len(pattern)):
        return None
    return np.asarray(exact, np.float64)


def tag_picture(family: str, tag_id: int, side_px: int) -> NDArray[np.uint8]:
    """(side_px, side_px) uint8: the black square with its bits, nothing around it."""
    import cv2

    TagSpec(family, 1.0, tag_id).check_id()
    return np.asarray(cv2.aruco.generateImageMarker(_dictionary(family), tag_id, side_px), np.uint8)


def cells(family: str) -> int:
    """Cells along the edge of the black square, its border included: a printed one should be whole pixels each."""
    return int(_dictionary(family).markerSize) + 2


def _dictionary(family: str):  # type: ignore[no-untyped-def]
    import cv2

    return cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, FAMILIES[family]))
