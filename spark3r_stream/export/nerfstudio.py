"""nerfstudio's transforms.json with images/ and the sparse points it starts splats from, sparse_pc.ply.

Rules of nerfstudio's own reader: cameras look along -z with y up (OpenGL), `transform_matrix` takes them to the world,
and the points are in that same world, which has z up.
"""

from __future__ import annotations

import json

import numpy as np

from spark3r_stream.export.folder import ExportFolder
from spark3r_stream.export.model import Z_UP, ExportModel
from spark3r_stream.map.cloud import PointCloud
from spark3r_stream.outputs.ply import write_ply

OPENGL = np.diag([1.0, -1, -1, 1])


def write_nerfstudio(model: ExportModel, folder: ExportFolder) -> None:
    """Raises OutputError if a picture is missing or the disk refuses."""
    names = model.write_pictures(folder)
    height, width = model.world.picture_hw
    k = model.camera
    frames = [
        {
            "file_path": f"images/{name}",
            "transform_matrix": (Z_UP @ keyframe.world_from_camera @ OPENGL).tolist(),
        }
        for name, keyframe in zip(names, model.keyframes, strict=True)
    ]
    meta = {
        "camera_model": "OPENCV",
        "fl_x": float(k[0, 0]),
        "fl_y": float(k[1, 1]),
        "cx": float(k[0, 2]),
        "cy": float(k[1, 2]),
        "w": width,
        "h": height,
        "k1": 0.0,
        "k2": 0.0,
        "p1": 0.0,
        "p2": 0.0,
        "ply_file_path": "sparse_pc.ply",
        "frames": frames,
    }
    folder.write("transforms.json", json.dumps(meta, indent=1) + "\n")
    points = (model.points.places @ Z_UP[:3, :3].T).astype(np.float32)
    cloud = PointCloud(points, model.point_colours, np.ones(len(points), np.float32))
    write_ply(folder.place("sparse_pc.ply"), cloud)
