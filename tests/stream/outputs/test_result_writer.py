from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from spark3r_core.geometry import Sim3, read_camera, se3
from spark3r_core.geometry.pointmap import points_from_depth
from spark3r_stream.errors import OutputError
from spark3r_stream.map.cloud import PointCloud
from spark3r_stream.map.trajectory import Trajectory, read_trajectory
from spark3r_stream.outputs import result_writer
from spark3r_stream.outputs.ply import read_ply
from spark3r_stream.outputs.preview import render_preview
from spark3r_stream.outputs.result_writer import ResultWriter
from spark3r_stream.wire.messages import CameraView, FrameOutput, FrameResult, MapCorrection
from tests.helpers_wire import make_keyframe
from tests.stream.viewer.scenes import BLUE, RED, keyframe, tracked

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (60, 80, 3)).astype(np.uint8)
SMALL_K = np.array([[35.0, 0, 20], [0, 35.0, 15], [0, 0, 1]])
SOURCE = CameraView(np.diag([2.0, 2.0, 1.0]) @ SMALL_K, 80, 60)


def frame_output(frame_id: int, submap: int = 0, map_from_submap: Sim3 | None = None) -> FrameOutput:
    pose = se3.exp([0.05 * frame_id, 0, 0.01 * frame_id**1.5, 0, 0.01 * frame_id, 0])
    depth = (2.0 + 0.5 * RNG.uniform(size=(30, 40))).astype(np.float32)
    points = points_from_depth(depth, SMALL_K, pose).reshape(-1, 3).astype(np.float32)
    return FrameOutput(
        FrameResult(
            frame_id,
            "a test clip",
            epoch=0,
            submap=submap,
            captured_ns=frame_id * 33_333_333,
            published_ns=0,
            world_from_camera=pose,
            camera=SOURCE,
            depth_camera=CameraView(SMALL_K, 40, 30),
        ),
        depth=depth,
        points=points,
        colours=np.full((len(points), 4), 200, np.uint8),
        point_confidence=RNG.uniform(0.3, 0.9, len(points)).astype(np.float32),
        map_from_submap=map_from_submap or Sim3(),
    )


def failed_output(frame_id: int) -> FrameOutput:
    result = replace(frame_output(frame_id).result, world_from_camera=None, valid=False, failure_reason="not finite")
    return FrameOutput(result)


