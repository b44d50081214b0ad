"""What the page and the offscreen picture have in common."""

from __future__ import annotations

import uuid
from collections import deque
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spark3r_core.geometry import se3
from spark3r_stream.errors import OutputError, ViewerUnavailable
from spark3r_stream.map.scene_map import SceneMap
from spark3r_stream.map.trajectory import Trajectory
from spark3r_stream.viewer import availability
from spark3r_stream.viewer.feed import SceneFeed
from spark3r_stream.viewer.launch import launch_viewer
from spark3r_stream.viewer.offscreen import render_png, render_scene
from spark3r_stream.viewer.scene_geometry import (
    behind,
    eased,
    frustum_points,
    frustum_segments,
    overview,
    path_segments,
    scene_bounds,
    vertical_view,
)
from spark3r_stream.viewer.web_server import serve_page
from spark3r_stream.wire.encode import encode_frame
from spark3r_stream.wire.envelope import Message, Sealer
from spark3r_stream.wire.messages import CameraView
from tests.helpers_wire import make_output
from tests.stream.viewer.scenes import BLUE, CAMERA, RED, keyframe, keyframe_messages, session, tracked

RNG = np.random.default_rng(0)
EMPTY = Trajectory(np.zeros(0, np.int64), np.zeros((0, 4, 4)))


class Recorded:
    """A message source over a list: the protocol of Subscriber.poll."""

    def __init__(self, messages: list[Message]) -> None:
        self._waiting = deque(messages)

    def poll(self, timeout_s: float | None = 0.0) -> Message | None:
        return self._waiting.popleft() if self._waiting else None


def fed(messages: list[Message], scene: SceneMap) -> SceneFeed:
    feed = SceneFeed(Recorded(messages), scene)
    while feed.take(budget_s=1.0):
        pass
    return feed


def test_feed_builds_the_scene_and_starts_over_with_a_new_session() -> None:
    scene = SceneMap()
    broken = session()[0]
    broken = Message(broken.topic, broken.envelope, b"\xff\xff\xff")
    feed = fed([*session(5), broken, *session(2, ends=False, seed=1)], scene)
    assert scene.num_poses == 2 * 3  # the second publisher's only
    assert (feed.malformed, feed.ended, feed.sessions) == (1, False, 2)
    assert feed.frame is not None
    assert feed.frame.frame_id == 12
    assert feed.status is None, "the first one's says nothing about the second"
    assert list(scene.cloud_versions) == [0, 1]
    np.testing.assert_array_equal(scene.camera.matrix, CAMERA.matrix)  # type: ignore[union-attr]


def test_feed_says_when_the_session_is_over() -> None:
    feed = fed(session(1), SceneMap())
    assert feed.ended
    assert feed.status is not None


def test_the_picture_is_the_newest_keyframes() -> None:
    before = encode_frame(
        tracked(10, 0, world_from_camera=se3.exp([0.5, 0, 0, 0, 0.3, 0]))
    )  # on the keyframe before it
    unsealed = [*keyframe_messages(0, RED), *before, *keyframe_messages(1, BLUE)]
    messages = Sealer(uuid.uuid4(), lambda: 1).seal(unsealed)
    picture = fed(messages, SceneMap()).picture
    assert picture is not None
    assert (picture.frame_id, picture.submap, picture.captured_ns) == (10, 1, 10)
    assert (picture.image == BLUE).all()
    np.testing.assert_array_equal(picture.submap_from_camera, np.eye(4))


def test_with_windows_of_every_frame_the_picture_is_that_frames() -> None:
    output = make_output(3, size=(6, 8))
    camera = CameraView(np.array([[6.0, 0, 4], [0, 6, 3], [0, 0, 1]]), 8, 6)
    output = replace(output, result=replace(output.result, depth_camera=camera))
    pose = output.result.world_from_camera
    assert pose is not None
    centre_ray = np.linalg.inv(camera.matrix) @ [2.5, 3.5, 1.0]
    output.points[:] = se3.transform_points(pose, 2.0 * centre_ray)  # type: ignore[index]
    picture = fed(Sealer(uuid.uuid4(), lambda: 1).seal(encode_frame(output)), SceneMap()).picture
    assert picture is not None
    assert picture.image[3, 2].tolist() == output.colours[-1, :3].tolist()  # type: ignore[index]
    np.testing.assert_allclose(picture.submap_from_camera, pose, atol=1e-6)


