"""Payloads and envelopes: what goes in comes out, and bytes from anyone never raise anything but WireError."""

from __future__ import annotations

import contextlib
import uuid
from dataclasses import replace

import numpy as np
import pytest
from foxglove_schemas_protobuf.CameraCalibration_pb2 import CameraCalibration
from foxglove_schemas_protobuf.CompressedImage_pb2 import CompressedImage
from foxglove_schemas_protobuf.FrameTransform_pb2 import FrameTransform
from foxglove_schemas_protobuf.PackedElementField_pb2 import PackedElementField
from foxglove_schemas_protobuf.PointCloud_pb2 import PointCloud
from foxglove_schemas_protobuf.RawImage_pb2 import RawImage
from hypothesis import given, settings
from hypothesis import strategies as st

from spark3r_core.geometry.sim3 import Sim3
from spark3r_stream.errors import VersionMismatch, WireError
from spark3r_stream.proto import wire_pb2
from spark3r_stream.wire import envelope as wire
from spark3r_stream.wire.decode import decode, decode_payload
from spark3r_stream.wire.encode import encode_frame
from spark3r_stream.wire.envelope import Envelope, Message
from spark3r_stream.wire.foxglove import encode_cloud
from spark3r_stream.wire.messages import (
    Calibration,
    Cloud,
    DepthImage,
    FrameResult,
    MapCorrections,
    Picture,
    PoseInFrame,
    Transform,
)
from tests.helpers_wire import (
    JPEG,
    SESSION,
    START_NS,
    every_kind,
    failed_output,
    make_correction,
    make_output,
    make_sealer,
    make_status,
)

SAMPLES = [(message.topic, message.payload) for message in every_kind()]


def decoded(output, kind):
    contents = [decode_payload(message.topic, message.payload) for message in encode_frame(output)]
    return next(content for content in contents if isinstance(content, kind))


def test_frame_result_comes_back_equal() -> None:
    sent = make_output().result
    received = decoded(make_output(), FrameResult)
    for name in FrameResult.__dataclass_fields__:
        if name not in ("world_from_camera", "camera", "depth_camera"):
            assert getattr(received, name) == getattr(sent, name), name
    np.testing.assert_allclose(received.world_from_camera, sent.world_from_camera, atol=1e-14)
    for name in ("camera", "depth_camera"):
        mine, theirs = getattr(sent, name), getattr(received, name)
        np.testing.assert_allclose(theirs.matrix[:2], mine.matrix[:2])
        assert (theirs.width, theirs.height) == (mine.width, mine.height)
    assert received.frame_name == "submap_3"


def test_a_picture_is_a_jpeg_with_the_time_of_its_frame() -> None:
    output = make_output()
    picture = decoded(output, Picture)
    assert (picture.jpeg, picture.captured_ns, picture.frame_name) == (JPEG, output.result.captured_ns, "camera")
    topics = [message.topic for message in encode_frame(output)]
    assert topics.index(wire.CALIB) + 1 == topics.index(wire.IMAGE), "its camera comes before it"
    assert wire.IMAGE not in [message.topic for message in encode_frame(replace(output, jpeg=b""))]


@pytest.mark.parametrize(
    "payload",
    [
        CompressedImage(format="png", data=JPEG).SerializeToString(),
        CompressedImage(format="jpeg", data=b"\x89PNG").SerializeToString(),
        CompressedImage(format="jpeg", data=JPEG).SerializeToString() * 2,
    ],
    ids=["another format", "no JPEG", "two pictures in one"],
)
def test_what_is_no_picture_is_refused(payload: bytes) -> None:
    with pytest.raises(WireError):
        decode_payload(wire.IMAGE, payload)


def test_absent_time_stays_absent() -> None:
    output = make_output()
    assert decoded(replace(output, result=replace(output.result, pts_ns=None)), FrameResult).pts_ns is None
    assert decoded(replace(output, result=replace(output.result, pts_ns=0)), FrameResult).pts_ns == 0


