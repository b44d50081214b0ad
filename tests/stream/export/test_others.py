"""The other formats, each read back by the library it is for, or by its reading rules."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import laspy
import numpy as np
import OpenEXR
import pytest
import trimesh
from evo.tools import file_interface
from PIL import Image
from rerun.chunk import RrdReader
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

from spark3r_core.geometry import se3
from spark3r_core.geometry.pointmap import points_from_depth
from spark3r_stream.errors import OutputError
from spark3r_stream.export.clouds import write_glb, write_laz
from spark3r_stream.export.dense import dense_cloud
from spark3r_stream.export.depth import write_depth, write_exr
from spark3r_stream.export.folder import ExportFolder
from spark3r_stream.export.model import Z_UP, ExportModel
from spark3r_stream.export.nerfstudio import write_nerfstudio
from spark3r_stream.export.rerun_file import write_rrd
from spark3r_stream.export.ros2 import write_ros2bag
from spark3r_stream.export.trajectories import keyframe_trajectory, write_kitti, write_tum
from spark3r_stream.map.cloud import PointCloud
from spark3r_stream.outputs.ply import read_ply
from spark3r_stream.ros2.axes import upright
from tests.core.stream import orbit
from tests.helpers_map import FOCAL, IDS, orbit_map


def test_nerfstudio_by_its_reading_rules(model: ExportModel, folder: ExportFolder) -> None:
    """Its data parser: intrinsics at the top, a file and a (4, 4) per frame, OpenGL cameras, points in the same
    world. A point projected by those rules is seen where the keyframe's feature is."""
    write_nerfstudio(model, folder)
    meta = json.loads((folder.path / "transforms.json").read_text())
    assert (meta["camera_model"], meta["w"], meta["h"]) == ("OPENCV", orbit.HW[1], orbit.HW[0])
    assert meta["fl_x"] == meta["fl_y"] == FOCAL
    assert "applied_transform" not in meta
    cloud = read_ply(folder.path / meta["ply_file_path"])
    assert len(cloud.points) == len(model.points)
    for slot, frame in enumerate(meta["frames"]):
        assert Image.open(folder.path / frame["file_path"]).size == (meta["w"], meta["h"])
        world_from_camera = np.array(frame["transform_matrix"])
        assert se3.is_se3(world_from_camera)
        mine = model.points.slot == slot
        seen = np.c_[cloud.points[model.points.point[mine]], np.ones(mine.sum())] @ np.linalg.inv(world_from_camera).T
        assert (seen[:, 2] < 0).all(), "before a camera that looks along -z"
        u = meta["cx"] + meta["fl_x"] * seen[:, 0] / -seen[:, 2]
        v = meta["cy"] - meta["fl_y"] * seen[:, 1] / -seen[:, 2]
        places = model.keyframes[slot].features.places[model.points.feature[mine]]
        assert np.median(np.linalg.norm(np.stack([u, v], 1) - places, axis=1)) < 0.5
    ups = [np.array(frame["transform_matrix"])[2, 1] for frame in meta["frames"]]
    assert min(ups) > 0.7, "the pictures' up is the world's z"


def test_trajectories_by_evo(model: ExportModel, folder: ExportFolder) -> None:
    write_tum(keyframe_trajectory(model), folder)
    write_kitti(keyframe_trajectory(model), folder)
    truth = np.stack([orbit.pose(index) for index in IDS])
    tum = file_interface.read_tum_trajectory_file(folder.path / "trajectory.txt")
    np.testing.assert_allclose(tum.timestamps, [0.1 * index for index in IDS])
    np.testing.assert_allclose(np.stack(tum.poses_se3), truth, atol=1e-7)
    kitti = file_interface.read_kitti_poses_file(folder.path / "poses.txt")
    np.testing.assert_allclose(np.stack(kitti.poses_se3), truth, atol=1e-9)
    times = [float(line) for line in (folder.path / "times.txt").read_text().splitlines()]
    np.testing.assert_allclose(times, tum.timestamps)


