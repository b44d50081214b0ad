"""One camera's steps as they lie in a map that several cameras have: placed, and numbered apart from the others'.

A camera maps as if it were alone, in a map of its own. Where that lies among the maps of the others is a `Placement`,
which may change; then all of its submaps move. Everything else of a step stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from spark3r_core.geometry.sim3 import Sim3
from spark3r_stream.engine.loop import Sink
from spark3r_stream.engine.results import StepOutput
from spark3r_stream.engine.resumption import Resumption
from spark3r_stream.frame import Frame
from spark3r_stream.wire.messages import FrameOutput, KeyframeOutput, MapCorrection


@dataclass(frozen=True, eq=False)
class Placement:
    """Where a camera's own map lies. map_frame: the name of the map that it lies in. reason: for people."""

    map_frame: str
    map_from_own: Sim3 = field(default_factory=Sim3)
    reason: str = ""


class PlacedSink:
    """Hands steps on to `targets`, placed.

    placement: asked for with every step; a new one moves every submap. on_map: told the name of the map before a step
    that is the first in it. resumption: an earlier run of the camera, which this one goes on.
    """

    def __init__(
        self,
        placement: Callable[[], Placement],
        targets: Sequence[Sink],
        on_map: Callable[[str], None],
        resumption: Resumption | None = None,
    ) -> None:
        self._placement = placement
        self._targets = list(targets)
        self._on_map = on_map
        self._applied = placement()
        self._own: dict[int, Sim3] = {}  # by submap, where it lies in the camera's map
        before = resumption or Resumption()
        self._revisions = dict(before.revisions)  # of what is handed on
        self._submap_of = dict(before.submaps)  # by the keyframe's frame id
        on_map(self._applied.map_frame)

    def window(self, frames: Sequence[Frame], result: StepOutput) -> None:
        reasons = {one.submap: one.reason for one in result.corrections}
        self._own.update((one.submap, one.map_from_submap) for one in result.corrections)
        self._submap_of.update((one.frame_id, one.submap) for one in result.keyframes)
        now = self._placement()
        if now is not self._applied:
            self._applied = now
            self._on_map(now.map_frame)
            reasons = dict.fromkeys(self._own, now.reason)
        corrections = [self._corrected(submap, reason) for submap, reason in sorted(reasons.items())]
        placed = replace(
            result,
            corrections=corrections,
            outputs=[self._output(one) for one in result.outputs],
            keyframes=[self._keyframe(one) for one in result.keyframes],
            refined=[self._keyframe(one) for one in result.refined],
        )
        for target in self._targets:
            target.window(frames, placed)

    def place_again(self) -> None:
        """After the last step: hand on where all lies, if that is known otherwise by now."""
        self.window([], StepOutput([]))

    @property
    def map_frame(self) -> str:
        """The name of the map that submaps lie in now."""
        return self._applied.map_frame

    def settle(self, map_frame: str, map_from_keyframe: Mapping[int, Sim3], reason: str) -> None:
        """After the last step: keyframes, by frame id, lie so in that map; of what else there is each moves along with
        the one next to it."""
        settled = {
            self._submap_of[frame_id]: place
            for frame_id, place in map_from_keyframe.items()
            if frame_id in self._submap_of
        }
        if not settled:
            return
        before, placement = self._own, Placement(map_frame, reason=reason)
        known = sorted(settled)
        for submap in before.keys() - settled.keys():
            near = min(known, key=lambda one: abs(one - submap))
            settled[submap] = settled[near] @ before[near].inverse() @ before[submap]
        self._own = settled
        self._placement = lambda: placement
        self.place_again()

    def _corrected(self, submap: int, reason: str) -> MapCorrection:
        self._revisions[submap] = self._revisions.get(submap, -1) + 1
        return MapCorrection(submap, self._revisions[submap], self._lies(self._own[submap]), reason)

    def _output(self, output: FrameOutput) -> FrameOutput:
        result = replace(output.result, revision=self._revisions.get(output.result.submap, 0))
        return replace(output, result=result, map_from_submap=self._lies(output.map_from_submap))

    def _keyframe(self, keyframe: KeyframeOutput) -> KeyframeOutput:
        revision = self._revisions.get(keyframe.submap, 0)
        return replace(keyframe, revision=revision, map_from_submap=self._lies(keyframe.map_from_submap))

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
        )
