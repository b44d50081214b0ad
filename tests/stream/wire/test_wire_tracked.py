"""What schema 2 is about: tracked frames with odometry and covariance, keyframes, corrections in lists."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from spark3r_core.geometry import se3
from spark3r_core.geometry.sim3 import Sim3
from spark3r_stream.errors import WireError
from spark3r_stream.proto import wire_pb2
from spark3r_stream.wire import envelope as wire
from spark3r_stream.wire.decode import decode_payload
from spark3r_stream.wire.encode import (
    MOST_CORRECTIONS,
    encode_frame,
    encode_frame_result,
    encode_keyframe,
    encode_map_corrections,
    encode_path_corrections,
)
from spark3r_stream.wire.messages import (
    Calibration,
    Cloud,
    DepthImage,
    FrameResult,
    MapCorrection,
    MapCorrections,
    Transform,
)
from spark3r_stream.wire.plain import frame_as_dict
from tests.helpers_wire import make_correction, make_keyframe, make_output, make_path_correction, make_tracked


def received(result: FrameResult) -> FrameResult:
    content = decode_payload(wire.FRAME, encode_frame_result(result))
    assert isinstance(content, FrameResult)
    return content


def test_a_tracked_frame_comes_back_equal() -> None:
    sent = make_tracked().result
    back = received(sent)
    assert (back.keyframe_id, back.mapped, back.depth_camera) == (0, True, None)
    assert back.covariance is not None
    np.testing.assert_array_equal(back.covariance, sent.covariance)
    np.testing.assert_allclose(back.odom_from_camera, sent.odom_from_camera, atol=1e-14)


@pytest.mark.parametrize("keyframe_id", [None, 0, 1, 2**62])
def test_no_keyframe_is_not_keyframe_0(keyframe_id: int | None) -> None:
    assert received(replace(make_tracked().result, keyframe_id=keyframe_id)).keyframe_id == keyframe_id


def test_with_windows_of_every_frame_nothing_of_the_tracker_is_there() -> None:
    back = received(make_output().result)
    assert (back.keyframe_id, back.mapped, back.covariance, back.odom_from_camera) == (None, False, None, None)
    content = frame_as_dict(back)
    assert content["keyframe_id"] is None
    assert not {"pose_std", "odom_translation", "odom_quat_xyzw"} & set(content)


def test_in_plain_values_a_covariance_is_six_deviations() -> None:
    result = make_tracked().result
    assert result.covariance is not None
    plain = frame_as_dict(replace(result, covariance=np.diag([1.0, 4, 9, 16, 25, 1e-8])))
    assert plain["pose_std"] == [1, 2, 3, 4, 5, 1e-4]
    assert plain["keyframe_id"] == 0
    json.dumps(frame_as_dict(result))


def test_the_first_frame_of_a_map_is_certain_of_itself() -> None:
    back = received(replace(make_tracked().result, covariance=np.zeros((6, 6))))
    np.testing.assert_array_equal(back.covariance, np.zeros((6, 6)))


def test_a_tracked_frame_sends_no_arrays_and_the_tree_of_rep_105() -> None:
    output = make_tracked()
    messages = encode_frame(output)
    assert [m.topic for m in messages] == [wire.FRAME, wire.POSE, wire.TF, wire.TF, wire.TF, wire.CALIB]
    transforms = [decode_payload(m.topic, m.payload) for m in messages if m.topic == wire.TF]
    assert all(isinstance(t, Transform) for t in transforms)
    assert [(t.parent, t.child) for t in transforms] == [("map", "submap_3"), ("map", "odom"), ("odom", "camera")]
    _, map_from_odom, odom_from_camera = (t.parent_from_child for t in transforms)
    np.testing.assert_allclose(odom_from_camera, output.result.odom_from_camera, atol=1e-12)
    in_map = output.map_from_submap.apply_to_poses(output.result.world_from_camera)
    np.testing.assert_allclose(se3.compose(map_from_odom, odom_from_camera), in_map, atol=1e-12)


def test_a_keyframe_sends_its_camera_depth_and_points_in_its_submap() -> None:
    keyframe = make_keyframe(7, points=100)
    messages = encode_keyframe(keyframe)
    assert [m.topic for m in messages] == [wire.DEPTH_CALIB, wire.DEPTH, wire.CLOUD]
    assert {(m.frame_id, m.submap, m.revision, m.epoch, m.captured_ns) for m in messages} == {
        (7, 3, 4, 2, keyframe.captured_ns)
    }
    camera, depth, cloud = (decode_payload(m.topic, m.payload) for m in messages)
    assert isinstance(camera, Calibration)
    assert isinstance(depth, DepthImage)
    assert isinstance(cloud, Cloud)
    assert {camera.frame_name, depth.frame_name, cloud.frame_name} == {"submap_3"}
    np.testing.assert_array_equal(camera.camera.matrix[:2], keyframe.camera.matrix[:2])
    assert (camera.camera.height, camera.camera.width) == depth.depth.shape
    np.testing.assert_array_equal(depth.depth, keyframe.depth)
    np.testing.assert_array_equal(cloud.points, keyframe.points)


def test_without_a_tracker_depth_is_in_the_camera_and_its_camera_goes_before_it() -> None:
    output = make_output()
    messages = encode_frame(output)
    topics = [m.topic for m in messages]
    assert topics.index(wire.DEPTH_CALIB) == topics.index(wire.DEPTH) - 1
    camera, depth = (decode_payload(m.topic, m.payload) for m in messages if m.topic in (wire.DEPTH_CALIB, wire.DEPTH))
    assert isinstance(camera, Calibration)
    assert isinstance(depth, DepthImage)
    assert camera.frame_name == depth.frame_name == "camera"
    assert output.result.depth_camera is not None
    np.testing.assert_array_equal(camera.camera.matrix[:2], output.result.depth_camera.matrix[:2])


def lopsided() -> np.ndarray:
    covariance = np.eye(6)
    covariance[0, 5] = 0.5
    return covariance


def overcorrelated() -> np.ndarray:
    covariance = np.eye(6)
    covariance[1, 2] = covariance[2, 1] = 1.5
    return covariance


HOSTILE_COVARIANCES = [
    (np.full((6, 6), np.nan), "not finite"),
    (np.diag([1, 1, np.inf, 1, 1, 1]), "not finite"),
    (np.diag([1, 1, -1e-3, 1, 1, 1]), "variance of -0.001"),
    (lopsided(), "not symmetric"),
    (overcorrelated(), "beyond 1"),
    (overcorrelated() - np.eye(6), "beyond 1"),
]


@pytest.mark.parametrize(("covariance", "complaint"), HOSTILE_COVARIANCES)
def test_a_covariance_that_is_none_is_neither_read_nor_sent(covariance: np.ndarray, complaint: str) -> None:
    message = wire_pb2.FrameResult.FromString(encode_frame_result(make_tracked().result))
    del message.covariance[:]
    message.covariance.extend(covariance.ravel().tolist())
    with pytest.raises(WireError, match=complaint):
        decode_payload(wire.FRAME, message.SerializeToString())
    with pytest.raises(WireError, match=complaint):
        encode_frame_result(replace(make_tracked().result, covariance=covariance))


@pytest.mark.parametrize("count", [1, 6, 21, 35, 37, 72, 7000])
def test_a_covariance_of_another_length_is_refused(count: int) -> None:
    message = wire_pb2.FrameResult.FromString(encode_frame_result(make_output().result))
    message.covariance.extend([1.0] * count)
    with pytest.raises(WireError, match=f"covariance of {count} numbers; expected 36 or none"):
        decode_payload(wire.FRAME, message.SerializeToString())


@pytest.mark.parametrize("shape", [(36,), (3, 3), (6, 7), (1, 6, 6)])
def test_a_covariance_of_another_shape_is_not_sent(shape: tuple[int, ...]) -> None:
    with pytest.raises(WireError, match="covariance of shape"):
        encode_frame_result(replace(make_tracked().result, covariance=np.zeros(shape)))


def test_rounding_does_not_make_a_covariance_none() -> None:
    covariance = make_tracked().result.covariance
    assert covariance is not None
    rounded = covariance * (1 + 1e-9 * np.random.default_rng(0).normal(size=(6, 6)))
    assert received(replace(make_tracked().result, covariance=rounded)).covariance is not None


def test_odometry_that_is_no_pose_is_refused() -> None:
    for pose in (np.full((4, 4), np.nan), 2 * np.eye(4)):
        with pytest.raises(WireError):
            encode_frame(replace(make_tracked(), result=replace(make_tracked().result, odom_from_camera=pose)))
    message = wire_pb2.FrameResult.FromString(encode_frame_result(make_tracked().result))
    message.odom_from_camera.rotation.w = float("nan")
    with pytest.raises(WireError):
        decode_payload(wire.FRAME, message.SerializeToString())


def corrections_of(payload: bytes) -> tuple[MapCorrection, ...]:
    content = decode_payload(wire.MAP_CORRECTION, payload)
    assert isinstance(content, MapCorrections)
    return content.corrections


def test_what_moved_together_is_one_message() -> None:
    sent = [replace(make_correction(), submap=k, revision=k + 1, reason=f"why {k}") for k in (2, 5, 9)]
    (message,) = encode_map_corrections(sent, 77, epoch=3)
    envelope = (message.captured_ns, message.epoch, message.submap, message.revision, message.frame_id)
    assert envelope == (77, 3, 9, 10, -1)  # submap and revision of the last one
    back = corrections_of(message.payload)
    assert [(c.submap, c.revision, c.reason) for c in back] == [(2, 3, "why 2"), (5, 6, "why 5"), (9, 10, "why 9")]
    for mine, theirs in zip(sent, back, strict=True):
        np.testing.assert_allclose(theirs.map_from_submap.matrix, mine.map_from_submap.matrix, atol=1e-14)


def test_nothing_moved_is_no_message() -> None:
    assert encode_map_corrections([], 0) == []
    assert corrections_of(b"") == ()


def test_a_long_list_becomes_several_messages_that_fit() -> None:
    rng = np.random.default_rng(0)
    reason = "all keyframes adjusted together"
    sent = [
        MapCorrection(2**32 - 1 - k, 2**32 - 1, Sim3.from_matrix(se3.exp(rng.normal(size=6))), reason)
        for k in range(2 * MOST_CORRECTIONS + 1)
    ]
    messages = encode_map_corrections(sent, 0)
    assert [len(corrections_of(m.payload)) for m in messages] == [MOST_CORRECTIONS, MOST_CORRECTIONS, 1]
    assert max(len(m.payload) for m in messages) <= wire.MAX_PAYLOAD_BYTES[wire.MAP_CORRECTION]
    assert [c.submap for m in messages for c in corrections_of(m.payload)] == [c.submap for c in sent]


def test_a_list_of_thousands_of_empty_corrections_is_refused() -> None:
    hostile = wire_pb2.MapCorrections(corrections=[wire_pb2.MapCorrection()] * 4097)
    with pytest.raises(WireError, match="4097 corrections in one message; expected at most 4096"):
        corrections_of(hostile.SerializeToString())


def test_frames_tracked_once_more_survive_the_wire_and_are_bounded() -> None:
    sent = [make_path_correction(i) for i in range(MOST_CORRECTIONS + 1)]
    messages = encode_path_corrections(sent, 7)
    read = [decode_payload(wire.PATH_CORRECTION, m.payload) for m in messages]
    assert [len(one.frames) for one in read] == [MOST_CORRECTIONS, 1]
    assert [m.frame_id for m in messages] == [0, MOST_CORRECTIONS], "in rising order, for comparisons"
    assert max(len(m.payload) for m in messages) <= wire.MAX_PAYLOAD_BYTES[wire.PATH_CORRECTION]
    for one, before in zip([one for each in read for one in each.frames], sent, strict=True):
        assert (one.frame_id, one.submap) == (before.frame_id, before.submap)
        np.testing.assert_allclose(one.submap_from_camera, before.submap_from_camera, atol=1e-12)
    hostile = wire_pb2.PathCorrections.FromString(messages[1].payload)
    hostile.frames[0].submap_from_camera.rotation.w = float("nan")
    with pytest.raises(WireError):
        decode_payload(wire.PATH_CORRECTION, hostile.SerializeToString())
    many = wire_pb2.PathCorrections(frames=[wire_pb2.PathCorrection()] * 4097)
    with pytest.raises(WireError, match="4097 frames in one message; expected at most 4096"):
        decode_payload(wire.PATH_CORRECTION, many.SerializeToString())


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_one_bad_correction_spoils_its_list(scale: float) -> None:
    (message,) = encode_map_corrections([make_correction(), make_correction()], 0)
    hostile = wire_pb2.MapCorrections.FromString(message.payload)
    hostile.corrections[1].map_from_submap.scale = scale
    with pytest.raises(WireError):
        corrections_of(hostile.SerializeToString())


def test_the_deviation_of_a_learned_focal_length_travels_and_is_checked() -> None:
    payload = encode_frame_result(make_output().result)
    read = decode_payload(wire.FRAME, payload)
    assert read.camera.focal_std == 0.0125
    assert frame_as_dict(read)["intrinsics"]["focal_std"] == 0.0125
    for wrong in (float("nan"), -1.0, float("inf")):
        message = wire_pb2.FrameResult.FromString(payload)
        message.intrinsics.focal_std = wrong
        with pytest.raises(WireError, match="deviation of a focal length"):
            decode_payload(wire.FRAME, message.SerializeToString())