def test_the_dense_cloud_is_the_surface_in_the_unit_of_the_map() -> None:
    world = orbit_map((0, 8))
    for index in (0, 8):  # depth in halves of a unit
        one = world.keyframes[index]
        world.keyframes[index] = replace(one, depth=one.depth / 2, scale=2.0)
    cloud = dense_cloud(ExportModel(world), 4000)
    assert 1000 < len(cloud.points) <= 4000
    truth = points_from_depth(orbit.depth(0), orbit.INTRINSICS).reshape(-1, 3)
    first = cloud.points[: len(cloud.points) // 2]
    near = [np.abs(truth - point).sum(1).min() for point in first[::100].astype(np.float64)]
    assert np.median(near) < 1e-3
    assert cloud.colours.std() > 10


def test_glb_by_trimesh(model: ExportModel, folder: ExportFolder) -> None:
    cloud = dense_cloud(model, 3000)
    write_glb(cloud, folder)
    data = (folder.path / "cloud.glb").read_bytes()
    scene = trimesh.load(folder.path / "cloud.glb")
    (points,) = scene.geometry.values()
    np.testing.assert_allclose(points.vertices, cloud.points * [1, -1, -1], atol=1e-5)
    np.testing.assert_array_equal(points.colors[:, :3], cloud.colours)
    write_glb(cloud, folder)
    assert (folder.path / "cloud.glb").read_bytes() == data


def test_laz_by_laspy(model: ExportModel, folder: ExportFolder) -> None:
    cloud = dense_cloud(model, 3000)
    write_laz(cloud, folder)
    data = (folder.path / "cloud.laz").read_bytes()
    las = laspy.read(folder.path / "cloud.laz")
    extent = float(np.ptp(cloud.points))
    np.testing.assert_allclose(las.xyz, cloud.points @ Z_UP[:3, :3].T, atol=1e-7 * extent)
    np.testing.assert_array_equal(np.stack([las.red, las.green, las.blue], 1) // 257, cloud.colours)
    np.testing.assert_allclose(las.intensity / 65535, cloud.confidence, atol=1e-4)
    assert data[:4] == b"LASF"
    write_laz(cloud, folder)
    assert (folder.path / "cloud.laz").read_bytes() == data


@pytest.mark.parametrize("write", [write_glb, write_laz])
def test_no_points_are_no_file(folder: ExportFolder, write: object) -> None:
    nothing = PointCloud(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8), np.zeros(0, np.float32))
    with pytest.raises(OutputError, match="no points"):
        write(nothing, folder)  # type: ignore[operator]


def test_exr_by_openexr(model: ExportModel, folder: ExportFolder) -> None:
    write_exr(model, folder)
    meta = json.loads((folder.path / "depth.json").read_text())
    assert [frame["frame_id"] for frame in meta["frames"]] == list(IDS)
    for frame in meta["frames"]:
        with OpenEXR.File(str(folder.path / frame["depth"])) as file:
            z, confidence = (file.channels()[name].pixels for name in ("Z", "confidence"))
        assert z.dtype == confidence.dtype == np.float32
        truth = orbit.depth(frame["frame_id"])
        known = np.isfinite(truth) & (truth > 0)
        np.testing.assert_allclose(z[known], truth[known], rtol=1e-5)
        assert (z[~known] == 0).all()


def test_depth_as_pictures_and_as_numbers(model: ExportModel, folder: ExportFolder) -> None:
    write_depth(model, folder)
    meta = json.loads((folder.path / "depth.json").read_text())
    assert [frame["frame_id"] for frame in meta["frames"]] == list(IDS)
    for frame in meta["frames"]:
        truth = orbit.depth(frame["frame_id"])
        steps = np.asarray(Image.open(folder.path / frame["depth"]))
        assert steps.dtype == np.uint16
        np.testing.assert_allclose(steps * meta["depth_unit"], truth, atol=0.51 * meta["depth_unit"])
        np.testing.assert_allclose(np.asarray(Image.open(folder.path / frame["confidence"])) / 65535, 1)
        numbers = np.load(folder.path / frame["depth"].replace(".png", ".npz"))
        np.testing.assert_array_equal(numbers["depth"], truth)
        np.testing.assert_array_equal(numbers["world_from_camera"], orbit.pose(frame["frame_id"]))


def test_a_bag_by_rosbags(model: ExportModel, folder: ExportFolder) -> None:
    write_ros2bag(model, folder, 2000)
    with AnyReader([folder.path / "bag"], default_typestore=get_typestore(Stores.ROS2_HUMBLE)) as reader:
        counts = {topic: info.msgcount for topic, info in reader.topics.items()}
        each = dict.fromkeys(("/tf", "/camera_info", "/image/compressed", "/points"), len(IDS))
        assert counts == {**each, "/tf_static": 1, "/path": 1}
        found: dict[str, list] = {topic: [] for topic in counts}
        for connection, time, raw in reader.messages():
            found[connection.topic].append((time, reader.deserialize(raw, connection.msgtype)))
    assert [time for time, _ in found["/tf"]] == [index * 100_000_000 for index in IDS]
    for (_, message), index in zip(found["/tf"], IDS, strict=True):
        (stamped,) = message.transforms
        assert (stamped.header.frame_id, stamped.child_frame_id) == ("map", "camera_link")
        shift = stamped.transform.translation
        np.testing.assert_allclose([shift.x, shift.y, shift.z], (upright() @ orbit.pose(index))[:3, 3], atol=1e-9)
    info = found["/camera_info"][0][1]
    assert (info.width, info.height) == orbit.HW[::-1]
    np.testing.assert_allclose(info.k.reshape(3, 3)[:2, 2] + 0.5, [orbit.HW[1] / 2, orbit.HW[0] / 2])
    assert found["/image/compressed"][1][1].data.tobytes() == model.keyframes[1].picture
    cloud = found["/points"][0][1]
    table = np.frombuffer(cloud.data, [(field.name, "<f4") for field in cloud.fields])
    assert (len(table), cloud.point_step, cloud.header.frame_id) == (cloud.width, 20, "map")
    assert table["x"].min() > 0, "what the first camera sees lies ahead"
    assert len(found["/path"][0][1].poses) == 4
    with pytest.raises(OutputError, match="is not written over"):
        write_ros2bag(model, folder, 2000)


def test_a_recording_of_rerun(model: ExportModel, folder: ExportFolder) -> None:
    write_rrd(model, folder, 2000)
    rows: dict[str, int] = {}
    depths: list[bytes] = []
    for chunk in RrdReader(str(folder.path / "map.rrd")).stream():
        rows[chunk.entity_path] = rows.get(chunk.entity_path, 0) + chunk.num_rows
        batch = chunk.to_record_batch()
        if "DepthImage:buffer" in batch.schema.names:
            depths += [bytes(row[0]) for row in batch.column("DepthImage:buffer").to_pylist() if row]
    assert rows["/world/camera"] == len(IDS)
    assert rows["/world/camera/picture"] == 2 * len(IDS), "a camera and a picture each"
    assert rows["/world/camera/depth"] == 2 * len(IDS)
    for keyframe, data in zip(model.keyframes, depths, strict=True):
        metric = np.frombuffer(data, np.float32).reshape(keyframe.depth.shape)
        np.testing.assert_array_equal(metric, keyframe.depth * np.float32(keyframe.scale))
    assert [path for path in sorted(rows) if "points" in path] == [f"/world/points/{index:06d}" for index in IDS]
    assert rows["/world/path"] == rows["/world/tracks"] == 1
    outside = folder.path / "elsewhere"
    outside.write_text("dear all")
    (folder.path / "map.rrd").unlink()
    (folder.path / "map.rrd").symlink_to(outside)
    write_rrd(model, folder, 2000)
    assert outside.read_text() == "dear all"


def test_times_before_ros_are_refused(folder: ExportFolder) -> None:
    world = orbit_map((0, 8))
    world.keyframes[0] = replace(world.keyframes[0], time_s=-1.0)
    with pytest.raises(OutputError, match="before 1970"):
        write_ros2bag(ExportModel(world), folder, 100)


def test_a_folder_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="cannot make the folder"):
        ExportFolder(tmp_path / "file")
    with pytest.raises(OutputError, match="is not empty"):
        ExportFolder(tmp_path)
    folder = ExportFolder(tmp_path, overwrite=True)
    folder.write("a/b/c.txt", "text")
    assert (tmp_path / "a" / "b" / "c.txt").read_text() == "text"
    (tmp_path / "a" / "d").symlink_to(tmp_path)
    with pytest.raises(OutputError, match="symbolic link"):
        folder.write("a/d/c.txt", "text")
