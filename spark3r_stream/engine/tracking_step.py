"""What tracking carries from one part of a step to the next, and gathers on the way through it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from spark3r_core.metric.gps import PositionFix
from spark3r_core.metric.sensor_depth import DepthRatio, SensorDepth
from spark3r_core.metric.tags import TagSighting
from spark3r_core.photometric.assumed import NETWORK_FOCAL_SIGMA
from spark3r_core.photometric.levels import Level
from spark3r_core.stream.camera_sizes import CameraSizes, intrinsics_of
from spark3r_core.stream.estimates import WindowResult
from spark3r_core.stream.map_update import MapUpdate
from spark3r_core.stream.motion_hint import MotionHint
from spark3r_core.stream.reference import Reference
from spark3r_core.stream.tracked_frame import TrackedFrame
from spark3r_stream.engine.results import MapSize, StepOutput
from spark3r_stream.frame import Frame
from spark3r_stream.stats import DropCause
from spark3r_stream.wire.messages import CameraView, FrameOutput, KeyframeOutput, MapCorrection, PathCorrection


class MotionSensor(Protocol):
    """Another sensor that says how the camera moves."""

    def of(self, frame: Frame) -> MotionHint:
        """Called with every frame, in order."""
        ...

    def tracked(self, frame: Frame, odom_from_camera: np.ndarray | None) -> None:
        """What came of it, (4, 4); None where it was not aligned."""
        ...


class DepthSensor(Protocol):
    """A sensor beside the camera whose depth images are registered to its undistorted pictures."""

    def of(self, frame: Frame, size: tuple[int, int]) -> SensorDepth | None:
        """A depth image that is known now, of this frame or of an earlier one; never waits. size: (width, height) of
        the frame's picture. Called with every frame whose pose the pixels confirm, in order."""
        ...


class PositionSensor(Protocol):
    """A sensor beside the camera that knows where it is in metres."""

    def of(self, frame: Frame) -> tuple[PositionFix, ...]:
        """Called with every frame, in order: what is known since the one before."""
        ...


@dataclass(frozen=True)
class Prepared:
    """A frame's picture, undistorted and seen by `view`, its sizes, and at the tracker's its grey (H, W) and pyramid.

    jpeg: that picture, where it is published; else empty. tags: seen in it, where they are looked for.
    """

    picture: np.ndarray
    view: CameraView | None
    sizes: CameraSizes
    grey: NDArray[np.uint8]
    pyramid: list[Level]
    jpeg: bytes = b""
    tags: tuple[TagSighting, ...] = ()

    @property
    def intrinsics(self) -> NDArray[np.float64] | None:
        """(3, 3) of the picture, where the user gave the camera."""
        return None if self.view is None else self.view.matrix


@dataclass(frozen=True)
class PictureFacts:
    """What all pictures of a map have in common. view: of them, where the user gave the camera."""

    sizes: CameraSizes
    view: CameraView | None

    def camera(self, update: MapUpdate) -> NDArray[np.float64]:
        """(3, 3) of the pictures, as known now."""
        return intrinsics_of(update.focal, self.sizes.picture_hw) if self.view is None else self.view.matrix

    def learned_camera(self, update: MapUpdate) -> CameraView | None:
        """What was learned of the camera; nothing where the user gave it."""
        if self.view is not None:
            return None
        height, width = self.sizes.picture_hw
        return CameraView(self.camera(update), width, height, focal_std=focal_std(update.focal_std))


@dataclass(frozen=True)
class Tracked:
    """A frame that was tracked, with what a keyframe would be made of."""

    frame: Frame
    prepared: Prepared
    tracked: TrackedFrame
    reference: Reference


@dataclass(frozen=True)
class PublishFacts:
    """What the request of a keyframe carries for its publication.

    is_extra: the camera has hardly moved; it is a keyframe for what it shows of the scene's size. On so short a way
    tracking and the map need not agree.
    """

    frame: Frame
    tracked_submap: int | None
    is_extra: bool = False


class Step:
    """What gathers on the way through one step."""

    def __init__(self, hint: MotionHint | None = None, fixes: tuple[PositionFix, ...] = ()) -> None:
        self.hint, self.fixes = hint, fixes
        self.depth_ratio: DepthRatio | None = None
        self.keyframes: list[KeyframeOutput] = []
        self.refined: list[KeyframeOutput] = []
        self.corrections: list[MapCorrection] = []
        self.window: WindowResult | None = None
        self.adopted: int | None = None
        self.camera: CameraView | None = None
        self.map_size: MapSize | None = None
        self.retracked: list[PathCorrection] = []

    def result(self, output: FrameOutput | None, failures: dict[DropCause, int] | None = None) -> StepOutput:
        window = self.window
        return StepOutput(
            outputs=[] if output is None else [output],
            window=window,
            corrections=self.corrections,
            failures=failures or {},
            support=() if window is None else window.support,
            admitted=() if window is None else window.admitted,
            evicted=() if window is None else window.evicted,
            keyframes=self.keyframes,
            refined=self.refined,
            adopted=self.adopted,
            camera=self.camera,
            map_size=self.map_size,
            hint=self.hint,
            depth_ratio=self.depth_ratio,
            fixes=self.fixes,
            retracked=self.retracked,
        )


def covariance_of(tracked: TrackedFrame) -> np.ndarray | None:
    """(6, 6) symmetric; None where nothing says: of a guess, or where the equations were singular."""
    covariance = (tracked.covariance + tracked.covariance.T) / 2
    if not tracked.aligned or not np.isfinite(covariance).all() or np.linalg.eigvalsh(covariance)[0] < 0:
        return None
    return np.asarray(covariance, np.float64)


def focal_std(of_log: float) -> float:
    """Relative standard deviation of a focal length that was learned; while only a network has said it, what is known
    of networks."""
    return min(of_log, NETWORK_FOCAL_SIGMA)


def time_ns(frame: Frame) -> int:
    """When it was taken: by the source's own stamp, which does not jitter, where it has one."""
    return frame.captured_ns if frame.pts_ns is None else frame.pts_ns


def time_s(frame: Frame) -> float:
    return time_ns(frame) / 1e9