def test_frustum_corners_project_onto_the_image_corners() -> None:
    pose = se3.exp([1, 2, 3, 0.4, 0.5, 0.6])
    corners = se3.transform_points(se3.invert(pose), frustum_points(pose, CAMERA, 0.7))
    np.testing.assert_allclose(corners[0], 0, atol=1e-12)
    np.testing.assert_allclose(corners[1:, 2], 0.7)
    pixels = (corners[1:] / 0.7) @ CAMERA.matrix.T
    np.testing.assert_allclose(pixels[:4, :2], [[0, 0], [640, 0], [640, 480], [0, 480]], atol=1e-9)
    assert pixels[4, 1] < 0  # the tip is above the image
    many = frustum_segments([np.eye(4), pose], CAMERA, 0.7).reshape(2, -1, 3)
    assert {tuple(p) for p in many[1].round(4)} == {
        tuple(p) for p in frustum_points(pose, CAMERA, 0.7).astype("f4").round(4)
    }


def test_the_path_joins_the_poses() -> None:
    trajectory = Trajectory(np.arange(4), se3.exp(RNG.normal(size=(4, 6))))
    np.testing.assert_allclose(path_segments(trajectory)[1], trajectory.centres[1:3], rtol=1e-6)
    assert len(path_segments(trajectory)) == 3
    assert len(path_segments(EMPTY)) == len(frustum_segments([], None, 1.0)) == 0


def test_overview_looks_at_the_scene_from_behind_and_above() -> None:
    points = RNG.uniform([-1, -1, 2], [1, 1, 4], (500, 3))
    trajectory = Trajectory(np.arange(3), np.tile(np.eye(4), (3, 1, 1)))
    view = overview(points, trajectory)
    assert view.eye[2] < view.target[2]
    assert view.eye[1] < view.target[1]  # y points down
    np.testing.assert_allclose(view.up, [0, -1, 0], atol=1e-12)
    straight_down = np.tile(se3.exp([0, 0, 0, -np.pi / 2, 0, 0]), (3, 1, 1))
    assert np.isfinite(np.stack(overview(points, Trajectory(np.arange(3), straight_down)))).all()
    centre, size = scene_bounds(np.zeros((0, 3)), EMPTY)
    assert (centre == 0).all()
    assert size == 1.0


def test_the_view_that_follows_is_behind_the_camera_and_glides() -> None:
    up = np.array([0.0, -1.0, 0.0])
    pose = se3.exp([1, 2, 3, 0, 0, 0])
    view = behind(pose, 10.0, up)
    assert view.eye[2] < pose[2, 3] < view.target[2]
    assert view.eye[1] < pose[1, 3]
    then = behind(se3.exp([5, 2, 3, 0, 0, 0]), 10.0, up)
    np.testing.assert_allclose(eased(view, then, 0.25).eye, view.eye + [1, 0, 0])
    np.testing.assert_allclose(eased(view, then, 1.0), then)


def test_a_camera_in_the_terms_of_graphics() -> None:
    angle, aspect = vertical_view(CAMERA)
    np.testing.assert_allclose((angle, aspect), (2 * np.arctan(0.5), 640 / 480))


def small_scene() -> SceneMap:
    scene = SceneMap()
    for submap in range(3):
        scene.apply_correction(submap, keyframe(submap, RED).map_from_submap, 1)
        wall = keyframe(submap, RED)
        scene.add_cloud(wall.points, wall.colours, wall.point_confidence, submap)
        scene.add(tracked(10 * submap, submap).result)
    return scene


def test_offscreen_picture_shows_the_wall_the_path_and_the_frustum(tmp_path: Path) -> None:
    path = tmp_path / "view.png"
    render_png(small_scene(), path, (320, 240))
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert pixels.shape == (240, 320, 3)
    red, green, blue = np.moveaxis(pixels, -1, 0)
    assert ((red > 150) & (green < 90) & (blue < 90)).mean() > 0.1
    assert ((green > 150) & (red < 140)).sum() > 10  # the frustum
    assert ((red > 200) & (green > 150) & (blue < 90)).sum() > 10  # the path
    assert (pixels.max(-1) < 40).mean() > 0.1  # background is left
    with pytest.raises(OutputError, match="there is no folder"):
        render_png(small_scene(), tmp_path / "missing" / "view.png")
    assert render_scene(SceneMap(), (32, 24)).max() < 40, "an empty map is an empty picture"


def test_without_viser_every_door_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(availability.importlib.util, "find_spec", lambda name: None)
    for door in (lambda: serve_page("x").__enter__(), lambda: launch_viewer("tcp://127.0.0.1:1").__enter__()):
        with pytest.raises(
            ViewerUnavailable, match=r"viser, which is not installed: pip install 'spark3r-stream\[view\]'"
        ):
            door()


def test_a_broken_library_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A real import of a package that fails."""
    import sys

    (tmp_path / "viser").mkdir()
    (tmp_path / "viser" / "__init__.py").write_text("raise OSError('libz.so.1: cannot open shared object file')")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name.partition(".")[0] == "viser"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ViewerUnavailable, match=r"libz\.so\.1.*pip install"):
        availability.import_viser()
