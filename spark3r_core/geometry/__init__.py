"""Poses, similarities, cameras and points in numpy float64; no torch. Conventions: README.md beside this file."""

from spark3r_core.geometry.alignment import Alignment, align_points, align_poses, robust_scale, umeyama
from spark3r_core.geometry.camera import Intrinsics
from spark3r_core.geometry.camera_files import read_camera
from spark3r_core.geometry.sim3 import Sim3

__all__ = [
    "Alignment",
    "Intrinsics",
    "Sim3",
    "align_points",
    "align_poses",
    "read_camera",
    "robust_scale",
    "umeyama",
]
