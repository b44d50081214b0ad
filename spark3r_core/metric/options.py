"""What a user may say of the scene in metres."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from spark3r_core.errors import GeometryError
from spark3r_core.metric.distance import NamedPoint
from spark3r_core.metric.tags import TagSpec

LEAST_HEIGHT_M, MOST_HEIGHT_M = 0.02, 100.0
LEAST_BASELINE_M, MOST_BASELINE_M = 0.01, 10_000.0
MOST_ANTENNA_M = 100.0


@dataclass(frozen=True)
class MetricOptions:
    """What is known of the scene in metres.

    tag: tags of known size to look for. tag_up: how they are mounted, so that they say what is up: upright on a "wall"
    or lying on the "floor". tag_origin: the map's origin is the tag with the smallest id that was seen.
    camera_height_m: at which the camera is carried over the floor. baseline: two times, in seconds from the first
    frame, and how far apart in metres the camera was at them. distance: two points and how many metres they are apart.
    gps_antenna: where an antenna is whose positions come with the frames, in the camera's axes (right, down, ahead),
    metres. gps_frame: what these positions are: degrees and altitude ("wgs84"), or metres with z up ("local").
    """

    tag: TagSpec | None = None
    tag_up: Literal["wall", "floor"] | None = None
    tag_origin: bool = False
    camera_height_m: float | None = None
    baseline: tuple[float, float, float] | None = None
    distance: tuple[NamedPoint, NamedPoint, float] | None = None
    gps_antenna: tuple[float, float, float] = (0.0, 0.0, 0.0)
    gps_frame: Literal["wgs84", "local"] = "wgs84"

    def __post_init__(self) -> None:
        if self.tag is None and (self.tag_up is not None or self.tag_origin):
            raise GeometryError("how a tag is mounted, and that it is the origin, need a tag: give its family and size")
        if self.tag_origin and self.tag_up is None:
            raise GeometryError("a tag as the origin needs to be known as mounted on a wall or on the floor")
        if self.camera_height_m is not None and not LEAST_HEIGHT_M <= self.camera_height_m <= MOST_HEIGHT_M:
            raise GeometryError(
                f"a camera {self.camera_height_m:g} m over the floor; expected {LEAST_HEIGHT_M:g} to"
                f" {MOST_HEIGHT_M:g} m"
            )
        if self.baseline is not None:
            first_s, second_s, metres = self.baseline
            if not 0 <= first_s < second_s < float("inf"):
                raise GeometryError(
                    f"a distance between {first_s:g} s and {second_s:g} s; expected two times in seconds from the first"
                    " frame, the earlier one first"
                )
            _check_length(metres)
        if self.distance is not None:
            first, second, metres = self.distance
            if first == second:
                raise GeometryError(f"a distance from {first} to itself; name two points")
            _check_length(metres)
        if not all(abs(one) <= MOST_ANTENNA_M for one in self.gps_antenna):  # NaN too
            raise GeometryError(
                f"an antenna at {', '.join(f'{one:g}' for one in self.gps_antenna)}; expected metres to the camera's"
                f" right, down and ahead, up to {MOST_ANTENNA_M:g} each"
            )

    def __bool__(self) -> bool:
        """Whether anything is known."""
        return self != MetricOptions()


def _check_length(metres: float) -> None:
    if not LEAST_BASELINE_M <= metres <= MOST_BASELINE_M:
        raise GeometryError(f"a distance of {metres:g} m; expected {LEAST_BASELINE_M:g} to {MOST_BASELINE_M:g} m")