def test_arrays_come_back_bit_for_bit_as_read_only_views() -> None:
    output = make_output(size=(33, 101), points=1000)
    depth, cloud = decoded(output, DepthImage).depth, decoded(output, Cloud)
    for received, sent in (
        (depth, output.depth),
        (cloud.points, output.points),
        (cloud.colours, output.colours),
        (cloud.confidence, output.point_confidence),
    ):
        assert received.tobytes() == sent.tobytes()
        assert received.dtype == sent.dtype
        assert not received.flags.writeable
        assert received.base is not None, "a copy where a view was promised"
    assert cloud.frame_name == "submap_3"


@pytest.mark.parametrize("points", [0, 1, 6, 7, 819, 820, 200_000])  # where the length takes one byte more
def test_arrays_are_laid_out_as_protobuf_does(points: int) -> None:
    depth, cloud = encode_frame(make_output(size=(5, max(1, points)), points=points))[-2:]
    for message, schema in ((depth, RawImage), (cloud, PointCloud)):
        assert schema.FromString(message.payload).SerializeToString(deterministic=True) == message.payload


def test_an_empty_cloud_is_a_cloud() -> None:
    cloud = decoded(make_output(points=0), Cloud)
    assert cloud.points.shape == (0, 3)
    assert cloud.colours.shape == (0, 4)


def test_transforms_chain_map_submap_camera() -> None:
    output = make_output()
    messages = [decode_payload(m.topic, m.payload) for m in encode_frame(output) if m.topic == wire.TF]
    assert all(isinstance(m, Transform) for m in messages)
    assert [(m.parent, m.child) for m in messages] == [("map", "submap_3"), ("submap_3", "camera")]
    np.testing.assert_allclose(messages[0].parent_from_child[:3, 3], [1, 2, 3])
    np.testing.assert_allclose(messages[1].parent_from_child, output.result.world_from_camera, atol=1e-14)
    np.testing.assert_allclose(decoded(output, PoseInFrame).frame_from_camera, output.result.world_from_camera)


def test_calibration_and_depth_are_what_foxglove_expects() -> None:
    payloads = {message.topic: message.payload for message in encode_frame(make_output())}
    calibration = CameraCalibration.FromString(payloads[wire.CALIB])
    assert list(calibration.K) == [500, 0, 320.5, 0, 501, 240.25, 0, 0, 1]
    assert list(calibration.P) == [500, 0, 320.5, 0, 0, 501, 240.25, 0, 0, 0, 1, 0]
    image = RawImage.FromString(payloads[wire.DEPTH])
    assert (image.encoding, image.step, image.frame_id) == ("32FC1", 32, "camera")
    cloud = PointCloud.FromString(payloads[wire.CLOUD])
    assert cloud.point_stride == 20
    assert [f.name for f in cloud.fields] == ["x", "y", "z", "confidence", "red", "green", "blue", "alpha"]
    assert cloud.pose.orientation.w == 1
    stamp = FrameTransform.FromString(payloads[wire.TF]).timestamp
    assert stamp.seconds * 10**9 + stamp.nanos == START_NS
    assert decoded(make_output(), Calibration).captured_ns == START_NS


def test_an_invalid_frame_sends_its_reason_and_no_geometry() -> None:
    messages = encode_frame(failed_output())
    assert [message.topic for message in messages] == [wire.FRAME]
    assert not messages[0].valid
    result = decode_payload(wire.FRAME, messages[0].payload)
    assert isinstance(result, FrameResult)
    assert (result.valid, result.failure_reason, result.world_from_camera) == (False, "not finite", None)


