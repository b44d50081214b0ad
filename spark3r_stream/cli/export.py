"""`spark3r export`: a map, the result folder or the recording of a run, into the formats of other tools."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from spark3r_core.user_paths import expand_home
from spark3r_stream.errors import OutputError
from spark3r_stream.export.folder import ExportFolder
from spark3r_stream.plain_text import cleaned

if TYPE_CHECKING:
    from spark3r_stream.export.model import ExportModel

Format = Literal[
    "colmap", "nerfstudio", "tum", "kitti", "glb", "laz", "mesh", "depth", "exr", "ros2bag", "rrd", "foxglove"
]
FORMATS = get_args(Format)
OF_RESULTS = ("tum", "kitti", "glb", "laz")  # what a result folder, which has no pictures, is enough for


def export_command(source: Path, to: Format, out: Path, max_points: int, overwrite: bool) -> int:
    """Raises OutputError or MapFileError."""
    if max_points < 1:
        raise OutputError(f"--max-points is {max_points}; expected at least 1")
    source = expand_home(source)
    if not source.exists():
        raise OutputError(
            f"there is no {source}; expected a map (run --map), a result folder (--out) or a recording (--record)"
        )
    is_recording = source.suffix.lower() == ".mcap"
    if to == "foxglove" and not is_recording:
        raise OutputError(f"--to foxglove needs a recording (run --record FILE.mcap), and {source} is none")
    if is_recording:
        _export_recording(source, to, out, overwrite)
    elif source.is_dir():
        _export_results(source, to, out, max_points, overwrite)
    else:
        _export_map(source, to, out, max_points, overwrite)
    print(f"{to} written to {cleaned(out)}", file=sys.stderr)
    return 0


def _export_map(source: Path, to: Format, out: Path, max_points: int, overwrite: bool) -> None:
    from spark3r_stream.export.model import ExportModel
    from spark3r_stream.map_file.reading import read_map

    saved = read_map(source)
    model = ExportModel(saved.placed(), saved.metres is not None and saved.metres.z_up)
    folder = ExportFolder(out, overwrite)
    if to in ("tum", "kitti"):
        from spark3r_stream.export.trajectories import keyframe_trajectory, write_kitti, write_tum

        (write_tum if to == "tum" else write_kitti)(keyframe_trajectory(model), folder)
    elif to in ("glb", "laz"):
        from spark3r_stream.export.clouds import write_glb, write_laz
        from spark3r_stream.export.dense import dense_cloud

        (write_glb if to == "glb" else write_laz)(dense_cloud(model, max_points), folder)
    else:
        _export_pictures(model, to, folder, max_points)


def _export_pictures(model: ExportModel, to: Format, folder: ExportFolder, max_points: int) -> None:
    if to == "colmap":
        from spark3r_stream.export.colmap import write_colmap

        write_colmap(model, folder)
    elif to == "nerfstudio":
        from spark3r_stream.export.nerfstudio import write_nerfstudio

        write_nerfstudio(model, folder)
    elif to in ("depth", "exr"):
        from spark3r_stream.export.depth import write_depth, write_exr

        (write_depth if to == "depth" else write_exr)(model, folder)
    elif to == "mesh":
        from spark3r_stream.export.mesh import write_mesh

        write_mesh(model, folder)
    elif to == "rrd":
        from spark3r_stream.export.rerun_file import write_rrd

        write_rrd(model, folder, max_points)
    else:
        from spark3r_stream.export.ros2 import write_ros2bag

        write_ros2bag(model, folder, max_points)


def _export_recording(source: Path, to: Format, out: Path, overwrite: bool) -> None:
    if to == "foxglove":
        from spark3r_stream.export.foxglove_file import write_foxglove

        write_foxglove(source, out, overwrite)
        return
    from spark3r_stream.export.ros2_recording import write_recording_bag

    if to != "ros2bag":
        raise OutputError(
            f"--to {to} needs a map, and a recording has none; `spark3r run {source} --map room.s3rmap` makes it"
        )
    write_recording_bag(source, ExportFolder(out, overwrite))


def _export_results(source: Path, to: Format, out: Path, max_points: int, overwrite: bool) -> None:
    """Every frame's pose from trajectory.txt, the cloud from cloud.ply."""
    from spark3r_stream.map.trajectory import read_trajectory
    from spark3r_stream.outputs.ply import read_ply

    if to not in OF_RESULTS:
        raise OutputError(
            f"--to {to} needs pictures, and a result folder has none; run with --map and export that file"
        )
    if source.resolve() in (out.resolve(), *out.resolve().parents):
        raise OutputError(f"--out {out} is inside of the folder that is read; give another one")
    if to in ("tum", "kitti"):
        from spark3r_stream.export.trajectories import write_kitti, write_tum

        trajectory = read_trajectory(source / "trajectory.txt")
        (write_tum if to == "tum" else write_kitti)(trajectory, ExportFolder(out, overwrite))
        return
    from spark3r_stream.export.clouds import write_glb, write_laz

    cloud = read_ply(source / "cloud.ply")
    if len(cloud.points) > max_points:
        cloud = cloud.take(slice(None, None, -(-len(cloud.points) // max_points)))
    (write_glb if to == "glb" else write_laz)(cloud, ExportFolder(out, overwrite))
