"""The COLMAP model, read and adjusted by COLMAP itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pycolmap
import pytest
from PIL import Image

from spark3r_core.geometry import se3
from spark3r_stream.errors import OutputError
from spark3r_stream.export.colmap import write_colmap
from spark3r_stream.export.folder import ExportFolder
from spark3r_stream.export.model import ExportModel
from tests.core.stream import orbit
from tests.helpers_map import FOCAL, IDS, orbit_map


def loaded(folder: ExportFolder, kind: str) -> pycolmap.Reconstruction:
    model = pycolmap.Reconstruction()
    (model.read_binary if kind == "bin" else model.read_text)(str(folder.path / "sparse" / "0"))
    return model


@pytest.mark.parametrize("kind", ["bin", "txt"])
def test_colmap_reads_it(model: ExportModel, folder: ExportFolder, kind: str) -> None:
    write_colmap(model, folder)
    found = loaded(folder, kind)
    (camera,) = found.cameras.values()
    assert (camera.model.name, camera.width, camera.height) == ("SIMPLE_PINHOLE", orbit.HW[1], orbit.HW[0])
    np.testing.assert_allclose(camera.params, [FOCAL, orbit.HW[1] / 2, orbit.HW[0] / 2])
    by_name = {image.name: image for image in found.images.values()}
    assert sorted(by_name) == [f"{index:06d}.jpg" for index in IDS]
    for index in IDS:
        image = by_name[f"{index:06d}.jpg"]
        pose = np.eye(4)
        pose[:3] = image.cam_from_world().matrix()
        np.testing.assert_allclose(pose, se3.invert(orbit.pose(index)), atol=1e-9)
        assert Image.open(folder.path / "images" / image.name).size == orbit.HW[::-1]
        assert image.num_points2D() == len(orbit.features(index))
        np.testing.assert_allclose(image.points2D[5].xy, orbit.features(index).places[5], rtol=1e-6)
    assert found.num_points3D() == len(model.points) > 100
    assert min(point.track.length() for point in found.points3D.values()) >= 2
    assert found.compute_mean_track_length() > 2
    told = found.compute_mean_reprojection_error()
    found.update_point_3d_errors()
    assert found.compute_mean_reprojection_error() == pytest.approx(told, rel=1e-3), "errors are what COLMAP finds"
    assert told < 0.5


def test_text_and_binary_say_the_same(model: ExportModel, folder: ExportFolder) -> None:
    write_colmap(model, folder)
    text, binary = loaded(folder, "txt"), loaded(folder, "bin")
    for number, point in binary.points3D.items():
        other = text.points3D[number]
        np.testing.assert_array_equal(point.xyz, other.xyz)
        np.testing.assert_array_equal(point.color, other.color)
        assert [(e.image_id, e.point2D_idx) for e in point.track.elements] == [
            (e.image_id, e.point2D_idx) for e in other.track.elements
        ]


def test_its_bundle_adjustment_starts_from_it(folder: ExportFolder) -> None:
    """One camera a little off: COLMAP brings it back, so tracks, cameras and points belong together."""
    world = orbit_map()
    off = world.keyframes[16].world_from_camera.copy()
    off[:3, 3] += (0.01, -0.01, 0.01)
    world.keyframes[16] = world.keyframes[16].moved(off, 1.0)
    write_colmap(ExportModel(world), folder)
    found = loaded(folder, "bin")
    before = found.compute_mean_reprojection_error()
    options = pycolmap.BundleAdjustmentOptions()
    options.print_summary = False
    options.refine_focal_length = False
    pycolmap.bundle_adjustment(found, options)
    found.update_point_3d_errors()
    after = found.compute_mean_reprojection_error()
    assert after < min(0.7 * before, 0.5)


def test_points_lie_on_the_surface_and_have_its_colour(model: ExportModel) -> None:
    points = model.points
    assert (points.error < 1).mean() > 0.9
    first = points.slot == 0
    at = orbit.features(0).places[points.feature[first]]
    z = orbit.depth(0)[tuple(np.floor(at).astype(int).T[::-1])]
    off = np.abs(points.places[points.point[first]][:, 2] / z - 1)
    assert np.median(off) < 0.02
    picture = orbit.picture(0)[tuple(np.floor(at).astype(int).T[::-1])].astype(float)
    assert np.abs(model.point_colours[points.point[first]] - picture).mean() < 25


def test_sightings_that_do_not_fit_are_left_out() -> None:
    world = orbit_map()
    before = len(ExportModel(world).points)
    features = world.keyframes[8].features
    places = features.places.copy()
    places[::2] += 25.0
    world.keyframes[8] = replace(world.keyframes[8], features=replace(features, places=np.clip(places, 0, 140)))
    points = ExportModel(world).points
    assert 0.3 * before < len(points) < before
    assert points.error.max() < 2
    mine = points.feature[points.slot == 1]
    assert (mine % 2 == 1).mean() > 0.95


def test_pixels_that_are_not_square_and_maps_without_tracks(folder: ExportFolder) -> None:
    world = orbit_map((0, 8))
    world.given_camera = np.array([[FOCAL, 0, 90.0], [0, FOCAL * 1.02, 70.0], [0, 0, 1]])
    world.tracks = type(world.tracks)()
    write_colmap(ExportModel(world), folder)
    found = loaded(folder, "bin")
    (camera,) = found.cameras.values()
    assert camera.model.name == "PINHOLE"
    np.testing.assert_allclose(camera.params, [FOCAL, FOCAL * 1.02, 90, 70])
    assert found.num_points3D() == 0
    assert len(found.images) == 2


def test_a_keyframe_without_a_picture_is_named(folder: ExportFolder) -> None:
    world = orbit_map((0, 8))
    world.keyframes[8] = replace(world.keyframes[8], picture=b"")
    with pytest.raises(OutputError, match="keyframe 8 of this map has no picture"):
        write_colmap(ExportModel(world), folder)