def test_status_and_correction_come_back_equal() -> None:
    contents = {topic: decode_payload(topic, payload) for topic, payload in SAMPLES}
    assert contents[wire.STATUS] == make_status()
    corrections = contents[wire.MAP_CORRECTION]
    assert isinstance(corrections, MapCorrections)
    (correction,) = corrections.corrections
    assert (correction.submap, correction.revision, correction.reason) == (3, 5, "overlap")
    assert isinstance(correction.map_from_submap, Sim3)
    np.testing.assert_allclose(correction.map_from_submap.matrix, make_correction().map_from_submap.matrix, atol=1e-14)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"depth": np.zeros((2, 3, 1), np.float32)}, "depth of shape"),
        ({"depth": np.zeros((0, 3), np.float32)}, "not empty"),
        ({"points": np.zeros((4, 2), np.float32)}, "points of shape"),
        ({"colours": np.zeros((4, 4), np.uint8)}, "rgba of shape"),
        ({"point_confidence": np.zeros(9, np.float32)}, "confidence of shape"),
    ],
)
def test_wrong_shapes_are_refused_before_they_are_sent(change: dict, complaint: str) -> None:
    with pytest.raises(WireError, match=complaint):
        encode_frame(replace(make_output(), **change))


def test_a_pose_that_is_none_is_refused() -> None:
    output = make_output()
    for pose in (None, np.full((4, 4), np.nan), 2 * np.eye(4)):
        with pytest.raises(WireError):
            encode_frame(replace(output, result=replace(output.result, world_from_camera=pose)))


def test_messages_are_numbered_per_topic() -> None:
    sealer = make_sealer()
    messages = sealer.seal(encode_frame(make_output(0))) + sealer.seal(encode_frame(make_output(1)))
    for topic in wire.TOPICS:
        numbers = [m.envelope.sequence for m in messages if m.topic == topic]
        assert numbers == list(range(len(numbers)))
    assert {m.envelope.session_id for m in messages} == {SESSION}
    assert [m.envelope.published_ns for m in messages if m.topic == wire.FRAME] == [START_NS, START_NS + 10_000_000]


def test_a_refused_message_uses_up_no_number() -> None:
    sealer = make_sealer()
    unsealed = encode_frame(make_output())[0]
    with pytest.raises(WireError, match="at most"):
        sealer.seal([unsealed, replace(unsealed, payload=bytes(1 << 17))])
    assert sealer.seal([unsealed])[0].envelope.sequence == 0


def test_envelope_comes_back_equal() -> None:
    for message in make_sealer().seal(every_kind()):
        assert Message.from_parts(message.parts()) == message
    envelope = Envelope(uuid.uuid4(), 2**64 - 1, -5, 6, 7, 8, 9, False, 10)
    assert Envelope.from_bytes(envelope.to_bytes("/frame/")) == (envelope, "/frame/")


def test_a_later_minor_version_is_read_and_its_new_fields_skipped() -> None:
    """Additive evolution: an unknown field (number 99) in envelope and payload, a longer point."""
    unknown = b"\x9a\x06\x03abc"
    message = make_sealer().seal(encode_frame(make_output()))[0]
    newer = replace(message.envelope, schema_minor=wire.SCHEMA_MINOR + 1)
    parts = [b"/frame/", newer.to_bytes() + unknown, message.payload + unknown]
    assert isinstance(decode(Message.from_parts(parts)), FrameResult)

    points = np.arange(6, dtype=np.float32).reshape(2, 3)
    cloud = PointCloud.FromString(encode_cloud(0, "submap_0", points, None, None))
    cloud.data = b"".join(cloud.data[i : i + 20] + b"more" for i in (0, 20))
    cloud.point_stride = 24
    cloud.fields.append(PackedElementField(name="label", offset=20, type=PackedElementField.UINT32))
    received = decode_payload(wire.CLOUD, cloud.SerializeToString())
    assert isinstance(received, Cloud)
    np.testing.assert_array_equal(received.points, points)
    np.testing.assert_array_equal(received.colours, 255)


def test_another_major_version_names_both() -> None:
    envelope = replace(make_sealer().seal(every_kind())[0].envelope, schema_major=wire.SCHEMA_MAJOR + 1, schema_minor=3)
    with pytest.raises(VersionMismatch, match=rf"{wire.SCHEMA_MAJOR + 1}\.3.*{wire.SCHEMA_MAJOR}\.x"):
        Message.from_parts([b"/frame/", envelope.to_bytes(), b""])


