"""The gauge in which a run is published: where the present map lies among all, its unit, and which way is up.

Tracker and mapper know nothing of metres: their unit is the model's. What is published differs from it by one
similarity, `all_from_part`, and by the unit of each submap; both are decided here. Once the scale is known, one list of
corrections says where every submap lies from then on, in metres.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry.geodesy import LocalFrame
from spark3r_core.geometry.rotation import rotation_angle
from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.metric.bent import Bends
from spark3r_core.metric.gps import KnownPlaces, PositionFix
from spark3r_core.metric.measured import MetricMap, robot_from_map
from spark3r_core.metric.options import MetricOptions
from spark3r_core.metric.scale import Scale
from spark3r_core.metric.sensor_depth import DepthRatio
from spark3r_core.metric.shared_scale import OwnMetres
from spark3r_core.metric.tag_evidence import TagDepth
from spark3r_core.metric.tags import TagDetector, TagSighting
from spark3r_core.stream.camera_sizes import sampled
from spark3r_core.stream.dense_depth import LEAST_CONFIDENCE, DenseDepth
from spark3r_core.stream.keyframe_map import Keyframe
from spark3r_core.stream.tracked_frame import TrackedFrame
from spark3r_stream.engine.among_positions import AmongPositions
from spark3r_stream.engine.results import MapUnit, RunGauge, StepOutput
from spark3r_stream.engine.submap import Submap
from spark3r_stream.map_file.saved_map import Metres
from spark3r_stream.wire.messages import LengthUnit, MapCorrection

log = logging.getLogger(__name__)

Array = NDArray[np.float64]

MOST_BEFORE = 64  # maps of a run whose metres are remembered
EVERY = 3  # frames, of which one is searched for tags; keyframes always are
# Subscribers are told of a better scale when the one they have is off by so many standard deviations, and of a better
# turn or origin from so many radians or metres on.
MOVED_STDS, MOVED_TURN, MOVED_METRES = 0.5, 0.01, 0.02
# Of a fix that does not say it: a receiver's, whose altitude is known half as well as a rule, and another system's.
RECEIVER_STD, OTHER_STD, ALTITUDE_STDS = 3.0, 0.1, 2.0


@dataclass(frozen=True, eq=False)
class PartGauge:
    """What `MapGauge` knows of one map of a run. number: 0 for the first."""

    number: int
    all_from_part: Sim3
    scale: Scale | None
    metric: MetricMap
    placed: Sim3
    was_level: bool


class MapGauge:
    """Of one run, on the tracking thread; only `look` is called by the thread that reads.

    all_from_part: takes the present map, in the model's unit, to the frame of reference of all. scale: of the present
    map, None while a metre is not known. z_up: whether the z of all points up.
    """

    def __init__(self, options: MetricOptions | None = None) -> None:
        self.options = options or MetricOptions()
        self.all_from_part = Sim3()
        self.scale: Scale | None = None
        self.z_up = False
        self._number = self._begun = 0  # of the present map, and of the newest
        self._before: list[Metres] = []  # of maps that were given up
        self._begun_s: float | None = None  # time of the first frame
        self._earth: LocalFrame | None = None  # in which positions in degrees are metres: about the first one
        self._pictures: dict[int, tuple[int, tuple[int, int]]] = {}  # number and size of keyframes with a named point
        self._placed, self._was_level = Sim3(), False  # of the present map before anything was measured in it
        self._metric = MetricMap(self.options)
        tag = self.options.tag
        self._ahead: TagDetector | None = None if tag is None else TagDetector(tag)
        self._detector: TagDetector | None = None if tag is None else TagDetector(tag)

    def begin_part(self, all_from_camera: Array | None, submaps: Mapping[int, Submap]) -> None:
        """Another map begins, at the last confirmed camera (4, 4): its unit is a guess again, the one before as a
        rule. submaps: of the map that is given up."""
        self.leave(submaps)
        self._begun += 1
        self._number = self._begun
        self._metric, self.scale, self._was_level = MetricMap(self.options), None, self.z_up
        self._placed = self.all_from_part
        if all_from_camera is not None:
            self.place_part(all_from_camera)

    def place_part(self, all_from_camera: Array) -> None:
        """The map that has just begun does so at this camera (4, 4)."""
        self.all_from_part = replace(Sim3.from_matrix(all_from_camera), scale=self.all_from_part.scale)
        self._placed = self.all_from_part

    def go_on_with(self, metres: Metres) -> None:
        """The map that was opened is known in metres already."""
        self.all_from_part = self._placed = metres.metres_from_map
        self.scale = Scale(metres.metres_from_map.scale, metres.std, metres.source)
        self.z_up = self._was_level = metres.z_up

    def metres(self, submaps: Mapping[int, Submap]) -> tuple[Metres, ...]:
        """What a map's file is to hold: of the present map, and of those before. submaps: of the present one."""
        if self.scale is None or not submaps:
            return tuple(self._before)
        now = Metres(min(submaps), self.all_from_part, self.scale.log_std, self.scale.source, self.z_up)
        return (*self._before, now)

    @property
    def part(self) -> PartGauge:
        """Of the present map."""
        return PartGauge(self._number, self.all_from_part, self.scale, self._metric, self._placed, self._was_level)

    def go_on_in(self, part: PartGauge) -> None:
        """The present map is another one from now on, which was given up."""
        self._number = part.number
        self.all_from_part, self.scale, self._metric = part.all_from_part, part.scale, part.metric
        self._placed, self._was_level = part.placed, part.was_level

    def leave(self, submaps: Mapping[int, Submap]) -> None:
        """The present map, of these submaps, is given up, or another one goes on."""
        self._before = list(self.metres(submaps))[-MOST_BEFORE:]

    def take_in(self, part: PartGauge, submaps: Mapping[int, Submap]) -> None:
        """The present map was joined with this one, of these submaps: what was measured there is known of both, and it
        has no metres of its own."""
        self._metric.take_in(part.metric)
        self._before = [one for one in self._before if one.keyframe_id not in submaps]

    def look(self, frame_id: int, picture: NDArray[np.uint8]) -> tuple[TagSighting, ...]:
        """Tags in a picture that is not a keyframe yet."""
        return () if self._ahead is None or frame_id % EVERY else tuple(self._ahead(picture))

    def saw_frame(self, time_s: float, tracked: TrackedFrame) -> None:
        """A frame whose pose the pixels confirm."""
        self._metric.saw_frame(time_s - self._first_s(time_s), tracked.keyframe_id, tracked.key_from_camera)

    def _first_s(self, time_s: float) -> float:
        if self._begun_s is None:
            self._begun_s = time_s
        return self._begun_s

    def saw_depth_image(self, ratio: DepthRatio | None) -> None:
        """What a depth sensor said of a frame, if it did."""
        if ratio is not None:
            self._metric.saw_depth_image(ratio)

    def saw_fixes(self, time_s: float, fixes: Sequence[PositionFix]) -> None:
        """Where an antenna was, as it became known with the frame at this time."""
        begun_s = self._first_s(time_s)
        for fix in fixes:
            if self.options.gps_frame == "local":
                metres, std = np.array(fix.position), np.full(3, fix.std_m or OTHER_STD)
            else:
                self._earth = self._earth or LocalFrame(*fix.position)
                metres = self._earth.enu(fix.position)
                std = (fix.std_m or RECEIVER_STD) * np.array([1.0, 1.0, ALTITUDE_STDS])
            self._metric.saw_fix(fix.time_ns / 1e9 - begun_s, metres, std)

    def known_places(self, submaps: Mapping[int, Submap]) -> KnownPlaces | None:
        """Where keyframes of the present map are by their positions; None where there are none."""
        known = self._metric.places(submaps)
        return known if known.keyframe_ids else None

    def among_positions(self, submaps: Mapping[int, Submap]) -> AmongPositions | None:
        """How the present map, as it is published, lies among positions; None where none became known. submaps: its."""
        known = self.known_places(submaps)
        if known is None:
            return None
        fit = known.fit({frame_id: submap.part_from_submap for frame_id, submap in submaps.items()})
        metres_from_all = None if fit is None else fit.metres_from_map @ self.all_from_part.inverse()
        return AmongPositions(len(known.keyframe_ids), fit, metres_from_all, self._earth)

    @property
    def asks(self) -> bool:
        """Whether anything may be measured, so that it counts how far depth is off."""
        return self._metric.asks

    def bent(self, bends: Bends) -> None:
        """By what the depth of keyframes is off, as the map's points have it now."""
        self._metric.bent(bends)

    def bend(self, keyframe_id: int) -> Array | None:
        """What is known of that for a keyframe."""
        return self._metric.bend(keyframe_id)

    def refined(self, frame_id: int, dense: DenseDepth) -> None:
        """The depth of a keyframe once several views have said what it is."""
        self._metric.saw_depth(frame_id, dense.depth, dense.confidence, dense.intrinsics, of_several_views=True)
        sure = np.where(dense.confidence >= LEAST_CONFIDENCE, dense.depth, np.float32(np.nan))
        self._metric.read_tags(frame_id, sure)
        if frame_id in self._pictures:
            picture, size = self._pictures[frame_id]
            self._metric.saw_picture(picture, size, frame_id, sure, dense.intrinsics, of_several_views=True)

    def wants_time(self, time_s: float) -> bool:
        """Whether the frame at this time should be a keyframe, since a time was named."""
        return self._metric.wants_time(time_s - self._first_s(time_s))

    def wants_picture(self, picture: int) -> bool:
        """Whether the picture of this number should be a keyframe, since a point of it was named."""
        return self._metric.wants_picture(picture)

    def wants_view(self, tags: Sequence[TagSighting], tracked: TrackedFrame) -> bool:
        """Whether a frame that shows these tags should be a keyframe for their sake."""
        return self._metric.wants_view(tags, tracked.keyframe_id, tracked.distance)

    def mapped(self, keyframe: Keyframe, picture: NDArray[np.uint8], number: int, time_s: float) -> None:
        """A keyframe with its picture, which has this number."""
        size = picture.shape[1], picture.shape[0]
        if self._metric.wants_picture(number):
            self._pictures[keyframe.frame_id] = number, size
            named = (number, size, keyframe.frame_id, keyframe.depth, keyframe.depth_intrinsics)
            self._metric.saw_picture(*named, of_several_views=False)
        self._metric.saw_frame(time_s - self._first_s(time_s), keyframe.frame_id, None)
        self._metric.saw_depth(keyframe.frame_id, keyframe.depth, keyframe.confidence, keyframe.depth_intrinsics)
        for tag in () if self._detector is None else self._detector(picture):
            centre = tag.corners.mean(0, keepdims=True).astype(np.float32)
            depth_from_picture = np.asarray(np.linalg.inv(keyframe.picture_from_depth), np.float64)
            z = float(sampled(keyframe.depth, centre, depth_from_picture)[0])
            u, v = centre[0] / size
            depth = TagDepth(z, (float(u), float(v))) if np.isfinite(z) and z > 0 else None
            self._metric.saw_tag(tag, keyframe.frame_id, depth, size)

    def measure(self, submaps: Mapping[int, Submap], camera: Array, *, at_end: bool = False) -> str:
        """Ask all evidence, with keyframes where they lie now. Why every submap lies elsewhere from now on; empty where
        it does not. camera: (3, 3) of the picture. at_end: any better estimate counts."""
        lies = {frame_id: submap.part_from_submap for frame_id, submap in submaps.items()}
        measured = self._metric.measured(lies, camera)
        if measured is None:
            return ""
        was, scale = self.scale, measured.scale
        found = robot_from_map(measured, self._placed, self._was_level)
        if was is not None and not at_end and not _is_off(self.all_from_part, found, scale.log_std):
            return ""
        self.all_from_part, self.scale = found, scale
        self.z_up = self.z_up or measured.up is not None
        known = f"a unit of the map is {scale.metres_per_unit:.4g} m ± {scale.log_std:.1%}, by {scale.source}"
        log.log(logging.INFO if was is None else logging.DEBUG, "%s", known)
        return "the scale became known" if was is None else "the scale is known better"

    def place(self, submap: Submap, part: PartGauge | None = None) -> None:
        """Say where a submap lies, with the next revision. The first time, its unit is chosen: a metre if one is
        known. part: of its map; None: the present one."""
        part = part or self.part
        if submap.revision < 0 and part.scale is not None:
            submap.unit = part.all_from_part.scale * submap.part_from_submap.scale
        submap.revision += 1
        submap.map_from_submap = part.all_from_part @ submap.part_from_submap @ Sim3(1 / submap.unit)

    def correction(self, submap: Submap, reason: str, part: PartGauge | None = None) -> MapCorrection:
        """That a submap was placed. part: as before."""
        unit = LengthUnit.MODEL if (part or self.part).scale is None else LengthUnit.METRE
        return MapCorrection(submap.number, submap.revision, submap.map_from_submap, reason, unit, self.z_up)

    def metres_per_unit(self, submap: Submap) -> float:
        """Of what is tracked on a submap; 1 while that is not known."""
        return 1.0 if self.scale is None else self.all_from_part.scale * submap.part_from_submap.scale

    @property
    def unit(self) -> MapUnit:
        if self.scale is None:
            return MapUnit(map_z_up=self.z_up)
        return MapUnit(LengthUnit.METRE, self.scale.source, self.scale.log_std, self.z_up)

    def stamped(self, result: StepOutput, submaps: Mapping[int, Submap]) -> StepOutput:
        """With the unit that holds after it, on every frame, too. submaps: of the present map."""
        unit = self.unit
        words = {one.name: getattr(unit, one.name) for one in fields(unit)}
        outputs = [replace(output, result=replace(output.result, **words)) for output in result.outputs]
        lie_in_it = frozenset(one.number for one in submaps.values()) if result.corrections else frozenset[int]()
        gauge = RunGauge(self._number, OwnMetres(self.all_from_part, self.scale, self.z_up), lie_in_it)
        return replace(result, outputs=outputs, map_unit=unit, gauge=gauge)


def _is_off(now: Sim3, found: Sim3, log_std: float) -> bool:
    turn = float(rotation_angle(now.rotation.T @ found.rotation))
    return (
        abs(np.log(found.scale / now.scale)) > MOVED_STDS * log_std
        or turn > MOVED_TURN
        or float(np.linalg.norm(found.translation - now.translation)) > MOVED_METRES
    )
