"""What the engine publishes, as plain values: flat dataclasses of numbers, strings and numpy arrays, no protobuf.

`encode.py` and `decode.py` turn them into payloads and back, `envelope.py` puts those into envelopes. docs/wire.md is
the page for other languages. Frames of reference: `map` -> `submap_<k>` and, beside it, `map` -> `odom` -> `camera`.
The pose of a frame is given in its submap; where that lies in the map is `map_from_submap`, the identity until a
correction says otherwise. With `--track off` there is no `odom`: `map` -> `submap_<k>` -> `camera`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from spark3r_core.geometry.camera import Intrinsics
from spark3r_core.geometry.sim3 import Sim3

MAP_FRAME = "map"
ODOM_FRAME = "odom"
CAMERA_FRAME = "camera"


@dataclass(frozen=True)
class FrameNames:
    """Names of the frames of reference around one camera. map: what its submaps are placed in."""

    map: str = MAP_FRAME
    odom: str = ODOM_FRAME
    camera: str = CAMERA_FRAME

    @staticmethod
    def of(camera: str, map_frame: str = MAP_FRAME) -> FrameNames:
        """In a session of several: `left/odom`, `left/camera`."""
        return FrameNames(map_frame, f"{camera}/{ODOM_FRAME}", f"{camera}/{CAMERA_FRAME}")


def submap_frame(submap: int) -> str:
    """The name of a submap's frame of reference."""
    return f"submap_{submap}"


class TrackingState(Enum):
    """How far a frame's pose can be trusted."""

    TRACKING = 1
    LOW_CONFIDENCE = 2
    LOST = 3


class SessionState(Enum):
    """What the publishing process is doing. After ENDED and FAILED no message follows."""

    OPENING = 1
    RUNNING = 2
    STALLED = 3
    RECONNECTING = 4
    ENDED = 5
    FAILED = 6


class CapturedClock(Enum):
    """Which clock `captured_ns` reads: Unix time when a frame was decoded, or the times that a file has itself."""

    UNIX = 1
    SOURCE = 2


class LengthUnit(Enum):
    """What one unit of length means."""

    MODEL = 1
    METRE = 2


@dataclass(frozen=True, eq=False)
class CameraView:
    """A pinhole camera and the size of the image it belongs to.

    matrix: (3, 3) float64, pixels, pixel centres at integer + 0.5.
    rectified: the image is the source's with the distortion of its lens removed; depth and clouds belong to it.
    lens: the camera of the source image then, where it is told: on /calib/.
    focal_std: relative standard deviation of a focal length that was learned; None where the camera was given, or where
    nothing says.
    """

    matrix: NDArray[np.float64]
    width: int
    height: int
    rectified: bool = False
    lens: Intrinsics | None = None
    focal_std: float | None = None


