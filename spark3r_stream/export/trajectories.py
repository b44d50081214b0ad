"""Trajectories as evaluation tools read them: TUM (time and pose) and KITTI (3×4 matrices, times in a second file)."""

from __future__ import annotations

import numpy as np

from spark3r_stream.export.folder import ExportFolder
from spark3r_stream.export.model import ExportModel, time_ns
from spark3r_stream.map.trajectory import Trajectory, format_seconds, write_trajectory


def keyframe_trajectory(model: ExportModel) -> Trajectory:
    return Trajectory(
        np.array([time_ns(keyframe) for keyframe in model.keyframes], np.int64),
        np.stack([keyframe.world_from_camera for keyframe in model.keyframes]),
    )


def write_tum(trajectory: Trajectory, folder: ExportFolder) -> None:
    """trajectory.txt: `timestamp tx ty tz qx qy qz qw`. Raises OutputError."""
    write_trajectory(folder.place("trajectory.txt"), trajectory)


def write_kitti(trajectory: Trajectory, folder: ExportFolder) -> None:
    """poses.txt: the upper three rows of world_from_camera, row by row; times.txt: seconds. Raises OutputError."""
    rows = [" ".join(f"{value:.12g}" for value in pose[:3].ravel()) for pose in trajectory.world_from_camera]
    folder.write("poses.txt", "".join(f"{row}\n" for row in rows))
    folder.write("times.txt", "".join(f"{format_seconds(int(time))}\n" for time in trajectory.time_ns))
