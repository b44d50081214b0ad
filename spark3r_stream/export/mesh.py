"""One coloured surface of a map, as PLY and GLB: depth from several views, fused (map/surface.py)."""

from __future__ import annotations

from dataclasses import replace

from spark3r_core.stream.dense import dense_depths, small_picture
from spark3r_stream.export.folder import ExportFolder
from spark3r_stream.export.model import ExportModel
from spark3r_stream.map.surface import PosedDepth, fused, usable_depth
from spark3r_stream.outputs.mesh_files import FIELD_BYTES, mesh_files, require_mesh


def write_mesh(model: ExportModel, folder: ExportFolder) -> None:
    """mesh.ply, in the axes and the unit of the map, and mesh.glb, y up as glTF has it.

    Raises OutputError where a picture is missing, GeometryError where there is no surface.
    """
    require_mesh()  # what is missing is told before minutes of work
    for name, data in mesh_files(fused(posed_depths(model), FIELD_BYTES)).items():
        folder.write(name, data)


def posed_depths(model: ExportModel) -> list[PosedDepth]:
    """Depth of every keyframe, read off the pictures around it, and where it lies."""
    world = model.world.draft()
    for keyframe, picture in zip(model.keyframes, model.pictures, strict=True):
        world.keyframes[keyframe.frame_id] = replace(keyframe, small_picture=small_picture(picture))
    depths = dense_depths(world, world.order, world.picture_hw)
    return [
        PosedDepth(
            usable_depth(dense.depth, dense.confidence),
            dense.picture,
            dense.intrinsics,
            world.keyframes[frame_id].map_from_keyframe,
        )
        for frame_id, dense in sorted(depths.items())
    ]
