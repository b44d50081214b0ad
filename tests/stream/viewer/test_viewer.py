from __future__ import annotations

import importlib.util
import subprocess
import sys
import uuid
from collections import deque
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
from spark3r_stream.viewer.offscreen import render_png
from spark3r_stream.viewer.open3d_viewer import run_window
from spark3r_stream.viewer.scene_geometry import frustum_points, overview, scene_bounds, scene_lines
from spark3r_stream.wire.encode import encode_frame, encode_status
from spark3r_stream.wire.envelope import Message, Sealer
from spark3r_stream.wire.messages import CameraView, FrameOutput, FrameResult, SessionState, Status

HAS_OPEN3D = importlib.util.find_spec("open3d") is not None
CAMERA = CameraView(np.array([[500.0, 0, 320], [0, 500.0, 240], [0, 0, 1]]), 640, 480)
RNG = np.random.default_rng(0)


def wall_output(frame_id: int) -> FrameOutput:
    """A frame that looks at a red wall two units away."""
    points = RNG.uniform([-2, -1.5, 2], [2, 1.5, 2.02], (4000, 3)).astype(np.float32)
    result = FrameResult(
        frame_id,
        "s",
        epoch=0,
        submap=0,
        captured_ns=frame_id,
        published_ns=0,
        world_from_camera=se3.exp([0.1 * frame_id, 0, 0, 0, 0, 0]),
        camera=CAMERA,
    )
    colours = np.tile(np.array([220, 30, 30, 255], np.uint8), (4000, 1))
    return FrameOutput(result, points=points, colours=colours, point_confidence=np.full(4000, 0.8, np.float32))


class Recorded:
    """A message source over a list: the protocol of Subscriber.poll."""

    def __init__(self, messages: list[Message]) -> None:
        self._waiting = deque(messages)

    def poll(self, timeout_s: float | None = 0.0) -> Message | None:
        return self._waiting.popleft() if self._waiting else None


def session_messages(frames: int) -> list[Message]:
    sealer = Sealer(uuid.uuid4(), lambda: 1)
    unsealed = [message for index in range(frames) for message in encode_frame(wall_output(index))]
    return sealer.seal([*unsealed, encode_status(Status(SessionState.ENDED), 0)])


def test_feed_builds_the_scene_and_starts_over_with_a_new_session() -> None:
    scene = SceneMap()
    broken = session_messages(1)[0]
    broken = Message(broken.topic, broken.envelope, b"\xff\xff\xff")
    feed = SceneFeed(Recorded([*session_messages(5), broken, *session_messages(2)[:-1]]), scene)
    while feed.take(budget_s=1.0):
        pass
    assert scene.num_poses == 2  # the second publisher's only
    assert feed.malformed == 1
    assert not feed.ended
    assert feed.frame is not None
    assert feed.frame.frame_id == 1
    assert len(scene) > 1000
    np.testing.assert_array_equal(scene.camera.matrix, CAMERA.matrix)  # type: ignore[union-attr]


def test_feed_says_when_the_session_is_over() -> None:
    feed = SceneFeed(Recorded(session_messages(1)), SceneMap())
    assert feed.take(budget_s=1.0) > 3
    assert feed.ended


def test_frustum_corners_project_onto_the_image_corners() -> None:
    pose = se3.exp([1, 2, 3, 0.4, 0.5, 0.6])
    corners = se3.transform_points(se3.invert(pose), frustum_points(pose, CAMERA, 0.7))
    np.testing.assert_allclose(corners[0], 0, atol=1e-12)
    np.testing.assert_allclose(corners[1:, 2], 0.7)
    pixels = (corners[1:] / 0.7) @ CAMERA.matrix.T
    np.testing.assert_allclose(pixels[:4, :2], [[0, 0], [640, 0], [640, 480], [0, 480]], atol=1e-9)
    assert pixels[4, 1] < 0  # the tip is above the image


def test_lines_join_the_path_and_the_frustum() -> None:
    trajectory = Trajectory(np.arange(4), se3.exp(RNG.normal(size=(4, 6))))
    lines = scene_lines(trajectory, None, 3.0)
    assert lines.segments.shape == (3 + 10, 2)
    assert lines.segments.max() == len(lines.points) - 1
    assert len(lines.colours) == len(lines.segments)
    np.testing.assert_array_equal(lines.points[lines.segments[1]], trajectory.centres[1:3])
    empty = scene_lines(Trajectory(np.zeros(0, np.int64), np.zeros((0, 4, 4))), None, 1.0)
    assert len(empty.points) == len(empty.segments) == 0


