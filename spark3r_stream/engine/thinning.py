"""Less for a narrow link: fewer topics, frames and points than a run makes, and depth of some keyframes only.

Only what is published is thinned. A recording of the same run holds everything.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from spark3r_stream.engine.results import StepOutput
from spark3r_stream.map.voxel import VoxelCloud
from spark3r_stream.wire import envelope as wire
from spark3r_stream.wire.envelope import Unsealed
from spark3r_stream.wire.messages import FrameOutput, KeyframeOutput

ALWAYS = (wire.STATUS, wire.MAP_CORRECTION, wire.PATH_CORRECTION)  # small, and without them the others are misread
LEAST_POINTS = 8  # that a VoxelCloud has room for
Output = TypeVar("Output", FrameOutput, KeyframeOutput)


@dataclass(frozen=True)
class ThinningOptions:
    """topics: published besides `ALWAYS`; None: all. rate_hz: frames per second of the source's time, at most.
    depth_every: /depth/ of every so many-th keyframe (with windows of every frame: of every so many-th frame).
    cloud_voxel: edge of the cells, in model units, of each of which the most trusted point is published; None: all."""

    topics: frozenset[str] | None = None
    rate_hz: float | None = None
    depth_every: int = 1
    cloud_voxel: float | None = None

    @property
    def leaves_out(self) -> bool:
        return self != ThinningOptions()


class Thinning:
    """Thins the steps of one run, and the messages made of them."""

    def __init__(self, options: ThinningOptions) -> None:
        self._options = options
        self._due_ns: int | None = None
        self._drops: Counter[str] = Counter()  # reported by frames that were left out
        self._depths = 0  # of frames

    def step(self, result: StepOutput) -> StepOutput:
        """With the frames that are due, and fewer points. Losses that a frame left out reported go to the next one."""
        if not self._options.leaves_out:
            return result
        outputs = []
        for output in result.outputs:
            self._drops.update(output.result.drops_since_last)
            if self._is_due(output.result.captured_ns):
                told = replace(output.result, drops_since_last=dict(self._drops))
                self._drops.clear()
                outputs.append(self._with_fewer_points(self._with_depth_if_due(replace(output, result=told))))
        return replace(
            result,
            outputs=outputs,
            keyframes=[self._with_fewer_points(keyframe) for keyframe in result.keyframes],
            refined=[self._with_fewer_points(keyframe) for keyframe in result.refined],
        )

    def of_keyframe(self, messages: list[Unsealed], number: int) -> list[Unsealed]:
        """Its messages that are wanted; the same ones when its depth comes once more. number: of its submap among its
        own camera's, whatever that is called where several cameras are published."""
        has_depth = number % self._options.depth_every == 0
        return [one for one in self.wanted(messages) if one.topic != wire.DEPTH or has_depth]

    def wanted(self, messages: list[Unsealed]) -> list[Unsealed]:
        """Those of the topics that were asked for."""
        topics = self._options.topics
        return [one for one in messages if topics is None or one.topic in topics or one.topic in ALWAYS]

    def _is_due(self, captured_ns: int) -> bool:
        """Whether this frame is one of `rate_hz`; on average that is kept with any frame rate of the source."""
        if self._options.rate_hz is None:
            return True
        period_ns = int(1e9 / self._options.rate_hz)
        due_ns = self._due_ns
        if due_ns is not None and due_ns - period_ns <= captured_ns < due_ns:
            return False
        # a source that was silent, or whose clock went back, begins anew
        is_next = due_ns is not None and due_ns <= captured_ns < due_ns + period_ns
        self._due_ns = (due_ns if is_next and due_ns is not None else captured_ns) + period_ns
        return True

    def _with_depth_if_due(self, output: FrameOutput) -> FrameOutput:
        if output.depth is None:
            return output
        self._depths += 1
        return output if (self._depths - 1) % self._options.depth_every == 0 else replace(output, depth=None)

    def _with_fewer_points(self, output: Output) -> Output:
        edge = self._options.cloud_voxel
        if edge is None or output.points is None or output.colours is None or output.point_confidence is None:
            return output
        cells = VoxelCloud(max(LEAST_POINTS, len(output.points)), edge)
        cells.add(output.points, output.colours[:, :3], output.point_confidence)
        cloud = cells.cloud()
        opaque = np.full((len(cloud.points), 1), 255, np.uint8)
        colours = np.concatenate([cloud.colours, opaque], axis=1)
        return replace(output, points=cloud.points, colours=colours, point_confidence=cloud.confidence)