@dataclass(frozen=True, eq=False)
class FrameResult:
    """Topic /frame/: one per processed frame, the failed ones too.

    frame_id: counts the frames the source handed out; never restarts within a session.
    epoch: uninterrupted run of the source.  submap: a keyframe and what was tracked on it; with windows of every frame,
    frames that share one gauge.
    revision: of the submap's place in the map when this was made.
    pts_ns: presentation time from the first frame's zero, None where there is none.
    captured_ns: Unix time (live) or the file's own time, see `Envelope.captured_clock`.  published_ns: Unix time.
    world_from_camera: (4, 4) float64, world = `submap_<k>`, OpenCV axes; None if the frame is not valid.
    camera: of the source image, rectified where the user gave its lens.  depth_camera: of this frame's own depth, None
    without one.
    confidence: share of the keyframe's pixels that agree with the pose; with windows of every frame, the mean of the
    frame's confidence map; in [0, 1].
    failure_reason: empty if valid.  state_reason: why the state is not TRACKING, empty if it is.
    drops_since_last: frames lost between the previous result and this one, by cause.
    model_ms: the network's share of the window.  latency_ms: capture to publication.
    memory_bytes, memory_limit_bytes: of the attention memory.
    window_new: new frames in the window this frame came from; window_size: with the support frames. Zero for a frame
    that was tracked only.
    keyframe_id: the frame whose camera is the origin of the submap; None with windows of every frame.
    mapped: the network saw this frame before it was published. covariance: (6, 6) of world_from_camera, twist
    [translation, rotation] in the camera's axes; None where nothing says. odom_from_camera: (4, 4) in the frame of
    reference that never jumps (REP-105); None with windows of every frame.
    unit: of lengths in `map`, and in the submap times the scale of its `map_from_submap`. scale_source: what a metre
    was learned from, scale_std: its relative standard deviation; empty and 0 with model units. map_z_up: gravity is
    known, and z of `map` is up.
    """

    frame_id: int
    source_id: str
    epoch: int
    submap: int
    captured_ns: int
    published_ns: int
    pts_ns: int | None = None
    revision: int = 0
    world_from_camera: NDArray[np.float64] | None = None
    camera: CameraView | None = None
    depth_camera: CameraView | None = None
    state: TrackingState = TrackingState.TRACKING
    confidence: float = 0.0
    valid: bool = True
    failure_reason: str = ""
    drops_since_last: Mapping[str, int] = field(default_factory=dict)
    model_ms: float = 0.0
    latency_ms: float = 0.0
    memory_bytes: int = 0
    memory_limit_bytes: int = 0
    window_new: int = 0
    window_size: int = 0
    unit: LengthUnit = LengthUnit.MODEL
    state_reason: str = ""
    keyframe_id: int | None = None
    mapped: bool = False
    covariance: NDArray[np.float64] | None = None
    odom_from_camera: NDArray[np.float64] | None = None
    scale_source: str = ""
    scale_std: float = 0.0
    map_z_up: bool = False

    @property
    def frame_name(self) -> str:
        """The frame of reference of the pose: `submap_<k>`."""
        return submap_frame(self.submap)

    def time_ns(self, has_own_times: bool) -> int:
        """When in its sequence it comes, where its source has times of its own; otherwise when it was captured."""
        return self.pts_ns if has_own_times and self.pts_ns is not None else self.captured_ns


@dataclass(frozen=True, eq=False)
class FrameOutput:
    """Everything the engine knows about one frame; `encode.encode_frame` makes its messages.

    depth: (h, w) float32, z in the camera frame, result.unit; h, w as in result.depth_camera.
    points: (N, 3) float32 in the submap's frame.  colours: (N, 4) uint8 red green blue alpha.
    point_confidence: (N,) float32 in (0, 1).
    jpeg: the picture that result.camera sees, undistorted where a camera was given, in the source's size; empty: none.
    The arrays may be None (nothing to publish on that topic); the three of the cloud go together, and are left out
    while the state is not TRACKING: what may lie elsewhere must not enter a map.
    """

    result: FrameResult
    depth: NDArray[np.float32] | None = None
    points: NDArray[np.float32] | None = None
    colours: NDArray[np.uint8] | None = None
    point_confidence: NDArray[np.float32] | None = None
    map_from_submap: Sim3 = field(default_factory=Sim3)
    jpeg: bytes = b""


@dataclass(frozen=True, eq=False)
class KeyframeOutput:
    """A mapped keyframe; `encode.encode_keyframe` makes its messages on /depth_calib/, /depth/ and /cloud/.

    Its camera is the frame of reference `submap_<k>`: depth and points are given in it, so that a correction of the
    map moves them and touches none.

    tracked_submap: the submap its frame was tracked on; None where it begins a map. camera: of depth, (h, w) float32.
    image: (h, w, 3) uint8 RGB and confidence: (h, w) float32 in (0, 1) of the same size. points: (N, 3) float32;
    colours: (N, 4) uint8 red green blue alpha; point_confidence: (N,) float32.
    """

    frame_id: int
    submap: int
    captured_ns: int
    epoch: int
    revision: int
    camera: CameraView
    depth: NDArray[np.float32]
    confidence: NDArray[np.float32]
    image: NDArray[np.uint8]
    points: NDArray[np.float32]
    colours: NDArray[np.uint8]
    point_confidence: NDArray[np.float32]
    map_from_submap: Sim3
    time_ns: int = 0
    tracked_submap: int | None = None

    @property
    def frame_name(self) -> str:
        return submap_frame(self.submap)


@dataclass(frozen=True, eq=False)
class PoseInFrame:
    """Topic /pose/. frame_from_camera: (4, 4) float64."""

    captured_ns: int
    frame_name: str
    frame_from_camera: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Transform:
    """Topic /tf/. parent_from_child: (4, 4) float64, rigid: a submap's scale travels on /map_correction/ only."""

    captured_ns: int
    parent: str
    child: str
    parent_from_child: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Calibration:
    """Topic /calib/: the camera of the source image, with its lens where the user gave one; rectified, also of the
    picture on /image/. Topic /depth_calib/: of the depth that follows, in its frame."""

    captured_ns: int
    camera: CameraView
    frame_name: str = CAMERA_FRAME


