"""What Python gets of a run, as plain numpy arrays, all in one frame of reference: the map's.

Cameras have OpenCV's axes: x to the right, y down, z forward. Poses are 4×4 float64 and map points of the camera to the
map. Pixel centres lie at integer + 0.5. Lengths are model units, the network's guess of a metre, which may be off by a
factor, until `Result.unit` says metre. A result says what was known when its frame was processed; later frames may move
the map, `Map` has it as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry.sim3 import Sim3
from spark3r_stream.engine.loop import EngineStep
from spark3r_stream.frame import Frame
from spark3r_stream.wire.messages import CameraView, FrameOutput, KeyframeOutput, LengthUnit, TrackingState


@dataclass(frozen=True, eq=False)
class Keyframe:
    """A frame that the network has seen: what the map is made of.

    frame_id: of its frame, some frames before the result that brings it. world_from_camera: (4, 4) float64.
    camera: `matrix` (3, 3), `width` and `height` of `depth`, in pixels.
    depth: (h, w) float32, along z. depth_confidence: (h, w) float32 in (0, 1); None with track="off".
    points: (n, 3) float32. colours: (n, 3) uint8 RGB. point_confidence: (n,) float32 in (0, 1).
    is_refined: it came before; its depth was read off several views since, and takes that one's place.
    """

    frame_id: int
    world_from_camera: NDArray[np.float64]
    camera: CameraView
    depth: NDArray[np.float32]
    depth_confidence: NDArray[np.float32] | None
    points: NDArray[np.float32]
    colours: NDArray[np.uint8]
    point_confidence: NDArray[np.float32]
    is_refined: bool = False


@dataclass(frozen=True, eq=False)
class Result:
    """One frame of a run.

    frame_id: counts the frames of the source from 0; gaps are frames that were lost. time_s: seconds; when in its
    sequence the frame comes, or Unix time of a live source. image: (H, W, 3) uint8 RGB as it came.
    state: TRACKING: the pixels confirm the pose. LOW_CONFIDENCE: a guess. LOST: the pose means nothing.
    state_reason: why it is not TRACKING. confidence: share of pixels that agree with the pose, in [0, 1].
    world_from_camera: (4, 4) float64 in the map; None without a pose, `failure` says why.
    unit: of lengths in the map, METRE once that is known: by `scale_source`, with a relative standard deviation of
    `scale_std`. Then every place in the map changes once; map_z_up: its z points up.
    covariance: (6, 6) float64, twist [translation, rotation] in the camera's axes, lengths and radians; None where
    nothing says. odom_from_camera: (4, 4) float64 that never jumps and drifts instead (REP 105); None with track="off".
    camera: of the picture (undistorted where the camera is given): `matrix` (3, 3), `width`, `height`, in pixels; None
    without a pose.
    keyframes: what joined the map with this frame. drops: frames lost since the previous result, by cause.
    """

    frame_id: int
    time_s: float
    image: NDArray[np.uint8]
    state: TrackingState
    state_reason: str
    confidence: float
    world_from_camera: NDArray[np.float64] | None
    covariance: NDArray[np.float64] | None
    odom_from_camera: NDArray[np.float64] | None
    camera: CameraView | None
    failure: str
    keyframes: tuple[Keyframe, ...]
    drops: dict[str, int]
    unit: LengthUnit = LengthUnit.MODEL
    scale_source: str = ""
    scale_std: float = 0.0
    map_z_up: bool = False


@dataclass(frozen=True, eq=False)
class Map:
    """The map as it is now. points: (n, 3) float32. colours: (n, 3) uint8 RGB. confidence: (n,) float32 in (0, 1).

    time_s: (m,) float64 and world_from_camera: (m, 4, 4) float64, of every frame with a pose, as the map has them by
    now: what was moved since the frame was processed is in them.
    """

    points: NDArray[np.float32]
    colours: NDArray[np.uint8]
    confidence: NDArray[np.float32]
    time_s: NDArray[np.float64]
    world_from_camera: NDArray[np.float64]


def results_of(step: EngineStep, has_own_times: bool) -> list[Result]:
    """A result per frame of a step; keyframes of the step go with its first frame."""
    keyframes = [_keyframe(one, False) for one in step.result.keyframes]
    keyframes += [_keyframe(one, True) for one in step.result.refined]
    results = []
    for frame, output in zip(step.frames, step.result.outputs, strict=True):
        own = [keyframe for keyframe in [_seen(output)] if keyframe is not None]
        results.append(_result(frame, output, [*keyframes, *own], has_own_times))
        keyframes = []
    return results


def _result(frame: Frame, output: FrameOutput, keyframes: Sequence[Keyframe], has_own_times: bool) -> Result:
    result = output.result
    pose = result.world_from_camera if result.valid else None
    return Result(
        frame_id=result.frame_id,
        time_s=result.time_ns(has_own_times) / 1e9,
        image=frame.image,
        state=result.state,
        state_reason=result.state_reason,
        confidence=result.confidence,
        world_from_camera=None if pose is None else np.asarray(output.map_from_submap.apply_to_poses(pose)),
        covariance=result.covariance,
        odom_from_camera=result.odom_from_camera,
        camera=result.camera,
        failure=result.failure_reason,
        keyframes=tuple(keyframes),
        drops=dict(result.drops_since_last),
        unit=result.unit,
        scale_source=result.scale_source,
        scale_std=result.scale_std,
        map_z_up=result.map_z_up,
    )


def _keyframe(keyframe: KeyframeOutput, is_refined: bool) -> Keyframe:
    """Its camera is the frame of reference of its submap."""
    place = keyframe.map_from_submap
    return Keyframe(
        keyframe.frame_id,
        np.asarray(place.apply_to_poses(np.eye(4))),
        keyframe.camera,
        keyframe.depth * np.float32(place.scale),
        keyframe.confidence,
        _placed(place, keyframe.points),
        keyframe.colours[:, :3],
        keyframe.point_confidence,
        is_refined,
    )


def _seen(output: FrameOutput) -> Keyframe | None:
    """With windows of every frame, each that the network saw and that may enter the map."""
    result, place = output.result, output.map_from_submap
    if output.depth is None or output.points is None or result.world_from_camera is None:
        return None
    assert output.colours is not None
    assert output.point_confidence is not None
    assert result.depth_camera is not None
    return Keyframe(
        result.frame_id,
        np.asarray(place.apply_to_poses(result.world_from_camera)),
        result.depth_camera,
        output.depth * np.float32(place.scale),
        None,
        _placed(place, output.points),
        output.colours[:, :3],
        output.point_confidence,
    )


def _placed(place: Sim3, points: NDArray[np.float32]) -> NDArray[np.float32]:
    return place.apply_to_points(points).astype(np.float32)
