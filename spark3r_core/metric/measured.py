"""All that says how long a unit of one map is and which way is up, gathered while the map grows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spark3r_core.errors import GeometryError
from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.metric.baseline import BaselineEvidence
from spark3r_core.metric.bent import Bends
from spark3r_core.metric.distance import DistanceEvidence
from spark3r_core.metric.floor import Floor, FloorEvidence, low_points
from spark3r_core.metric.gps import GpsEvidence, KnownPlaces
from spark3r_core.metric.gps_fit import PlacesFit
from spark3r_core.metric.gravity import ROBOT_FROM_OPTICAL, levelled
from spark3r_core.metric.options import MetricOptions
from spark3r_core.metric.scale import Scale, ScaleEvidence, joined
from spark3r_core.metric.sensor_depth import DepthRatio, SensorDepthEvidence
from spark3r_core.metric.tag_evidence import TagDepth, TagEvidence
from spark3r_core.metric.tag_fit import TagFit
from spark3r_core.metric.tags import TagSighting

Array = NDArray[np.float64]
MOST_LEAN_STD = 0.1  # radians: up is not known worse than this

# The tag's own axes as those of a robot's map: z up, and x along the paper's right edge or out of the wall.
_ORIGIN_AXES = {
    "floor": np.eye(3),
    "wall": np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
}


@dataclass(frozen=True, eq=False)
class Measured:
    """What a map is in metres: `scale`; `up` (3,) in the map's axes, None where unknown; `origin`: the pose, in metres,
    that robot_from_map is to give the map, None without one."""

    scale: Scale
    up: Array | None
    origin: Sim3 | None


class MetricMap:
    """Of one map; another one, begun after a loss, has its own."""

    def __init__(self, options: MetricOptions) -> None:
        self.options = options
        self._tags = None if options.tag is None else TagEvidence(options.tag)
        self._floor = None if options.camera_height_m is None else FloorEvidence(options.camera_height_m)
        self._sensor = SensorDepthEvidence()
        self._baseline = None if options.baseline is None else BaselineEvidence(*options.baseline)
        self._distance = None if options.distance is None else DistanceEvidence(*options.distance)
        self._gps = GpsEvidence(options.gps_antenna)
        self._bends: dict[int, Array] = {}

    @property
    def asks(self) -> bool:
        """Whether anything may be measured here."""
        return bool(self.options) or self._sensor.has_any or self._gps.has_any

    def bent(self, bends: Bends) -> None:
        """By what the depth of these keyframes is off, as known from now on."""
        self._bends.update(bends)

    def bend(self, keyframe_id: int) -> Array | None:
        """What is known of a keyframe, see `Bends`."""
        return self._bends.get(keyframe_id)

    def saw_tag(
        self, sighting: TagSighting, keyframe_id: int, depth: TagDepth | None, picture_wh: tuple[int, int]
    ) -> None:
        """See `TagEvidence.add`."""
        if self._tags is not None:
            self._tags.add(sighting, keyframe_id, depth, picture_wh)

    def read_tags(self, keyframe_id: int, depth: NDArray[np.float32]) -> None:
        """See `TagEvidence.read`."""
        if self._tags is not None:
            self._tags.read(keyframe_id, depth)

    def wants_view(self, tags: Sequence[TagSighting], keyframe_id: int, distance: float) -> bool:
        """See `TagEvidence.wants_view`."""
        return self._tags is not None and self._tags.wants_view(tags, keyframe_id, distance)

    def wants_time(self, time_s: float) -> bool:
        """See `BaselineEvidence.wants_keyframe`."""
        return self._baseline is not None and self._baseline.wants_keyframe(time_s)

    def wants_picture(self, picture: int) -> bool:
        """See `DistanceEvidence.wants_picture`."""
        return self._distance is not None and self._distance.wants_picture(picture)

    def saw_picture(
        self,
        picture: int,
        picture_wh: tuple[int, int],
        keyframe_id: int,
        depth: NDArray[np.float32],
        intrinsics: Array,
        *,
        of_several_views: bool,
    ) -> None:
        """See `DistanceEvidence.add`. Raises GeometryError for a point that lies outside of the picture."""
        if self._distance is not None:
            for point in self._distance.outside(picture, picture_wh):
                raise GeometryError(f"the point {point} of a distance is outside of its picture, {_size(picture_wh)}")
            named = (picture, picture_wh, keyframe_id, depth, intrinsics)
            self._distance.add(*named, of_several_views=of_several_views)

    def saw_frame(self, time_s: float, keyframe_id: int, key_from_camera: Array | None) -> None:
        """See `BaselineEvidence.add`, and of a keyframe `GpsEvidence.add_keyframe`."""
        if self._baseline is not None:
            self._baseline.add(time_s, keyframe_id, key_from_camera)
        if key_from_camera is None:
            self._gps.add_keyframe(time_s, keyframe_id)

    def saw_fix(self, time_s: float, metres: Array, std_m: Array) -> None:
        """See `GpsEvidence.add_fix`."""
        self._gps.add_fix(time_s, metres, std_m)

    def places(self, keyframe_ids: Collection[int]) -> KnownPlaces:
        """See `GpsEvidence.known`."""
        return self._gps.known(keyframe_ids)

    def saw_depth(
        self,
        keyframe_id: int,
        depth: NDArray[np.float32],
        trust: NDArray[np.float32],
        intrinsics: Array,
        *,
        of_several_views: bool = False,
    ) -> None:
        """Depth of a keyframe, (h, w) in its unit, and how far it is trusted; a later one of the same replaces it."""
        if self._floor is not None:
            low = low_points(depth, trust, intrinsics, of_several_views=of_several_views)
            self._floor.add(keyframe_id, low)

    def take_in(self, other: MetricMap) -> None:
        """The evidence of a map that this one was joined with."""
        if self._tags is not None and other._tags is not None:
            self._tags.take_in(other._tags)
        if self._floor is not None and other._floor is not None:
            self._floor.take_in(other._floor)
        if self._baseline is not None and other._baseline is not None:
            self._baseline.take_in(other._baseline)
        if self._distance is not None and other._distance is not None:
            self._distance.take_in(other._distance)
        self._sensor.take_in(other._sensor)
        self._gps.take_in(other._gps)
        self._bends.update(other._bends)

    def saw_depth_image(self, ratio: DepthRatio) -> None:
        """See `SensorDepthEvidence.add`."""
        self._sensor.add(ratio, self._bends)

    def scales(self, map_from_key: Mapping[int, Sim3], camera: Array) -> list[ScaleEvidence]:
        """What each piece of evidence says of the scale; see `measured`."""
        return self._asked(map_from_key, camera)[3]

    def _asked(
        self, map_from_key: Mapping[int, Sim3], camera: Array
    ) -> tuple[dict[int, TagFit], Floor | None, PlacesFit | None, list[ScaleEvidence]]:
        fits = {} if self._tags is None else self._tags.fits(map_from_key, camera, self._bends)
        floor = None if self._floor is None else self._floor.floor(map_from_key, self._bends)
        evidence = self._sensor.scales(map_from_key, self._bends)
        evidence += [] if self._tags is None else self._tags.scales(fits)
        if self._floor is not None and floor is not None:
            evidence.append(self._floor.scale(floor))
        moved = None if self._baseline is None else self._baseline.scale(map_from_key)
        apart = None if self._distance is None else self._distance.scale(map_from_key, self._bends)
        by_gps = self._gps.known(map_from_key).fit(map_from_key)
        known = None if by_gps is None else self._gps.scale(by_gps)
        return fits, floor, by_gps, [*evidence, *(one for one in (moved, apart, known) if one is not None)]

    def measured(self, map_from_key: Mapping[int, Sim3], camera: Array) -> Measured | None:
        """By all evidence, with keyframes where they are now. None while the scale is not known.

        map_from_key: of keyframes by id. camera: (3, 3) of the picture as known now.
        """
        fits, floor, by_gps, evidence = self._asked(map_from_key, camera)
        scale = joined(evidence)
        if scale is None:
            return None
        placed = [fits[tag_id] for tag_id in sorted(fits) if fits[tag_id].turn_std <= MOST_LEAN_STD]
        up = _mean_up(placed, self.options.tag_up)
        if up is None and floor is not None:
            up = floor.normal
        if up is None and by_gps is not None and by_gps.up_std <= MOST_LEAN_STD:
            up = by_gps.metres_from_map.rotation[2]
        origin = None
        if self.options.tag_origin and self.options.tag_up is not None and placed and up is not None:
            axes, fit = _ORIGIN_AXES[self.options.tag_up], placed[0]
            rotation = levelled(axes @ fit.map_from_tag.rotation.T, up)
            centre = fit.map_from_tag.translation
            origin = Sim3(scale.metres_per_unit, rotation, -scale.metres_per_unit * (rotation @ centre))
        return Measured(scale, up, origin)


def robot_from_map(measured: Measured, placed: Sim3, is_level: bool) -> Sim3:
    """Where a map lies once it is measured: in metres, z up where that is known, at the origin where there is one.

    placed: where it lay before, which it keeps as far as nothing else is known. is_level: whether z of the frame of
    reference that it lies in is up already; otherwise that has the axes of the first camera.
    """
    if measured.origin is not None:
        return measured.origin
    rotation = placed.rotation
    if measured.up is not None:
        rotation = levelled(rotation if is_level else ROBOT_FROM_OPTICAL @ rotation, measured.up)
    return Sim3(measured.scale.metres_per_unit, rotation, placed.translation)


def _size(picture_wh: tuple[int, int]) -> str:
    return f"{picture_wh[0]}x{picture_wh[1]} pixels"


def _mean_up(fits: Sequence[TagFit], mounted: str | None) -> Array | None:
    if mounted is None or not fits:
        return None
    ups = np.stack([fit.map_from_tag.rotation @ _ORIGIN_AXES[mounted][2] / fit.turn_std for fit in fits])
    mean = ups.sum(0)
    return np.asarray(mean / np.linalg.norm(mean))
