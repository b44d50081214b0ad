from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CapturedClock(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CAPTURED_CLOCK_UNSPECIFIED: _ClassVar[CapturedClock]
    CAPTURED_CLOCK_UNIX: _ClassVar[CapturedClock]
    CAPTURED_CLOCK_SOURCE: _ClassVar[CapturedClock]

class TrackingState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TRACKING_STATE_UNSPECIFIED: _ClassVar[TrackingState]
    TRACKING_STATE_TRACKING: _ClassVar[TrackingState]
    TRACKING_STATE_LOW_CONFIDENCE: _ClassVar[TrackingState]
    TRACKING_STATE_LOST: _ClassVar[TrackingState]

class LengthUnit(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LENGTH_UNIT_UNSPECIFIED: _ClassVar[LengthUnit]
    LENGTH_UNIT_MODEL: _ClassVar[LengthUnit]
    LENGTH_UNIT_METRE: _ClassVar[LengthUnit]

class SessionState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SESSION_STATE_UNSPECIFIED: _ClassVar[SessionState]
    SESSION_STATE_OPENING: _ClassVar[SessionState]
    SESSION_STATE_RUNNING: _ClassVar[SessionState]
    SESSION_STATE_STALLED: _ClassVar[SessionState]
    SESSION_STATE_RECONNECTING: _ClassVar[SessionState]
    SESSION_STATE_ENDED: _ClassVar[SessionState]
    SESSION_STATE_FAILED: _ClassVar[SessionState]
CAPTURED_CLOCK_UNSPECIFIED: CapturedClock
CAPTURED_CLOCK_UNIX: CapturedClock
CAPTURED_CLOCK_SOURCE: CapturedClock
TRACKING_STATE_UNSPECIFIED: TrackingState
TRACKING_STATE_TRACKING: TrackingState
TRACKING_STATE_LOW_CONFIDENCE: TrackingState
TRACKING_STATE_LOST: TrackingState
LENGTH_UNIT_UNSPECIFIED: LengthUnit
LENGTH_UNIT_MODEL: LengthUnit
LENGTH_UNIT_METRE: LengthUnit
SESSION_STATE_UNSPECIFIED: SessionState
SESSION_STATE_OPENING: SessionState
SESSION_STATE_RUNNING: SessionState
SESSION_STATE_STALLED: SessionState
SESSION_STATE_RECONNECTING: SessionState
SESSION_STATE_ENDED: SessionState
SESSION_STATE_FAILED: SessionState

class Envelope(_message.Message):
    __slots__ = ("schema_major", "schema_minor", "session_id", "sequence", "captured_ns", "published_ns", "epoch", "submap", "revision", "valid", "frame_id", "topic", "captured_clock", "replay", "camera")
    SCHEMA_MAJOR_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_MINOR_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    CAPTURED_NS_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_NS_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SUBMAP_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    VALID_FIELD_NUMBER: _ClassVar[int]
    FRAME_ID_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    CAPTURED_CLOCK_FIELD_NUMBER: _ClassVar[int]
    REPLAY_FIELD_NUMBER: _ClassVar[int]
    CAMERA_FIELD_NUMBER: _ClassVar[int]
    schema_major: int
    schema_minor: int
    session_id: bytes
    sequence: int
    captured_ns: int
    published_ns: int
    epoch: int
    submap: int
    revision: int
    valid: bool
    frame_id: int
    topic: str
    captured_clock: CapturedClock
    replay: bool
    camera: str
    def __init__(self, schema_major: _Optional[int] = ..., schema_minor: _Optional[int] = ..., session_id: _Optional[bytes] = ..., sequence: _Optional[int] = ..., captured_ns: _Optional[int] = ..., published_ns: _Optional[int] = ..., epoch: _Optional[int] = ..., submap: _Optional[int] = ..., revision: _Optional[int] = ..., valid: bool = ..., frame_id: _Optional[int] = ..., topic: _Optional[str] = ..., captured_clock: _Optional[_Union[CapturedClock, str]] = ..., replay: bool = ..., camera: _Optional[str] = ...) -> None: ...

class Vector3(_message.Message):
    __slots__ = ("x", "y", "z")
    X_FIELD_NUMBER: _ClassVar[int]
    Y_FIELD_NUMBER: _ClassVar[int]
    Z_FIELD_NUMBER: _ClassVar[int]
    x: float
    y: float
    z: float
    def __init__(self, x: _Optional[float] = ..., y: _Optional[float] = ..., z: _Optional[float] = ...) -> None: ...

class Quaternion(_message.Message):
    __slots__ = ("x", "y", "z", "w")
    X_FIELD_NUMBER: _ClassVar[int]
    Y_FIELD_NUMBER: _ClassVar[int]
    Z_FIELD_NUMBER: _ClassVar[int]
    W_FIELD_NUMBER: _ClassVar[int]
    x: float
    y: float
    z: float
    w: float
    def __init__(self, x: _Optional[float] = ..., y: _Optional[float] = ..., z: _Optional[float] = ..., w: _Optional[float] = ...) -> None: ...

class Pose(_message.Message):
    __slots__ = ("translation", "rotation")
    TRANSLATION_FIELD_NUMBER: _ClassVar[int]
    ROTATION_FIELD_NUMBER: _ClassVar[int]
    translation: Vector3
    rotation: Quaternion
    def __init__(self, translation: _Optional[_Union[Vector3, _Mapping]] = ..., rotation: _Optional[_Union[Quaternion, _Mapping]] = ...) -> None: ...

class Similarity(_message.Message):
    __slots__ = ("scale", "translation", "rotation")
    SCALE_FIELD_NUMBER: _ClassVar[int]
    TRANSLATION_FIELD_NUMBER: _ClassVar[int]
    ROTATION_FIELD_NUMBER: _ClassVar[int]
    scale: float
    translation: Vector3
    rotation: Quaternion
    def __init__(self, scale: _Optional[float] = ..., translation: _Optional[_Union[Vector3, _Mapping]] = ..., rotation: _Optional[_Union[Quaternion, _Mapping]] = ...) -> None: ...

class Intrinsics(_message.Message):
    __slots__ = ("fx", "fy", "cx", "cy", "width", "height", "rectified", "focal_std")
    FX_FIELD_NUMBER: _ClassVar[int]
    FY_FIELD_NUMBER: _ClassVar[int]
    CX_FIELD_NUMBER: _ClassVar[int]
    CY_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    RECTIFIED_FIELD_NUMBER: _ClassVar[int]
    FOCAL_STD_FIELD_NUMBER: _ClassVar[int]
    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int
    rectified: bool
    focal_std: float
    def __init__(self, fx: _Optional[float] = ..., fy: _Optional[float] = ..., cx: _Optional[float] = ..., cy: _Optional[float] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., rectified: bool = ..., focal_std: _Optional[float] = ...) -> None: ...

class DropCount(_message.Message):
    __slots__ = ("cause", "count")
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    cause: str
    count: int
    def __init__(self, cause: _Optional[str] = ..., count: _Optional[int] = ...) -> None: ...

class FrameResult(_message.Message):
    __slots__ = ("frame_id", "source_id", "epoch", "submap", "revision", "pts_ns", "captured_ns", "published_ns", "frame_name", "world_from_camera", "intrinsics", "depth_intrinsics", "state", "confidence", "valid", "failure_reason", "drops_since_last", "model_ms", "latency_ms", "memory_bytes", "memory_limit_bytes", "window_new", "window_size", "unit", "state_reason", "keyframe_id", "mapped", "covariance", "odom_from_camera", "scale_source", "scale_std", "map_z_up")
    FRAME_ID_FIELD_NUMBER: _ClassVar[int]
    SOURCE_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SUBMAP_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    PTS_NS_FIELD_NUMBER: _ClassVar[int]
    CAPTURED_NS_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_NS_FIELD_NUMBER: _ClassVar[int]
    FRAME_NAME_FIELD_NUMBER: _ClassVar[int]
    WORLD_FROM_CAMERA_FIELD_NUMBER: _ClassVar[int]
    INTRINSICS_FIELD_NUMBER: _ClassVar[int]
    DEPTH_INTRINSICS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    VALID_FIELD_NUMBER: _ClassVar[int]
    FAILURE_REASON_FIELD_NUMBER: _ClassVar[int]
    DROPS_SINCE_LAST_FIELD_NUMBER: _ClassVar[int]
    MODEL_MS_FIELD_NUMBER: _ClassVar[int]
    LATENCY_MS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_LIMIT_BYTES_FIELD_NUMBER: _ClassVar[int]
    WINDOW_NEW_FIELD_NUMBER: _ClassVar[int]
    WINDOW_SIZE_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    STATE_REASON_FIELD_NUMBER: _ClassVar[int]
    KEYFRAME_ID_FIELD_NUMBER: _ClassVar[int]
    MAPPED_FIELD_NUMBER: _ClassVar[int]
    COVARIANCE_FIELD_NUMBER: _ClassVar[int]
    ODOM_FROM_CAMERA_FIELD_NUMBER: _ClassVar[int]
    SCALE_SOURCE_FIELD_NUMBER: _ClassVar[int]
    SCALE_STD_FIELD_NUMBER: _ClassVar[int]
    MAP_Z_UP_FIELD_NUMBER: _ClassVar[int]
    frame_id: int
    source_id: str
    epoch: int
    submap: int
    revision: int
    pts_ns: int
    captured_ns: int
    published_ns: int
    frame_name: str
    world_from_camera: Pose
    intrinsics: Intrinsics
    depth_intrinsics: Intrinsics
    state: TrackingState
    confidence: float
    valid: bool
    failure_reason: str
    drops_since_last: _containers.RepeatedCompositeFieldContainer[DropCount]
    model_ms: float
    latency_ms: float
    memory_bytes: int
    memory_limit_bytes: int
    window_new: int
    window_size: int
    unit: LengthUnit
    state_reason: str
    keyframe_id: int
    mapped: bool
    covariance: _containers.RepeatedScalarFieldContainer[float]
    odom_from_camera: Pose
    scale_source: str
    scale_std: float
    map_z_up: bool
    def __init__(self, frame_id: _Optional[int] = ..., source_id: _Optional[str] = ..., epoch: _Optional[int] = ..., submap: _Optional[int] = ..., revision: _Optional[int] = ..., pts_ns: _Optional[int] = ..., captured_ns: _Optional[int] = ..., published_ns: _Optional[int] = ..., frame_name: _Optional[str] = ..., world_from_camera: _Optional[_Union[Pose, _Mapping]] = ..., intrinsics: _Optional[_Union[Intrinsics, _Mapping]] = ..., depth_intrinsics: _Optional[_Union[Intrinsics, _Mapping]] = ..., state: _Optional[_Union[TrackingState, str]] = ..., confidence: _Optional[float] = ..., valid: bool = ..., failure_reason: _Optional[str] = ..., drops_since_last: _Optional[_Iterable[_Union[DropCount, _Mapping]]] = ..., model_ms: _Optional[float] = ..., latency_ms: _Optional[float] = ..., memory_bytes: _Optional[int] = ..., memory_limit_bytes: _Optional[int] = ..., window_new: _Optional[int] = ..., window_size: _Optional[int] = ..., unit: _Optional[_Union[LengthUnit, str]] = ..., state_reason: _Optional[str] = ..., keyframe_id: _Optional[int] = ..., mapped: bool = ..., covariance: _Optional[_Iterable[float]] = ..., odom_from_camera: _Optional[_Union[Pose, _Mapping]] = ..., scale_source: _Optional[str] = ..., scale_std: _Optional[float] = ..., map_z_up: bool = ...) -> None: ...

class MapCorrection(_message.Message):
    __slots__ = ("submap", "revision", "map_from_submap", "reason", "unit", "map_z_up")
    SUBMAP_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    MAP_FROM_SUBMAP_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    MAP_Z_UP_FIELD_NUMBER: _ClassVar[int]
    submap: int
    revision: int
    map_from_submap: Similarity
    reason: str
    unit: LengthUnit
    map_z_up: bool
    def __init__(self, submap: _Optional[int] = ..., revision: _Optional[int] = ..., map_from_submap: _Optional[_Union[Similarity, _Mapping]] = ..., reason: _Optional[str] = ..., unit: _Optional[_Union[LengthUnit, str]] = ..., map_z_up: bool = ...) -> None: ...

class MapCorrections(_message.Message):
    __slots__ = ("corrections", "map_frame")
    CORRECTIONS_FIELD_NUMBER: _ClassVar[int]
    MAP_FRAME_FIELD_NUMBER: _ClassVar[int]
    corrections: _containers.RepeatedCompositeFieldContainer[MapCorrection]
    map_frame: str
    def __init__(self, corrections: _Optional[_Iterable[_Union[MapCorrection, _Mapping]]] = ..., map_frame: _Optional[str] = ...) -> None: ...

class PathCorrection(_message.Message):
    __slots__ = ("frame_id", "submap", "submap_from_camera")
    FRAME_ID_FIELD_NUMBER: _ClassVar[int]
    SUBMAP_FIELD_NUMBER: _ClassVar[int]
    SUBMAP_FROM_CAMERA_FIELD_NUMBER: _ClassVar[int]
    frame_id: int
    submap: int
    submap_from_camera: Pose
    def __init__(self, frame_id: _Optional[int] = ..., submap: _Optional[int] = ..., submap_from_camera: _Optional[_Union[Pose, _Mapping]] = ...) -> None: ...

class PathCorrections(_message.Message):
    __slots__ = ("frames",)
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    frames: _containers.RepeatedCompositeFieldContainer[PathCorrection]
    def __init__(self, frames: _Optional[_Iterable[_Union[PathCorrection, _Mapping]]] = ...) -> None: ...

class Status(_message.Message):
    __slots__ = ("state", "source_id", "frames_in", "frames_processed", "frames_failed", "drops", "frames_per_second", "latency_p50_ms", "latency_p95_ms", "latency_max_ms", "model_ms", "memory_bytes", "memory_limit_bytes", "tracking", "epoch", "submap", "uptime_ns", "last_error", "subscribers", "messages_dropped", "recording_dropped", "model", "frames_off_map", "map_bytes", "map_limit_bytes", "keyframes_dropped", "unit", "scale_source", "scale_std", "map_z_up")
    STATE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_ID_FIELD_NUMBER: _ClassVar[int]
    FRAMES_IN_FIELD_NUMBER: _ClassVar[int]
    FRAMES_PROCESSED_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FAILED_FIELD_NUMBER: _ClassVar[int]
    DROPS_FIELD_NUMBER: _ClassVar[int]
    FRAMES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    LATENCY_P50_MS_FIELD_NUMBER: _ClassVar[int]
    LATENCY_P95_MS_FIELD_NUMBER: _ClassVar[int]
    LATENCY_MAX_MS_FIELD_NUMBER: _ClassVar[int]
    MODEL_MS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_LIMIT_BYTES_FIELD_NUMBER: _ClassVar[int]
    TRACKING_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SUBMAP_FIELD_NUMBER: _ClassVar[int]
    UPTIME_NS_FIELD_NUMBER: _ClassVar[int]
    LAST_ERROR_FIELD_NUMBER: _ClassVar[int]
    SUBSCRIBERS_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_DROPPED_FIELD_NUMBER: _ClassVar[int]
    RECORDING_DROPPED_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    FRAMES_OFF_MAP_FIELD_NUMBER: _ClassVar[int]
    MAP_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAP_LIMIT_BYTES_FIELD_NUMBER: _ClassVar[int]
    KEYFRAMES_DROPPED_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    SCALE_SOURCE_FIELD_NUMBER: _ClassVar[int]
    SCALE_STD_FIELD_NUMBER: _ClassVar[int]
    MAP_Z_UP_FIELD_NUMBER: _ClassVar[int]
    state: SessionState
    source_id: str
    frames_in: int
    frames_processed: int
    frames_failed: int
    drops: _containers.RepeatedCompositeFieldContainer[DropCount]
    frames_per_second: float
    latency_p50_ms: float
    latency_p95_ms: float
    latency_max_ms: float
    model_ms: float
    memory_bytes: int
    memory_limit_bytes: int
    tracking: TrackingState
    epoch: int
    submap: int
    uptime_ns: int
    last_error: str
    subscribers: int
    messages_dropped: int
    recording_dropped: int
    model: str
    frames_off_map: int
    map_bytes: int
    map_limit_bytes: int
    keyframes_dropped: int
    unit: LengthUnit
    scale_source: str
    scale_std: float
    map_z_up: bool
    def __init__(self, state: _Optional[_Union[SessionState, str]] = ..., source_id: _Optional[str] = ..., frames_in: _Optional[int] = ..., frames_processed: _Optional[int] = ..., frames_failed: _Optional[int] = ..., drops: _Optional[_Iterable[_Union[DropCount, _Mapping]]] = ..., frames_per_second: _Optional[float] = ..., latency_p50_ms: _Optional[float] = ..., latency_p95_ms: _Optional[float] = ..., latency_max_ms: _Optional[float] = ..., model_ms: _Optional[float] = ..., memory_bytes: _Optional[int] = ..., memory_limit_bytes: _Optional[int] = ..., tracking: _Optional[_Union[TrackingState, str]] = ..., epoch: _Optional[int] = ..., submap: _Optional[int] = ..., uptime_ns: _Optional[int] = ..., last_error: _Optional[str] = ..., subscribers: _Optional[int] = ..., messages_dropped: _Optional[int] = ..., recording_dropped: _Optional[int] = ..., model: _Optional[str] = ..., frames_off_map: _Optional[int] = ..., map_bytes: _Optional[int] = ..., map_limit_bytes: _Optional[int] = ..., keyframes_dropped: _Optional[int] = ..., unit: _Optional[_Union[LengthUnit, str]] = ..., scale_source: _Optional[str] = ..., scale_std: _Optional[float] = ..., map_z_up: bool = ...) -> None: ...

class TopicPosition(_message.Message):
    __slots__ = ("topic", "next_sequence")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    NEXT_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    topic: str
    next_sequence: int
    def __init__(self, topic: _Optional[str] = ..., next_sequence: _Optional[int] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("schema_major", "schema_minor", "session_id", "positions", "snapshot")
    SCHEMA_MAJOR_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_MINOR_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    schema_major: int
    schema_minor: int
    session_id: bytes
    positions: _containers.RepeatedCompositeFieldContainer[TopicPosition]
    snapshot: bool
    def __init__(self, schema_major: _Optional[int] = ..., schema_minor: _Optional[int] = ..., session_id: _Optional[bytes] = ..., positions: _Optional[_Iterable[_Union[TopicPosition, _Mapping]]] = ..., snapshot: bool = ...) -> None: ...

class SnapshotRequest(_message.Message):
    __slots__ = ("schema_major", "schema_minor", "request_id", "max_points")
    SCHEMA_MAJOR_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_MINOR_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MAX_POINTS_FIELD_NUMBER: _ClassVar[int]
    schema_major: int
    schema_minor: int
    request_id: bytes
    max_points: int
    def __init__(self, schema_major: _Optional[int] = ..., schema_minor: _Optional[int] = ..., request_id: _Optional[bytes] = ..., max_points: _Optional[int] = ...) -> None: ...

class TrajectoryPose(_message.Message):
    __slots__ = ("frame_id", "captured_ns", "submap", "world_from_camera", "camera")
    FRAME_ID_FIELD_NUMBER: _ClassVar[int]
    CAPTURED_NS_FIELD_NUMBER: _ClassVar[int]
    SUBMAP_FIELD_NUMBER: _ClassVar[int]
    WORLD_FROM_CAMERA_FIELD_NUMBER: _ClassVar[int]
    CAMERA_FIELD_NUMBER: _ClassVar[int]
    frame_id: int
    captured_ns: int
    submap: int
    world_from_camera: Pose
    camera: str
    def __init__(self, frame_id: _Optional[int] = ..., captured_ns: _Optional[int] = ..., submap: _Optional[int] = ..., world_from_camera: _Optional[_Union[Pose, _Mapping]] = ..., camera: _Optional[str] = ...) -> None: ...

class SnapshotReply(_message.Message):
    __slots__ = ("schema_major", "schema_minor", "request_id", "session_id", "positions", "trajectory", "corrections", "clouds", "points_left_out", "error")
    SCHEMA_MAJOR_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_MINOR_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    TRAJECTORY_FIELD_NUMBER: _ClassVar[int]
    CORRECTIONS_FIELD_NUMBER: _ClassVar[int]
    CLOUDS_FIELD_NUMBER: _ClassVar[int]
    POINTS_LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    schema_major: int
    schema_minor: int
    request_id: bytes
    session_id: bytes
    positions: _containers.RepeatedCompositeFieldContainer[TopicPosition]
    trajectory: _containers.RepeatedCompositeFieldContainer[TrajectoryPose]
    corrections: _containers.RepeatedCompositeFieldContainer[MapCorrection]
    clouds: _containers.RepeatedScalarFieldContainer[bytes]
    points_left_out: int
    error: str
    def __init__(self, schema_major: _Optional[int] = ..., schema_minor: _Optional[int] = ..., request_id: _Optional[bytes] = ..., session_id: _Optional[bytes] = ..., positions: _Optional[_Iterable[_Union[TopicPosition, _Mapping]]] = ..., trajectory: _Optional[_Iterable[_Union[TrajectoryPose, _Mapping]]] = ..., corrections: _Optional[_Iterable[_Union[MapCorrection, _Mapping]]] = ..., clouds: _Optional[_Iterable[bytes]] = ..., points_left_out: _Optional[int] = ..., error: _Optional[str] = ...) -> None: ...
