"""The bridge's conversions, through a bag that rosbags reads: REP 105's tree, odometry that never jumps, the same
points in the map and before the camera."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rosbags.highlevel import AnyReader

from spark3r_core.geometry import se3
from spark3r_core.geometry.sim3 import Sim3
from spark3r_stream.export.bag import new_bag
from spark3r_stream.export.folder import ExportFolder
from spark3r_stream.ros2.converter import Converter
from spark3r_stream.ros2.messages import Ros2Messages
from spark3r_stream.ros2.naming import Naming
from spark3r_stream.ros2.types import BagTypes
from spark3r_stream.wire.encode import encode_frame, encode_keyframe, encode_map_corrections, encode_status
from spark3r_stream.wire.envelope import Message, Unsealed
from spark3r_stream.wire.messages import FrameOutput, LengthUnit, MapCorrection, SessionState, TrackingState
from tests.helpers_wire import START_NS, make_keyframe, make_output, make_sealer, make_status, make_tracked

FRAMES = 12
CORRECTED_AT = 7
STEP = 0.1  # ahead per frame, in the stream's unit
SCALE = 2.5
MOVED = Sim3(1.2, se3.exp(np.array([0, 0, 0, 0.0, 0.5, 0.0]))[:3, :3], np.array([5.0, 0, 1]))
NAMES = Naming(prefix="left")


def tracked(index: int, placed: Sim3, **changes: Any) -> FrameOutput:
    """A camera that goes straight ahead from the keyframe of submap 3, which lies at `placed`."""
    output = make_tracked(index)
    pose = se3.make_pose(np.eye(3), [0, 0, STEP * index])
    fields = {
        "world_from_camera": pose,
        "odom_from_camera": pose,
        "mapped": index == 0,
        "unit": LengthUnit.MODEL,
        **changes,
    }
    return replace(output, result=replace(output.result, **fields), map_from_submap=placed, jpeg=b"\xff\xd8 jpeg")


def walk() -> list[Message]:
    """A keyframe, and a walk away from it during which the map is corrected by metres; one frame is lost."""
    unsealed: list[Unsealed] = encode_keyframe(make_keyframe())
    for index in range(FRAMES):
        placed = MOVED if index >= CORRECTED_AT else Sim3()
        if index == CORRECTED_AT:
            unsealed += encode_map_corrections([MapCorrection(3, 5, MOVED)], START_NS)
        state = TrackingState.LOST if index == 3 else TrackingState.TRACKING
        unsealed += encode_frame(tracked(index, placed, state=state))
    return make_sealer().seal([*unsealed, *encode_keyframe(make_keyframe())])


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list]:
    """Messages by topic, as rosbags reads them."""
    path, types = tmp_path_factory.mktemp("bag"), BagTypes()
    converter = Converter(Ros2Messages(types), NAMES, SCALE)
    with new_bag(ExportFolder(path), NAMES, types) as send:
        made = [converter.fixed(START_NS), *map(converter.of, walk())]
        for topic, message in itertools.chain.from_iterable(made):
            send(topic, max(converter.now_ns, START_NS), message)
    return read(path / "bag")


def read(path: Path) -> dict[str, list]:
    found: dict[str, list] = {}
    with AnyReader([path]) as reader:
        for connection, _, raw in reader.messages():
            found.setdefault(connection.topic, []).append(reader.deserialize(raw, connection.msgtype))
    return found


def transforms(messages: list) -> dict[tuple[str, str], dict[int, np.ndarray]]:
    """parent_from_child by the two names and the time."""
    found: dict[tuple[str, str], dict[int, np.ndarray]] = {}
    for message in messages:
        for one in message.transforms:
            edge = found.setdefault((one.header.frame_id, one.child_frame_id), {})
            edge[nanoseconds(one.header)] = pose_of(one.transform.translation, one.transform.rotation)
    return found


def pose_of(shift: Any, turn: Any) -> np.ndarray:
    return se3.from_quat_xyzw([shift.x, shift.y, shift.z], [turn.x, turn.y, turn.z, turn.w])


def nanoseconds(header: Any) -> int:
    return header.stamp.sec * 10**9 + header.stamp.nanosec


def points_of(cloud: Any) -> np.ndarray:
    table = np.frombuffer(cloud.data, [(field.name, "<f4") for field in cloud.fields])
    return np.stack([table["x"], table["y"], table["z"]], 1)


def test_the_tree_is_rep_105s_and_connected(bag: dict[str, list]) -> None:
    edges = transforms(bag["/tf"]).keys() | transforms(bag["/tf_static"]).keys()
    assert sorted(edges) == [
        ("left/camera_link", "left/camera_optical_frame"),
        ("left/map", "left/odom"),
        ("left/odom", "left/camera_link"),
    ]
    assert len({child for _, child in edges}) == len(edges), "a frame has one parent"


def test_odom_does_not_jump_and_the_map_does(bag: dict[str, list]) -> None:
    tf = transforms(bag["/tf"])
    odom, jumps = tf["left/odom", "left/camera_link"], tf["left/map", "left/odom"]
    assert odom.keys() == jumps.keys()
    assert len(odom) == FRAMES - 1, "the lost frame has none"
    begin = odom[START_NS]
    np.testing.assert_allclose(begin, np.eye(4), atol=1e-12)
    ahead = [pose[0, 3] for pose in odom.values()]
    np.testing.assert_allclose(ahead, [SCALE * STEP * i for i in range(FRAMES) if i != 3], atol=1e-12)
    steps = [np.linalg.norm(b[:3, 3] - a[:3, 3]) for a, b in itertools.pairwise(jumps.values())]
    assert np.argmax(steps) == CORRECTED_AT - 2, "one was lost before"
    assert max(steps) > 1
    for time, message in zip(odom, bag["/left/pose"], strict=True):
        in_map = jumps[time] @ odom[time]
        np.testing.assert_allclose(in_map, pose_of(message.pose.position, message.pose.orientation), atol=1e-9)
        assert (nanoseconds(message.header), message.header.frame_id) == (time, "left/map")


def test_odometry_says_what_tf_says_and_how_sure_it_is(bag: dict[str, list]) -> None:
    odom = transforms(bag["/tf"])["left/odom", "left/camera_link"]
    assert len(bag["/left/odom"]) == len(odom)
    for message in bag["/left/odom"]:
        assert (message.header.frame_id, message.child_frame_id) == ("left/odom", "left/camera_link")
        pose = pose_of(message.pose.pose.position, message.pose.pose.orientation)
        np.testing.assert_allclose(pose, odom[nanoseconds(message.header)], atol=1e-12)
        covariance = message.pose.covariance.reshape(6, 6)
        np.testing.assert_allclose(covariance, covariance.T)
        assert np.linalg.eigvalsh(covariance)[0] > -1e-9
    first = bag["/left/odom"][0].pose.covariance.reshape(6, 6)
    camera = make_tracked(0).result.covariance
    assert camera is not None
    assert first[0, 0] == pytest.approx(SCALE**2 * camera[2, 2]), "x of the body is z of the picture"
    assert first[3, 3] == pytest.approx(camera[5, 5])
    speed = SCALE * STEP / 0.033_333_333
    twist = bag["/left/odom"][2].twist.twist
    assert (twist.linear.x, twist.linear.y, twist.angular.z) == pytest.approx((speed, 0, 0), abs=1e-9)


def test_points_lie_before_the_camera_and_in_the_map(bag: dict[str, list]) -> None:
    keyframe = make_keyframe()
    (seen,) = bag["/left/camera_points"]
    assert (seen.header.frame_id, nanoseconds(seen.header)) == ("left/camera_optical_frame", keyframe.captured_ns)
    np.testing.assert_allclose(points_of(seen), SCALE * keyframe.points, rtol=1e-6)
    first, corrected = bag["/left/points"]
    assert first.header.frame_id == "left/map"
    body = np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    np.testing.assert_allclose(points_of(first), SCALE * keyframe.points @ body.T, rtol=1e-5)
    moved = SCALE * MOVED.apply_to_points(keyframe.points) @ body.T
    np.testing.assert_allclose(points_of(corrected), moved, rtol=1e-4)
    # and tf at the stamp of the points, in the map as it was then, says the same
    tf, static = transforms(bag["/tf"]), transforms(bag["/tf_static"])
    (optical,) = static["left/camera_link", "left/camera_optical_frame"].values()
    time = nanoseconds(seen.header)
    chain = tf["left/map", "left/odom"][time] @ tf["left/odom", "left/camera_link"][time] @ optical
    np.testing.assert_allclose(se3.transform_points(chain, points_of(seen)), points_of(first), atol=1e-4)


def test_pictures_and_depth_have_their_cameras(bag: dict[str, list]) -> None:
    frames, keyframe = [tracked(index, Sim3()).result for index in range(FRAMES)], make_keyframe()
    times = [frame.captured_ns for frame in frames]
    assert [nanoseconds(message.header) for message in bag["/left/image/compressed"]] == times
    assert [nanoseconds(message.header) for message in bag["/left/camera_info"]] == times
    camera = frames[0].camera
    assert camera is not None
    info = bag["/left/camera_info"][0]
    assert (info.width, info.height, info.header.frame_id) == (camera.width, camera.height, "left/camera_optical_frame")
    assert info.k[2] == camera.matrix[0, 2] - 0.5
    depth, depth_info = bag["/left/depth/image_rect"][0], bag["/left/depth/camera_info"][0]
    assert (depth.encoding, depth.height, depth.step) == ("32FC1", depth_info.height, 4 * depth_info.width)
    found = np.frombuffer(depth.data, "<f4").reshape(depth.height, depth.width)
    np.testing.assert_allclose(found, SCALE * keyframe.depth, rtol=1e-6)


def test_windows_of_every_frame_have_no_odom_and_their_clouds_follow_the_camera() -> None:
    converter = Converter(Ros2Messages(BagTypes()), Naming())
    output = make_output()
    made = [one for message in make_sealer().seal(encode_frame(output)) for one in converter.of(message)]
    found: dict[str, list] = {}
    for topic, message in made:
        found.setdefault(topic.name, []).append(message)
    assert list(transforms(found["/tf"])) == [("map", "camera_link")]
    assert "odom" not in found
    pose = output.result.world_from_camera
    assert pose is not None
    seen = se3.transform_points(se3.invert(pose), output.points.astype(np.float64))
    np.testing.assert_allclose(points_of(found["camera_points"][0]), seen, atol=1e-5)


def test_a_new_session_begins_anew_and_a_late_joiner_knows_where_submaps_lie() -> None:
    converter = Converter(Ros2Messages(BagTypes()), Naming(), with_tf=False, with_clock=True)
    correction, keyframe = MapCorrection(3, 5, MOVED), make_keyframe()
    sealer = make_sealer()
    converter.so_far(sealer.session_id, [correction], [])
    (cloud,) = [message for message in sealer.seal(encode_keyframe(keyframe)) if message.topic == "/cloud/"]
    body = np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    moved = points_of(converter.of(cloud)[0].message)
    np.testing.assert_allclose(moved, MOVED.apply_to_points(keyframe.points) @ body.T, rtol=1e-4)
    other = make_sealer(type(sealer.session_id)(int=8))
    (cloud,) = [message for message in other.seal(encode_keyframe(keyframe)) if message.topic == "/cloud/"]
    np.testing.assert_allclose(points_of(converter.of(cloud)[0].message), keyframe.points @ body.T, rtol=1e-5)
    names = [one.topic.name for message in other.seal(encode_frame(make_tracked())) for one in converter.of(message)]
    assert "/tf" not in names
    assert names[0] == "/clock"


def test_a_stream_in_metres_with_z_up_is_taken_as_it_is() -> None:
    """--scale and --gravity are for those that do not say; odometry goes on without a jump when one begins to."""
    converter = Converter(Ros2Messages(BagTypes()), Naming(), SCALE)
    known = {"unit": LengthUnit.METRE, "map_z_up": True}
    correction = MapCorrection(3, 5, MOVED, "the scale became known", LengthUnit.METRE, True)
    keyframe = make_keyframe()
    unsealed = [*encode_frame(tracked(0, Sim3())), *encode_frame(tracked(1, Sim3()))]
    unsealed += [*encode_map_corrections([correction], START_NS), *encode_keyframe(keyframe)]
    unsealed += encode_frame(tracked(2, MOVED, **known))
    found: dict[str, list] = {}
    for message in make_sealer().seal(unsealed):
        for topic, made in converter.of(message):
            found.setdefault(topic.name, []).append(made)
    np.testing.assert_allclose(points_of(found["points"][0]), MOVED.apply_to_points(keyframe.points), rtol=1e-4)
    np.testing.assert_allclose(points_of(found["camera_points"][0]), MOVED.scale * keyframe.points, rtol=1e-5)
    tf = transforms(found["/tf"])
    odom = [pose[0, 3] for pose in tf["odom", "camera_link"].values()]
    np.testing.assert_allclose(np.diff(odom), [SCALE * STEP, STEP], atol=1e-9)
    in_map = list(tf["map", "odom"].values())[-1] @ list(tf["odom", "camera_link"].values())[-1]
    camera = MOVED.apply_to_poses(se3.make_pose(np.eye(3), [0, 0, 2 * STEP]))
    np.testing.assert_allclose(in_map[:3, 3], camera[:3, 3], atol=1e-9)
    np.testing.assert_allclose(in_map[:3, 0], camera[:3, 2], atol=1e-9)


@pytest.mark.parametrize(
    ("state", "tracking", "level", "word"),
    [
        (SessionState.RUNNING, TrackingState.TRACKING, 0, "RUNNING"),
        (SessionState.RUNNING, TrackingState.LOST, 1, "tracking is lost"),
        (SessionState.RECONNECTING, TrackingState.LOST, 1, "RECONNECTING"),
        (SessionState.FAILED, None, 2, "FAILED"),
    ],
)
def test_diagnostics(state: SessionState, tracking: TrackingState | None, level: int, word: str) -> None:
    converter = Converter(Ros2Messages(BagTypes()), NAMES)
    status = replace(make_status(), state=state, tracking=tracking, last_error="")
    (made,) = converter.of(make_sealer().seal([encode_status(status, 0)])[0])
    (found,) = made.message.status  # type: ignore[attr-defined]
    assert (made.topic.name, found.level, found.message, found.name) == ("/diagnostics", level, word, "left/spark3r")