@dataclass(frozen=True)
class Picture:
    """Topic /image/: the picture of a frame as a JPEG, seen by the camera on /calib/ of the same frame."""

    captured_ns: int
    jpeg: bytes
    frame_name: str = CAMERA_FRAME


@dataclass(frozen=True, eq=False)
class DepthImage:
    """Topic /depth/. depth: (h, w) float32, z in the camera; a read-only view.

    frame_name: of that camera: the `submap_<k>` of a keyframe, or `camera` with windows of every frame.
    """

    captured_ns: int
    depth: NDArray[np.float32]
    frame_name: str = CAMERA_FRAME


@dataclass(frozen=True, eq=False)
class Cloud:
    """Topic /cloud/: read-only strided views of one buffer, in the frame of reference `frame_name`.

    points: (N, 3) float32.  colours: (N, 4) uint8 red green blue alpha.  confidence: (N,) float32.
    """

    captured_ns: int
    frame_name: str
    points: NDArray[np.float32]
    colours: NDArray[np.uint8]
    confidence: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class MapCorrection:
    """Where a submap lies from now on. The newest revision of a submap wins.

    unit, map_z_up: of the map in which it is given, see `FrameResult`.
    """

    submap: int
    revision: int
    map_from_submap: Sim3
    reason: str = ""
    unit: LengthUnit = LengthUnit.MODEL
    map_z_up: bool = False


@dataclass(frozen=True, eq=False)
class MapCorrections:
    """Topic /map_correction/: what moved together. map_frame: the frame of reference it moved in."""

    corrections: tuple[MapCorrection, ...]
    map_frame: str = MAP_FRAME


@dataclass(frozen=True, eq=False)
class PathCorrection:
    """A frame that was tracked once more, on what is known of the keyframes around it in the end. submap_from_camera:
    (4, 4) on the submap that it was tracked on, in the unit of its `world_from_camera`, whose place it takes."""

    frame_id: int
    submap: int
    submap_from_camera: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PathCorrections:
    """Topic /path_correction/: frames of before, which lie elsewhere on their submaps."""

    frames: tuple[PathCorrection, ...]


@dataclass(frozen=True)
class Status:
    """Topic /status/: once a second, whether frames come or not. Counts are of the whole session.

    frames_in: handed out by the source; frames_processed: with a valid result.
    frames_off_map: valid, but published without points, because their window was not TRACKING.
    frames_per_second: over the last seconds.  latency_*: capture to publication.  model_ms: of the last window.
    messages_dropped: by the publisher's own queue, before any subscriber; recording_dropped: by the recorder's.
    map_bytes: of the present map of keyframes; map_limit_bytes: what they may be, 0 without a limit;
    keyframes_dropped: to keep to it. What was published of those stays valid.
    unit, scale_source, scale_std, map_z_up: as in the newest `FrameResult`.
    """

    state: SessionState
    source_id: str = ""
    frames_in: int = 0
    frames_processed: int = 0
    frames_failed: int = 0
    drops: Mapping[str, int] = field(default_factory=dict)
    frames_per_second: float = 0.0
    latency_p50_ms: float = 0.0
    latency_p95_ms: float = 0.0
    latency_max_ms: float = 0.0
    model_ms: float = 0.0
    memory_bytes: int = 0
    memory_limit_bytes: int = 0
    tracking: TrackingState | None = None
    epoch: int = 0
    submap: int = 0
    uptime_ns: int = 0
    last_error: str = ""
    subscribers: int = 0
    messages_dropped: int = 0
    recording_dropped: int = 0
    model: str = ""
    frames_off_map: int = 0
    map_bytes: int = 0
    map_limit_bytes: int = 0
    keyframes_dropped: int = 0
    unit: LengthUnit = LengthUnit.MODEL
    scale_source: str = ""
    scale_std: float = 0.0
    map_z_up: bool = False


Content = (
    FrameResult
    | PoseInFrame
    | Transform
    | Calibration
    | Picture
    | DepthImage
    | Cloud
    | MapCorrections
    | PathCorrections
    | Status
)
