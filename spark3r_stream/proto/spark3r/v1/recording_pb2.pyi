from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StreamFormat(_message.Message):
    __slots__ = ("width", "height", "pixel_format", "color_range", "colorspace", "low_delay", "pixel_aspect_numerator", "pixel_aspect_denominator")
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    PIXEL_FORMAT_FIELD_NUMBER: _ClassVar[int]
    COLOR_RANGE_FIELD_NUMBER: _ClassVar[int]
    COLORSPACE_FIELD_NUMBER: _ClassVar[int]
    LOW_DELAY_FIELD_NUMBER: _ClassVar[int]
    PIXEL_ASPECT_NUMERATOR_FIELD_NUMBER: _ClassVar[int]
    PIXEL_ASPECT_DENOMINATOR_FIELD_NUMBER: _ClassVar[int]
    width: int
    height: int
    pixel_format: str
    color_range: int
    colorspace: int
    low_delay: bool
    pixel_aspect_numerator: int
    pixel_aspect_denominator: int
    def __init__(self, width: _Optional[int] = ..., height: _Optional[int] = ..., pixel_format: _Optional[str] = ..., color_range: _Optional[int] = ..., colorspace: _Optional[int] = ..., low_delay: bool = ..., pixel_aspect_numerator: _Optional[int] = ..., pixel_aspect_denominator: _Optional[int] = ...) -> None: ...

class InputPacket(_message.Message):
    __slots__ = ("source_id", "epoch", "index", "received_ns", "codec", "extradata", "pts", "dts", "time_base_numerator", "time_base_denominator", "keyframe", "data", "display_matrix", "stream", "discarded")
    SOURCE_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_NS_FIELD_NUMBER: _ClassVar[int]
    CODEC_FIELD_NUMBER: _ClassVar[int]
    EXTRADATA_FIELD_NUMBER: _ClassVar[int]
    PTS_FIELD_NUMBER: _ClassVar[int]
    DTS_FIELD_NUMBER: _ClassVar[int]
    TIME_BASE_NUMERATOR_FIELD_NUMBER: _ClassVar[int]
    TIME_BASE_DENOMINATOR_FIELD_NUMBER: _ClassVar[int]
    KEYFRAME_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_MATRIX_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    DISCARDED_FIELD_NUMBER: _ClassVar[int]
    source_id: str
    epoch: int
    index: int
    received_ns: int
    codec: str
    extradata: bytes
    pts: int
    dts: int
    time_base_numerator: int
    time_base_denominator: int
    keyframe: bool
    data: bytes
    display_matrix: _containers.RepeatedScalarFieldContainer[int]
    stream: StreamFormat
    discarded: bool
    def __init__(self, source_id: _Optional[str] = ..., epoch: _Optional[int] = ..., index: _Optional[int] = ..., received_ns: _Optional[int] = ..., codec: _Optional[str] = ..., extradata: _Optional[bytes] = ..., pts: _Optional[int] = ..., dts: _Optional[int] = ..., time_base_numerator: _Optional[int] = ..., time_base_denominator: _Optional[int] = ..., keyframe: bool = ..., data: _Optional[bytes] = ..., display_matrix: _Optional[_Iterable[int]] = ..., stream: _Optional[_Union[StreamFormat, _Mapping]] = ..., discarded: bool = ...) -> None: ...

class Digest(_message.Message):
    __slots__ = ("topic", "frame_id", "captured_ns", "submap", "sha256")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    FRAME_ID_FIELD_NUMBER: _ClassVar[int]
    CAPTURED_NS_FIELD_NUMBER: _ClassVar[int]
    SUBMAP_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    topic: str
    frame_id: int
    captured_ns: int
    submap: int
    sha256: bytes
    def __init__(self, topic: _Optional[str] = ..., frame_id: _Optional[int] = ..., captured_ns: _Optional[int] = ..., submap: _Optional[int] = ..., sha256: _Optional[bytes] = ...) -> None: ...

class MotionHint(_message.Message):
    __slots__ = ("run", "quat_xyzw", "position_xyz", "sure", "variances")
    RUN_FIELD_NUMBER: _ClassVar[int]
    QUAT_XYZW_FIELD_NUMBER: _ClassVar[int]
    POSITION_XYZ_FIELD_NUMBER: _ClassVar[int]
    SURE_FIELD_NUMBER: _ClassVar[int]
    VARIANCES_FIELD_NUMBER: _ClassVar[int]
    run: int
    quat_xyzw: _containers.RepeatedScalarFieldContainer[float]
    position_xyz: _containers.RepeatedScalarFieldContainer[float]
    sure: bool
    variances: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, run: _Optional[int] = ..., quat_xyzw: _Optional[_Iterable[float]] = ..., position_xyz: _Optional[_Iterable[float]] = ..., sure: bool = ..., variances: _Optional[_Iterable[float]] = ...) -> None: ...