def test_unknown_enum_values_are_not_trusted() -> None:
    payload = wire_pb2.FrameResult.FromString(SAMPLES[0][1])
    payload.state = 99  # type: ignore[assignment]
    result = decode_payload(wire.FRAME, payload.SerializeToString())
    assert isinstance(result, FrameResult)
    assert result.state.name == "LOW_CONFIDENCE"


@pytest.mark.parametrize(
    ("parts", "complaint"),
    [
        ([], "0 parts"),
        ([b"/frame/", b""], "2 parts"),
        ([b"/frame/", b"", b"", b""], "4 parts"),
        ([b"/nothing/", b"", b""], "unknown topic"),
        ([b"\xff", b"", b""], "ASCII"),
        ([b"/frame/", b"", b""], "session id"),
        ([b"/frame/", bytes(600), b""], "envelope of 600"),
        ([b"/frame/", b"\xff\xff", b""], "not an envelope"),
        ([b"/pose/", b"", bytes(5000)], "at most 4096"),
    ],
)
def test_malformed_messages_say_what_is_wrong(parts: list[bytes], complaint: str) -> None:
    with pytest.raises(WireError, match=complaint):
        Message.from_parts(parts)


@pytest.mark.parametrize(
    "change",
    [
        {"width": 0},
        {"height": 1 << 20},
        {"step": 4},
        {"step": 33},
        {"encoding": "16UC1"},
        {"data": b"short"},
    ],
)
def test_depth_that_contradicts_itself_is_refused(change: dict) -> None:
    image = RawImage.FromString(dict(SAMPLES)[wire.DEPTH])
    for name, value in change.items():
        setattr(image, name, value)
    with pytest.raises(WireError):
        decode_payload(wire.DEPTH, image.SerializeToString())


@pytest.mark.parametrize("stride", [0, 1, 19, 21, 2**31, 2**32 - 1])
def test_cloud_with_a_wrong_stride_is_refused(stride: int) -> None:
    cloud = PointCloud.FromString(dict(SAMPLES)[wire.CLOUD])
    cloud.point_stride = stride
    with pytest.raises(WireError):
        decode_payload(wire.CLOUD, cloud.SerializeToString())


@settings(max_examples=300, deadline=None)
@given(topic=st.sampled_from(wire.TOPICS), payload=st.binary(max_size=300))
def test_random_payloads_raise_nothing_but_wire_errors(topic: str, payload: bytes) -> None:
    with contextlib.suppress(WireError):
        decode_payload(topic, payload)


@settings(max_examples=400, deadline=None)
@given(sample=st.sampled_from(SAMPLES), data=st.data())
def test_damaged_payloads_raise_nothing_but_wire_errors(sample: tuple[str, bytes], data: st.DataObject) -> None:
    topic, payload = sample
    start = data.draw(st.integers(0, len(payload)))
    stop = data.draw(st.integers(start, min(len(payload), start + 8)))
    damaged = payload[:start] + data.draw(st.binary(max_size=8)) + payload[stop:]
    with contextlib.suppress(WireError):
        decode_payload(topic, damaged)


@settings(max_examples=200, deadline=None)
@given(parts=st.lists(st.binary(max_size=80), max_size=4), topic=st.sampled_from([*wire.TOPICS, ""]))
def test_random_messages_raise_nothing_but_wire_errors(parts: list[bytes], topic: str) -> None:
    with contextlib.suppress(WireError):
        Message.from_parts([topic.encode(), *parts] if topic else parts)


def test_a_welcome_that_is_right_but_too_long_is_refused() -> None:
    welcome = wire_pb2.Welcome(schema_major=wire.SCHEMA_MAJOR, session_id=bytes(16))
    assert wire.parse_welcome(welcome.SerializeToString()) == welcome
    welcome.positions.add(topic="x" * wire.MAX_WELCOME_BYTES)
    with pytest.raises(WireError, match="at most"):
        wire.parse_welcome(welcome.SerializeToString())
