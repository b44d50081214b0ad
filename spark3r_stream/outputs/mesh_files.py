"""A fused surface as files: PLY in the axes of the map, GLB with y up as glTF has it. By trimesh (extra `mesh`)."""

from __future__ import annotations

import importlib.util

import numpy as np

from spark3r_stream.map.surface import Mesh

MESH_NAMES = ("mesh.ply", "mesh.glb")
GLTF = np.diag([1.0, -1, -1])  # from the map's axes: y up, looking along -z
FIELD_BYTES = 1 << 30  # while a surface is made; in a larger map voxels are larger


def require_mesh() -> None:
    """Raise ModuleNotFoundError for a library that is not installed. Takes no time: nothing is imported."""
    for name in ("open3d", "trimesh"):
        if importlib.util.find_spec(name) is None:
            raise ModuleNotFoundError(f"{name} is not installed", name=name)


def mesh_files(mesh: Mesh) -> dict[str, bytes]:
    """Contents by MESH_NAMES. Equal meshes give equal bytes."""
    import trimesh

    opaque = np.full((len(mesh.colours), 1), 255, np.uint8)
    colours = np.concatenate([mesh.colours, opaque], 1)
    files: dict[str, bytes] = {}
    for name, vertices in zip(MESH_NAMES, (mesh.vertices, mesh.vertices @ GLTF.T), strict=True):
        surface = trimesh.Trimesh(vertices, mesh.triangles, vertex_colors=colours, process=False)
        data = surface.export(file_type=name[-3:])
        assert isinstance(data, bytes)
        files[name] = data
    return files