class DepthRatio(_message.Message):
    __slots__ = ("keyframe_id", "log_ratio", "log_std")
    KEYFRAME_ID_FIELD_NUMBER: _ClassVar[int]
    LOG_RATIO_FIELD_NUMBER: _ClassVar[int]
    LOG_STD_FIELD_NUMBER: _ClassVar[int]
    keyframe_id: int
    log_ratio: float
    log_std: float
    def __init__(self, keyframe_id: _Optional[int] = ..., log_ratio: _Optional[float] = ..., log_std: _Optional[float] = ...) -> None: ...

class PositionFix(_message.Message):
    __slots__ = ("time_ns", "position", "std_m")
    TIME_NS_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    STD_M_FIELD_NUMBER: _ClassVar[int]
    time_ns: int
    position: _containers.RepeatedScalarFieldContainer[float]
    std_m: float
    def __init__(self, time_ns: _Optional[int] = ..., position: _Optional[_Iterable[float]] = ..., std_m: _Optional[float] = ...) -> None: ...

class FrameTime(_message.Message):
    __slots__ = ("frame_id", "epoch", "pts_ns", "captured_ns", "picture", "hint", "depth_ratio", "fixes")
    FRAME_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    PTS_NS_FIELD_NUMBER: _ClassVar[int]
    CAPTURED_NS_FIELD_NUMBER: _ClassVar[int]
    PICTURE_FIELD_NUMBER: _ClassVar[int]
    HINT_FIELD_NUMBER: _ClassVar[int]
    DEPTH_RATIO_FIELD_NUMBER: _ClassVar[int]
    FIXES_FIELD_NUMBER: _ClassVar[int]
    frame_id: int
    epoch: int
    pts_ns: int
    captured_ns: int
    picture: int
    hint: MotionHint
    depth_ratio: DepthRatio
    fixes: _containers.RepeatedCompositeFieldContainer[PositionFix]
    def __init__(self, frame_id: _Optional[int] = ..., epoch: _Optional[int] = ..., pts_ns: _Optional[int] = ..., captured_ns: _Optional[int] = ..., picture: _Optional[int] = ..., hint: _Optional[_Union[MotionHint, _Mapping]] = ..., depth_ratio: _Optional[_Union[DepthRatio, _Mapping]] = ..., fixes: _Optional[_Iterable[_Union[PositionFix, _Mapping]]] = ...) -> None: ...

class DroppedFrames(_message.Message):
    __slots__ = ("cause", "count", "frame_ids")
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    FRAME_IDS_FIELD_NUMBER: _ClassVar[int]
    cause: str
    count: int
    frame_ids: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, cause: _Optional[str] = ..., count: _Optional[int] = ..., frame_ids: _Optional[_Iterable[int]] = ...) -> None: ...

class Decisions(_message.Message):
    __slots__ = ("window", "new_frames", "support_frame_ids", "admitted_frame_ids", "evicted_frame_ids", "drops", "epoch", "submap", "started_ns", "finished_ns", "threads", "failure_reason", "source_id", "adopted_frame_id")
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    NEW_FRAMES_FIELD_NUMBER: _ClassVar[int]
    SUPPORT_FRAME_IDS_FIELD_NUMBER: _ClassVar[int]
    ADMITTED_FRAME_IDS_FIELD_NUMBER: _ClassVar[int]
    EVICTED_FRAME_IDS_FIELD_NUMBER: _ClassVar[int]
    DROPS_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SUBMAP_FIELD_NUMBER: _ClassVar[int]
    STARTED_NS_FIELD_NUMBER: _ClassVar[int]
    FINISHED_NS_FIELD_NUMBER: _ClassVar[int]
    THREADS_FIELD_NUMBER: _ClassVar[int]
    FAILURE_REASON_FIELD_NUMBER: _ClassVar[int]
    SOURCE_ID_FIELD_NUMBER: _ClassVar[int]
    ADOPTED_FRAME_ID_FIELD_NUMBER: _ClassVar[int]
    window: int
    new_frames: _containers.RepeatedCompositeFieldContainer[FrameTime]
    support_frame_ids: _containers.RepeatedScalarFieldContainer[int]
    admitted_frame_ids: _containers.RepeatedScalarFieldContainer[int]
    evicted_frame_ids: _containers.RepeatedScalarFieldContainer[int]
    drops: _containers.RepeatedCompositeFieldContainer[DroppedFrames]
    epoch: int
    submap: int
    started_ns: int
    finished_ns: int
    threads: int
    failure_reason: str
    source_id: str
    adopted_frame_id: int
    def __init__(self, window: _Optional[int] = ..., new_frames: _Optional[_Iterable[_Union[FrameTime, _Mapping]]] = ..., support_frame_ids: _Optional[_Iterable[int]] = ..., admitted_frame_ids: _Optional[_Iterable[int]] = ..., evicted_frame_ids: _Optional[_Iterable[int]] = ..., drops: _Optional[_Iterable[_Union[DroppedFrames, _Mapping]]] = ..., epoch: _Optional[int] = ..., submap: _Optional[int] = ..., started_ns: _Optional[int] = ..., finished_ns: _Optional[int] = ..., threads: _Optional[int] = ..., failure_reason: _Optional[str] = ..., source_id: _Optional[str] = ..., adopted_frame_id: _Optional[int] = ...) -> None: ...
