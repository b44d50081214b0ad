"""A mesh of a map, read back by trimesh: where the rendered surface is, in both files' axes."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from spark3r_core.geometry.pointmap import points_from_depth
from spark3r_stream.export.folder import ExportFolder
from spark3r_stream.export.mesh import posed_depths, write_mesh
from spark3r_stream.export.model import ExportModel
from tests.helpers_map import IDS


@pytest.mark.mesh
def test_a_mesh_lies_on_the_surfaces_of_its_keyframes(model: ExportModel, folder: ExportFolder) -> None:
    write_mesh(model, folder)
    mesh = trimesh.load(folder.path / "mesh.ply", process=False)
    assert len(mesh.faces) > 1000
    assert mesh.visual.vertex_colors.shape == (len(mesh.vertices), 4)
    true = np.concatenate([
        points_from_depth(one.depth, one.depth_intrinsics, one.world_from_camera).reshape(-1, 3)[::7]
        for one in model.keyframes
    ])  # fmt: skip
    size = np.linalg.norm(np.ptp(true, axis=0))
    off = np.array([np.linalg.norm(true - vertex, axis=1).min() for vertex in mesh.vertices[::50]])
    assert np.percentile(off, 90) < 0.03 * size

    glb = trimesh.load(folder.path / "mesh.glb", force="mesh", process=False)
    np.testing.assert_allclose(np.ptp(glb.vertices, axis=0), np.ptp(mesh.vertices, axis=0), rtol=1e-4)
    np.testing.assert_allclose(glb.vertices.mean(0) * [1, -1, -1], mesh.vertices.mean(0), atol=1e-3 * size)


def test_depth_is_read_off_the_kept_pictures(model: ExportModel) -> None:
    depths = posed_depths(model)
    assert len(depths) == len(IDS)
    for one, keyframe in zip(depths, model.keyframes, strict=True):
        assert one.map_from_keyframe.scale == keyframe.scale
        assert np.isfinite(one.depth).all()
        assert one.image.shape[:2] == one.depth.shape