def test_overview_looks_at_the_scene_from_behind_and_above() -> None:
    points = RNG.uniform([-1, -1, 2], [1, 1, 4], (500, 3))
    trajectory = Trajectory(np.arange(3), np.tile(np.eye(4), (3, 1, 1)))
    view = overview(points, trajectory)
    assert view.eye[2] < view.target[2]
    assert view.eye[1] < view.target[1]  # y points down
    np.testing.assert_allclose(view.up, [0, -1, 0], atol=1e-12)
    straight_down = np.tile(se3.exp([0, 0, 0, -np.pi / 2, 0, 0]), (3, 1, 1))
    assert np.isfinite(np.stack(overview(points, Trajectory(np.arange(3), straight_down)))).all()
    centre, size = scene_bounds(np.zeros((0, 3)), Trajectory(np.zeros(0, np.int64), np.zeros((0, 4, 4))))
    assert (centre == 0).all()
    assert size == 1.0


@pytest.mark.viewer
def test_offscreen_picture_shows_the_wall_the_path_and_the_frustum(tmp_path: Path) -> None:
    scene = SceneMap()
    for index in range(10):
        output = wall_output(index)
        scene.add(output.result)
        scene.add_cloud(output.points, output.colours, output.point_confidence)
    path = tmp_path / "view.png"
    render_png(scene, path, (320, 240))
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert pixels.shape == (240, 320, 3)
    red, green, blue = np.moveaxis(pixels, -1, 0)
    assert ((red > 150) & (green < 90) & (blue < 90)).mean() > 0.1
    assert ((green > 150) & (red < 140)).sum() > 10  # the frustum
    assert (pixels.max(-1) < 40).mean() > 0.1  # background is left
    with pytest.raises(OutputError, match="there is no folder"):
        render_png(scene, tmp_path / "missing" / "view.png")


def test_without_open3d_every_door_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(availability.importlib.util, "find_spec", lambda name: None)
    for door in (
        lambda: run_window(Recorded([])),
        lambda: render_png(SceneMap(), tmp_path / "x.png"),
        lambda: launch_viewer("tcp://127.0.0.1:1").__enter__(),
    ):
        with pytest.raises(ViewerUnavailable, match=r"spark3r-stream\[view\].*libegl1"):
            door()


@pytest.mark.skipif(not HAS_OPEN3D or sys.platform != "linux", reason="needs open3d on Linux")
def test_without_a_display_the_window_points_to_offscreen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(ViewerUnavailable, match="--offscreen"):
        run_window(Recorded([]))


def test_a_broken_library_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A real import of a package that fails as Open3D does when libGL is missing."""
    package = tmp_path / "open3d"
    package.mkdir()
    (package / "__init__.py").write_text("raise OSError('libGL.so.1: cannot open shared object file')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "open3d", raising=False)
    with pytest.raises(ViewerUnavailable, match=r"libGL\.so\.1.*apt-get install"):
        availability.import_open3d()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    script = "import sys; sys.path.insert(0, sys.argv[1]); import spark3r_stream.viewer.offscreen as o; "
    script += "from spark3r_stream.map.scene_map import SceneMap; o.render_png(SceneMap(), sys.argv[2])"
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), str(tmp_path / "x.png")],
        capture_output=True,
        text=True,
        cwd=Path(availability.__file__).parents[2],
    )
    assert "ViewerUnavailable" in done.stderr
    assert "libGL.so.1" in done.stderr


def test_the_subscriber_side_imports_neither_torch_nor_open3d_nor_pillow() -> None:
    script = (
        "import sys; import spark3r_stream.map.scene_map, spark3r_stream.viewer.open3d_viewer, "
        "spark3r_stream.viewer.offscreen, spark3r_stream.viewer.launch, spark3r_stream.outputs.result_writer; "
        "print([m for m in ('torch', 'open3d', 'PIL', 'cv2', 'scipy', 'matplotlib') if m in sys.modules])"
    )
    root = Path(availability.__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.strip() == "[]"
