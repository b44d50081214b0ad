"""Point clouds as other programs open them: GLB (trimesh) and LAZ (laspy)."""

from __future__ import annotations

import io

import numpy as np

from spark3r_stream.errors import OutputError
from spark3r_stream.export.folder import ExportFolder
from spark3r_stream.export.model import Z_UP
from spark3r_stream.map.cloud import PointCloud
from spark3r_stream.outputs.mesh_files import GLTF


def write_glb(cloud: PointCloud, folder: ExportFolder) -> None:
    """cloud.glb: points with colours, y up as glTF has it. Raises OutputError."""
    import trimesh

    _require_points(cloud)
    opaque = np.full((len(cloud.points), 1), 255, np.uint8)
    points = trimesh.PointCloud(cloud.points @ GLTF.T, np.concatenate([cloud.colours, opaque], 1))
    folder.write("cloud.glb", trimesh.Scene([points]).export(file_type="glb"))


def write_laz(cloud: PointCloud, folder: ExportFolder) -> None:
    """cloud.laz: LAS 1.4, point format 7, z up; intensity is the confidence. Raises OutputError."""
    import laspy

    _require_points(cloud)
    points = cloud.points.astype(np.float64) @ Z_UP[:3, :3].T
    header = laspy.LasHeader(version="1.4", point_format=7)
    header.creation_date = None  # the same bytes whenever it is written
    header.offsets = points.min(0)
    step = max(float(np.ptp(points, axis=0).max()), 1e-6) / 2**30  # LAS counts in whole steps of 32 bits
    header.scales = np.full(3, 10.0 ** np.ceil(np.log10(step)))
    las = laspy.LasData(header)
    las.x, las.y, las.z = points.T
    las.red, las.green, las.blue = cloud.colours.T.astype(np.uint16) * 257
    las.intensity = np.clip(np.rint(cloud.confidence * 65535), 0, 65535).astype(np.uint16)
    buffer = io.BytesIO()
    las.write(buffer, do_compress=True)
    folder.write("cloud.laz", buffer.getvalue())


def _require_points(cloud: PointCloud) -> None:
    if not len(cloud.points):
        raise OutputError("there are no points to export")
