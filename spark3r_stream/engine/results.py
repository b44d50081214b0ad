"""What one step of the engine gives, whichever way it was made: frames, keyframes, corrections, losses."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from spark3r_core.metric.gps import PositionFix
from spark3r_core.metric.sensor_depth import DepthRatio
from spark3r_core.metric.shared_scale import OwnMetres
from spark3r_core.stream.estimates import WindowResult
from spark3r_core.stream.motion_hint import MotionHint
from spark3r_stream.frame import Frame
from spark3r_stream.stats import DropCause
from spark3r_stream.wire.messages import (
    CameraView,
    FrameOutput,
    FrameResult,
    KeyframeOutput,
    LengthUnit,
    MapCorrection,
    PathCorrection,
    TrackingState,
)


@dataclass(frozen=True)
class MapSize:
    """Bytes of the present map, what they may be (0: no limit), and how many keyframes that cost in this step."""

    used_bytes: int
    limit_bytes: int
    dropped: int


@dataclass(frozen=True)
class MapUnit:
    """Of lengths in `map`, see `FrameResult`."""

    unit: LengthUnit = LengthUnit.MODEL
    scale_source: str = ""
    scale_std: float = 0.0
    map_z_up: bool = False

    def as_dict(self) -> dict[str, Any]:
        """For stats.json."""
        plain: dict[str, Any] = {"length": self.unit.name.lower(), "z_up": self.map_z_up}
        if self.unit is LengthUnit.METRE:
            plain |= {"source": self.scale_source, "relative_std": float(f"{self.scale_std:.3g}")}
        return plain


@dataclass(frozen=True, eq=False)
class RunGauge:
    """How a run's present map is published. part: 0 for the map that the run began with. submaps: that lie in it, where
    any was placed in this step."""

    part: int
    metres: OwnMetres
    submaps: frozenset[int] = frozenset()


@dataclass(frozen=True)
class StepOutput:
    """An output per frame that went in, failed ones too, and what else came of it.

    keyframes: mapped and adopted in this step. refined: older ones, whose depth was read off several views since: the
        same again with that depth, to be taken for what came before. corrections: where submaps lie from now on.
    support, admitted, evicted: frame ids: run again by the network, kept in memory, gone from it.
    images, confidence: with windows of every frame: what each estimate was made from, (h, w, 3) uint8 RGB at network
        size, and how far each of its pixels is trusted, (h, w) float32 in (0, 1); by frame id.
    adopted: id of the keyframe that tracking went over to before this step's frame; None without one.
    camera: as the final map has it; with the last step only, and where the camera was learned.
    map_size: where a keyframe was mapped. hint: what another sensor said of the frame's motion;
    depth_ratio: of its depth; fixes: of where an antenna was since the frame before.
    map_unit: of the map after the step; gauge: how it is published. retracked: frames of before, which lie elsewhere on
        their submaps now.
    """

    outputs: list[FrameOutput]
    images: dict[int, np.ndarray] = field(default_factory=dict)
    confidence: dict[int, np.ndarray] = field(default_factory=dict)
    window: WindowResult | None = None
    corrections: list[MapCorrection] = field(default_factory=list)
    failures: dict[DropCause, int] = field(default_factory=dict)
    support: tuple[int, ...] = ()
    admitted: tuple[int, ...] = ()
    evicted: tuple[int, ...] = ()
    keyframes: list[KeyframeOutput] = field(default_factory=list)
    refined: list[KeyframeOutput] = field(default_factory=list)
    adopted: int | None = None
    camera: CameraView | None = None
    map_size: MapSize | None = None
    hint: MotionHint | None = None
    depth_ratio: DepthRatio | None = None
    fixes: tuple[PositionFix, ...] = ()
    map_unit: MapUnit = MapUnit()
    gauge: RunGauge | None = None
    retracked: list[PathCorrection] = field(default_factory=list)


def result_of(frame: Frame, submap: int) -> FrameResult:
    """What every result says of its frame: which it is and when it was; the loop says when it was published. What was
    found out about it is filled in with `replace`."""
    return FrameResult(
        frame_id=frame.frame_id,
        source_id=frame.source_id,
        epoch=frame.epoch,
        submap=submap,
        captured_ns=frame.captured_ns,
        published_ns=0,
        pts_ns=frame.pts_ns,
    )


def failed(result: FrameResult, reason: str) -> FrameOutput:
    """The output of a frame without a pose, and why it has none."""
    return FrameOutput(replace(result, state=TrackingState.LOST, valid=False, failure_reason=reason))


def failed_output(frame: Frame, submap: int, reason: str) -> FrameOutput:
    """The same, of a frame of which nothing more is known."""
    return failed(result_of(frame, submap), reason)


def first_line(error: BaseException) -> str:
    """What an error says, in one line; its kind when it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