def test_a_run_leaves_all_files_and_they_agree(tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    writer = ResultWriter(out, max_points=5_000, save_depth=True)
    outputs = [frame_output(index) for index in range(12)]
    for output in outputs:
        writer.add(output, IMAGE, confidence=np.full((30, 40), 0.5))
        writer.add(failed_output(100 + output.result.frame_id), IMAGE)
    truth = Trajectory(
        np.array([output.result.captured_ns for output in outputs]),
        Sim3(3.0, np.eye(3), np.ones(3)).apply_to_poses(np.stack([o.result.world_from_camera for o in outputs])),
    )
    writer.close({"fps": 1.5}, truth)

    assert sorted(entry.name for entry in out.iterdir()) == [
        "cloud.ply",
        "depth",
        "intrinsics.json",
        "preview.png",
        "stats.json",
        "trajectory.txt",
    ]
    trajectory = read_trajectory(out / "trajectory.txt")
    np.testing.assert_array_equal(trajectory.time_ns, truth.time_ns)
    np.testing.assert_allclose(trajectory.world_from_camera[7], outputs[7].result.world_from_camera, atol=1e-8)
    cloud = read_ply(out / "cloud.ply")
    assert 500 < len(cloud.points) <= 5_000
    every = {tuple(point) for output in outputs for point in output.points}
    assert {tuple(point) for point in cloud.points} <= every
    assert cloud.confidence.mean() > 0.65  # the most confident of each voxel, and none of the worst quarter
    camera = read_camera(out / "intrinsics.json")
    np.testing.assert_allclose(camera.matrix, SOURCE.matrix)
    assert (camera.width, camera.height) == (80, 60)
    assert json.loads((out / "stats.json").read_text()) == {"fps": 1.5}
    saved = np.load(out / "depth" / "000007.npz")
    np.testing.assert_allclose(saved["depth"], outputs[7].depth, rtol=1e-3)
    np.testing.assert_array_equal(saved["intrinsics"], SMALL_K)
    assert saved["confidence"].shape == (30, 40)
    assert len(list((out / "depth").iterdir())) == 12
    with Image.open(out / "preview.png") as picture:
        pixels = np.asarray(picture)
    assert pixels.shape[1] == 1600
    assert (np.abs(pixels.astype(int) - [120, 200, 255]).sum(-1) < 20).sum() > 50  # the ground truth is drawn


def test_a_killed_run_keeps_its_poses_and_a_cloud(tmp_path: Path) -> None:
    writer = ResultWriter(tmp_path, max_points=2_000)
    for index in range(70):
        writer.add(frame_output(index), IMAGE)
    # No close(): this is what a kill leaves.
    assert len(read_trajectory(tmp_path / "trajectory.txt")) == 70
    assert len(read_ply(tmp_path / "cloud.ply").points) > 100
    assert read_camera(tmp_path / "intrinsics.json").width == 80


@pytest.mark.parametrize("frames", [0, 1, 2])
def test_short_runs_are_complete_too(tmp_path: Path, frames: int) -> None:
    writer = ResultWriter(tmp_path)
    for index in range(frames):
        writer.add(frame_output(index), IMAGE)
    writer.close({"frames": frames}, Trajectory(np.zeros(1, np.int64), np.eye(4)[None]))
    assert len(read_trajectory(tmp_path / "trajectory.txt")) == frames
    assert (tmp_path / "preview.png").stat().st_size > 1000
    assert (len(read_ply(tmp_path / "cloud.ply").points) > 0) == (frames > 0)


def test_a_second_submap_lands_where_it_is_placed(tmp_path: Path) -> None:
    writer = ResultWriter(tmp_path)
    writer.add(frame_output(0), IMAGE)
    writer.add(frame_output(0, submap=1, map_from_submap=Sim3(2.0, np.eye(3), np.array([100.0, 0, 0]))), IMAGE)
    writer.close({})
    assert "submap 1 begins" in (tmp_path / "trajectory.txt").read_text()
    assert read_trajectory(tmp_path / "trajectory.txt").centres[1, 0] == 100.0
    x = read_ply(tmp_path / "cloud.ply").points[:, 0]
    assert (x > 90).any()
    assert (x < 10).any()


def test_bad_statistics_are_named_and_cost_nothing_else(tmp_path: Path) -> None:
    writer = ResultWriter(tmp_path)
    writer.add(frame_output(0), IMAGE)
    with pytest.raises(OutputError, match="fps is nan"):
        writer.close({"fps": float("nan")})
    assert {"cloud.ply", "preview.png", "intrinsics.json"} <= {entry.name for entry in tmp_path.iterdir()}


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot make the result folder"):
        ResultWriter(tmp_path / "file" / "out")


def test_grey_looking_odd_sizes_do_not_break_the_page(tmp_path: Path) -> None:
    writer = ResultWriter(tmp_path)
    writer.add(frame_output(0), np.zeros((1001, 33, 3), np.uint8))
    writer.add(frame_output(1), np.zeros((3, 1001, 3), np.uint8))
    writer.close({})
    with Image.open(tmp_path / "preview.png") as picture:
        assert picture.size[1] < 3000


def test_depth_of_an_older_longer_run_does_not_pass_for_this_one(tmp_path: Path) -> None:
    for frames in (4, 2):
        writer = ResultWriter(tmp_path, save_depth=True)
        for index in range(frames):
            writer.add(frame_output(index), IMAGE)
        writer.close({})
        (tmp_path / "depth" / "notes.npz").touch()
    names = sorted(entry.name for entry in (tmp_path / "depth").iterdir())
    assert names == ["000000.npz", "000001.npz", "notes.npz"]


def test_a_refined_keyframe_takes_the_place_of_the_first(tmp_path: Path) -> None:
    first = replace(make_keyframe(points=40), map_from_submap=Sim3())
    better = replace(first, points=first.points[:30] + np.float32(5), colours=first.colours[:30])
    better = replace(better, point_confidence=first.point_confidence[:30], depth=first.depth * np.float32(2))
    writer = ResultWriter(tmp_path, save_depth=True)
    writer.add_keyframe(first)
    writer.refine_keyframe(better)
    writer.close({})
    points = read_ply(tmp_path / "cloud.ply").points
    assert len(points)
    assert points.min() > first.points.min() + 4
    with np.load(tmp_path / "depth" / f"{first.frame_id:06d}.npz") as saved:
        np.testing.assert_allclose(saved["depth"], better.depth, rtol=1e-3)


def test_the_picture_shows_the_path_of_the_final_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of trajectory.txt: relaxed between keyframes that moved, through frames that were tracked once more."""
    shown: list[Trajectory] = []

    def rendered(cloud: PointCloud, trajectory: Trajectory, *others: Any) -> NDArray[np.uint8]:
        shown.append(trajectory)
        return render_preview(cloud, trajectory, *others)

    monkeypatch.setattr(result_writer, "render_preview", rendered)
    writer = ResultWriter(tmp_path)
    adopted = {0: keyframe(0, RED), 13: replace(keyframe(1, RED), tracked_submap=0)}  # the later one is frame 10
    for frame_id in range(20):
        if frame_id in adopted:
            writer.add_keyframe(adopted[frame_id])
        writer.add(tracked(frame_id, int(frame_id >= 13), captured_ns=33_333_333 * frame_id), IMAGE)
    turned = se3.exp([0, 0, 0, 0, 0.05, 0])[:3, :3]
    writer.correct(MapCorrection(1, 2, Sim3(1.5, turned, np.array([0.7, 0.1, 0.0]))))
    writer.retrack(16, se3.exp([0.1, 0.3, 0, 0, 0, 0]))
    published = read_trajectory(tmp_path / "trajectory.txt").centres
    writer.close({})
    final = read_trajectory(tmp_path / "trajectory.txt")
    moved = np.linalg.norm(final.centres - published, axis=1)
    assert (moved[5:] > 0.01).all(), "the map never moved: this tests nothing"
    np.testing.assert_allclose(shown[0].world_from_camera, final.world_from_camera, atol=1e-8)


@pytest.mark.mesh
def test_the_mesh_is_of_refined_keyframes_where_they_lie_in_the_end(tmp_path: Path) -> None:
    import trimesh

    writer = ResultWriter(tmp_path, mesh=True)
    for submap, colour in ((0, RED), (1, BLUE)):
        writer.add_keyframe(keyframe(submap, colour))
    writer.refine_keyframe(replace(keyframe(0, RED), image=np.full((60, 80, 3), RED, np.uint8)))
    moved = Sim3(2.0, np.eye(3), np.array([0, 0, 10.0]))  # the wall, two units ahead, is at 14 then
    writer.correct(MapCorrection(0, 5, moved))
    writer.close({})
    for name, axis in (("mesh.ply", 1), ("mesh.glb", -1)):
        mesh = trimesh.load(tmp_path / name, force="mesh", process=False)
        np.testing.assert_allclose(mesh.vertices[:, 2], axis * 14, atol=0.05)
        assert np.abs(mesh.visual.vertex_colors[:, :3].astype(int) - RED).max() <= 2


def test_without_a_surface_there_is_a_word_and_no_older_mesh(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("mesh.ply", "mesh.glb"):
        (tmp_path / name).write_text("of an earlier run")
    writer = ResultWriter(tmp_path, mesh=True)
    writer.add_keyframe(keyframe(0, RED))  # with the network's depth only
    writer.close({})
    assert "there is no mesh" in caplog.text
    assert not list(tmp_path.glob("mesh.*"))
    assert (tmp_path / "stats.json").exists()
