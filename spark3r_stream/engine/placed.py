"""One camera's steps as they lie in a map that several cameras have: placed, and numbered apart from the others'.

A camera maps as if it were alone, in a map of its own. Where that lies among the maps of the others is a `Placement`,
which may change; then all of its submaps move. With it comes the unit: what a camera publishes is in metres once one of
those that it is joined with knows how long a metre is. Everything else of a step stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from spark3r_core.geometry.sim3 import Sim3
from spark3r_core.metric.shared_scale import OwnMetres
from spark3r_core.metric.steady_odometry import SteadyOdometry
from spark3r_stream.engine.in_unit import frame_in_unit, in_unit, keyframe_in_unit, retracked_in_unit
from spark3r_stream.engine.loop import Sink
from spark3r_stream.engine.results import MapUnit, RunGauge, StepOutput
from spark3r_stream.engine.resumption import Resumption
from spark3r_stream.frame import Frame
from spark3r_stream.wire.messages import FrameOutput, KeyframeOutput, LengthUnit, MapCorrection

SAME_METRE = 0.1  # of the logarithm: by more, what two maps of one camera call a metre is not the same


@dataclass(frozen=True, eq=False)
class Placement:
    """Where a camera's own map lies. map_frame: the name of the map that it lies in. map_from_own: from how the camera
    publishes its own. reason: for people.

    unit: of lengths there, as sure as it is for this camera; None where the map is the camera's alone, and the unit is
    what the camera says.
    """

    map_frame: str
    map_from_own: Sim3 = field(default_factory=Sim3)
    reason: str = ""
    unit: MapUnit | None = None

    def moves(self, before: Placement) -> bool:
        """Whether submaps lie elsewhere than before; in another unit they always do."""
        same = np.array_equal(self.map_from_own.matrix, before.map_from_own.matrix)
        return not same or self.map_frame != before.map_frame


class PlacedSink:
    """Hands steps on to `targets`, placed.

    placement: asked for with every step; a new one moves every submap. on_map: told the name of the map before a step
    that is the first in it. on_metres: told what the camera knows of its own map, before the placement is asked for.
    resumption: an earlier run of the camera, which this one goes on.

    map_unit: as published with the newest step.
    """

    def __init__(
        self,
        placement: Callable[[], Placement],
        targets: Sequence[Sink],
        on_map: Callable[[str], None],
        resumption: Resumption | None = None,
        on_metres: Callable[[OwnMetres], None] = lambda metres: None,
    ) -> None:
        self.map_unit = MapUnit()
        self._placement = placement
        self._targets = list(targets)
        self._on_map, self._on_metres = on_map, on_metres
        self._applied = placement()
        self._part = 0  # of the run, of the newest step
        self._metres = OwnMetres()  # of the map that the camera began with, which is the one that was joined
        self._settled_per_own: float | None = None
        self._odometry = SteadyOdometry()
        self._own: dict[int, Sim3] = {}  # by submap, where it lies in the camera's map,
        self._said: dict[int, MapUnit] = {}  # what the camera itself says of the unit there,
        self._parts: dict[int, int] = {}  # which part of the run it lies in,
        self._units: dict[int, float] = {}  # and lengths in it as published, per length as the camera has them
        before = resumption or Resumption()
        self._revisions = dict(before.revisions)  # of what is handed on
        self._submap_of = dict(before.submaps)  # by the keyframe's frame id
        on_map(self._applied.map_frame)

    def window(self, frames: Sequence[Frame], result: StepOutput) -> None:
        reasons = {one.submap: one.reason for one in result.corrections}
        for one in result.corrections:
            self._own[one.submap] = one.map_from_submap
            self._said[one.submap] = MapUnit(one.unit, map_z_up=one.map_z_up)
        self._submap_of.update((one.frame_id, one.submap) for one in result.keyframes)
        if result.gauge is not None:
            self._take_gauge(result.gauge)
        if self._ask():
            reasons = dict.fromkeys(self._own, self._applied.reason)
        self._hand_on(frames, result, reasons)

    def _hand_on(self, frames: Sequence[Frame], result: StepOutput, reasons: Mapping[int, str]) -> None:
        """The step, placed. reasons: why submaps lie elsewhere from now on, by submap."""
        self.map_unit = self._unit(self._part, result.map_unit)
        for submap in reasons:
            self._units.setdefault(submap, self._new_unit(submap))
        placed = replace(
            result,
            corrections=[self._corrected(submap, reason) for submap, reason in sorted(reasons.items())],
            outputs=[self._output(one) for one in result.outputs],
            keyframes=[self._keyframe(one) for one in result.keyframes],
            refined=[self._keyframe(one) for one in result.refined],
            retracked=[retracked_in_unit(one, self._units.get(one.submap, 1.0)) for one in result.retracked],
            map_unit=self.map_unit,
        )
        for target in self._targets:
            target.window(frames, placed)

    @property
    def map_frame(self) -> str:
        """The name of the map that submaps lie in now."""
        return self._applied.map_frame

    def refresh(self) -> None:
        """After the last step: where submaps lie once others have ended, too."""
        self.window([], StepOutput([], map_unit=self.map_unit))

    def settle(self, placement: Placement, places: Mapping[int, Sim3], before: Mapping[int, Sim3]) -> None:
        """After the last step: keyframes, by frame id, lie so in a map that lies as `placement` says, and lay so in the
        camera's own; of what else there is each moves along with the one next to it."""
        known = {self._submap_of[one]: one for one in places if one in self._submap_of}
        if not known:
            return
        moves = {submap: places[one] @ before[one].inverse() for submap, one in known.items()}
        own_from_published = self._metres.published_from_map.inverse()
        settled = {submap: places[one] for submap, one in known.items()}  # also of what an earlier run has published
        for submap, lies in self._own.items():
            near = min(sorted(moves), key=lambda one: abs(one - submap))
            settled[submap] = moves[near] @ own_from_published @ lies
        self._own = settled
        scale = float(np.median([move.scale for move in moves.values()]))
        self._settled_per_own = placement.map_from_own.scale * scale * own_from_published.scale
        self._placement = lambda: placement
        self._ask()
        self._hand_on([], StepOutput([], map_unit=self.map_unit), dict.fromkeys(settled, placement.reason))

    def _take_gauge(self, gauge: RunGauge) -> None:
        self._part = gauge.part
        self._parts.update(dict.fromkeys(gauge.submaps, gauge.part))
        if gauge.part == 0 and not gauge.metres.is_same(self._metres):
            self._metres = gauge.metres
            self._on_metres(gauge.metres)

    def _ask(self) -> bool:
        """Where the map lies now; whether everything moves."""
        now, before = self._placement(), self._applied
        self._applied = now
        if now.map_frame != before.map_frame:
            self._on_map(now.map_frame)
        return now is not before and now.moves(before)

    @property
    def _per_own(self) -> float:
        """How long a length is as published, per length as the camera itself publishes it."""
        return self._applied.map_from_own.scale if self._settled_per_own is None else self._settled_per_own

    def _unit(self, part: int, own: MapUnit) -> MapUnit:
        """Of lengths as published, in a part of the run where the camera itself says `own`."""
        shared = self._applied.unit
        if shared is None:
            return own
        if part == 0 or shared.unit is LengthUnit.MODEL:
            return shared
        off = abs(float(np.log(self._per_own)))  # another map of the camera is joined with none; its metre is its own
        if own.unit is LengthUnit.MODEL or off > SAME_METRE:
            return MapUnit(map_z_up=shared.map_z_up)
        return replace(own, scale_std=float(np.hypot(own.scale_std, off)), map_z_up=shared.map_z_up)

    def _unit_of(self, submap: int) -> MapUnit:
        """Of the map, as a correction of this submap says it."""
        return self._unit(self._parts.get(submap, 0), self._said.get(submap, MapUnit()))

    def _new_unit(self, submap: int) -> float:
        """A submap that begins where a metre is known begins in metres."""
        is_joined = self._applied.unit is not None and self._parts.get(submap, 0) == 0
        is_metric = is_joined and self._unit_of(submap).unit is LengthUnit.METRE
        return self._per_own * self._own[submap].scale if is_metric else 1.0

    def _corrected(self, submap: int, reason: str) -> MapCorrection:
        self._revisions[submap] = self._revisions.get(submap, -1) + 1
        unit = self._unit_of(submap)
        lies = in_unit(self._lies(self._own[submap]), self._units[submap])
        return MapCorrection(submap, self._revisions[submap], lies, reason, unit.unit, unit.map_z_up)

    def _output(self, output: FrameOutput) -> FrameOutput:
        result = output.result
        changed: dict[str, Any] = {"revision": self._revisions.get(result.submap, 0)}
        if self._applied.unit is not None:
            changed |= {one.name: getattr(self.map_unit, one.name) for one in fields(self.map_unit)}
        if result.odom_from_camera is not None:
            is_metric = self._applied.unit is not None and self.map_unit.unit is LengthUnit.METRE
            factor = self._per_own if is_metric else 1.0
            changed["odom_from_camera"] = self._odometry.published(result.odom_from_camera, factor)
        lies = self._lies(output.map_from_submap)
        placed = replace(output, result=replace(result, **changed), map_from_submap=lies)
        return frame_in_unit(placed, self._units.get(result.submap, 1.0))

    def _keyframe(self, keyframe: KeyframeOutput) -> KeyframeOutput:
        revision = self._revisions.get(keyframe.submap, 0)
        placed = replace(keyframe, revision=revision, map_from_submap=self._lies(keyframe.map_from_submap))
        return keyframe_in_unit(placed, self._units.get(keyframe.submap, 1.0))

    def _lies(self, own: Sim3) -> Sim3:
        return self._applied.map_from_own @ own


@dataclass(frozen=True)
class Numbering:
    """Submaps of one camera among those of `step`: first, first + step, … so that no two cameras have the same."""

    first: int
    step: int

    def of(self, submap: int) -> int:
        return self.first + submap * self.step

    def applied(self, result: StepOutput) -> StepOutput:
        """The step with these numbers."""

        def keyframe(one: KeyframeOutput) -> KeyframeOutput:
            tracked = None if one.tracked_submap is None else self.of(one.tracked_submap)
            return replace(one, submap=self.of(one.submap), tracked_submap=tracked)

        return replace(
            result,
            corrections=[replace(one, submap=self.of(one.submap)) for one in result.corrections],
            outputs=[
                replace(one, result=replace(one.result, submap=self.of(one.result.submap))) for one in result.outputs
            ],
            keyframes=[keyframe(one) for one in result.keyframes],
            refined=[keyframe(one) for one in result.refined],
            retracked=[replace(one, submap=self.of(one.submap)) for one in result.retracked],
        )
