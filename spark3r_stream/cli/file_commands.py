"""Commands on what a run left: recordings, trajectories and maps."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional

from spark3r_stream.cli.export import Format
from spark3r_stream.config import ConfigError

MAX_POINTS = 2_000_000


def replay(
    recording: Positional[Path],
    publish: str = "tcp://127.0.0.1:5555",
    speed: Annotated[float | None, tyro.conf.arg(aliases=["--rate"])] = 1.0,
    loop: bool = False,
    start: float = 0.0,
    wait_subscribers: int = 0,
    start_paused: bool = False,
    keys: Path | None = None,
    insecure: bool = False,
) -> int:
    """Publish a recording again, as it was.

    Args:
        recording: .mcap file.
        publish: ZeroMQ endpoint.
        speed: 1 as recorded, 2 twice as fast, None as fast as possible.
        loop: begin again at the end.
        start: seconds into the recording.
        wait_subscribers: begin when so many subscribers are there, so that none misses the first messages.
        start_paused: begin when Enter is pressed (a line on standard input); each further one holds it or lets it go.
        keys: folder of keys: encrypt, and admit only the clients listed there; any address may be used then.
        insecure: allow an address that other machines can reach without keys.
    """
    from spark3r_stream.cli.recordings import replay_command
    from spark3r_stream.running.security import server_security

    return replay_command(
        recording, publish, speed, loop, start, wait_subscribers, start_paused, insecure, server_security(keys)
    )


def inspect(recording: Positional[Path], json: bool = False) -> int:
    """Say what a recording holds, and whether anything is missing (then exit code 1)."""
    from spark3r_stream.cli.recordings import inspect_command

    return inspect_command(recording, json)


def compare(
    estimate: Positional[str],
    reference: Positional[str],
    ate: float | None = None,
    rotation: float | None = None,
    coverage: float = 0.8,
    tolerance: float = 0.02,
    offset: float = 0.0,
    json: bool = False,
    plot: Path | None = None,
) -> int:
    """Say how far two trajectories are apart; exit code 1 if a limit is not kept (docs/testing.md).

    Args:
        estimate: result folder, recording (.mcap), TUM or KITTI file, or synthetic:…
        reference: the same, or the truth. Two recordings are compared byte by byte as well.
        ate: limit of the trajectory error after one similarity, as a share of the spread of the reference's path.
        rotation: limit of the median error of turns over a second, in degrees.
        coverage: with a limit, the share of the reference that must have poses.
        tolerance: seconds between times that are taken for the same.
        offset: seconds added to the times of the estimate.
        json: one JSON object instead of the table.
        plot: PNG of both paths and of the error over time.
    """
    from spark3r_stream.cli.compare import compare_command
    from spark3r_stream.evaluation.compare import Limits

    return compare_command(estimate, reference, Limits(ate, rotation, coverage), tolerance, offset, json, plot)


def map_(
    action: Positional[Literal["info", "export", "merge"]],
    file: Positional[Path],
    other: Positional[Path | None] = None,
    json: bool = False,
    to: Format | None = None,
    out: Path | None = None,
    max_points: int = MAX_POINTS,
    overwrite: bool = False,
) -> int:
    """Say what is in a map that `run --map` wrote, export it, or make one of two.

    Args:
        action: info; export, which is what `spark3r export` does; or merge.
        file: .s3rmap file.
        other: the one that is merged into it.
        json: info, or what came of a merge, as one JSON object.
        to: format of an export.
        out: folder of an export, file of a merge.
        max_points: of an exported cloud.
        overwrite: let an export replace files of its names in a folder that is not empty.
    """
    if action == "merge":
        if other is None or out is None:
            raise ConfigError(
                "map merge needs two maps and a file for the third; give A.s3rmap B.s3rmap --out C.s3rmap"
            )
        from spark3r_stream.cli.merging import map_merge_command

        return map_merge_command(file, other, out, json)
    if other is not None:
        raise ConfigError(f"map {action} takes one file, and there is a second one, {other}")
    if action == "export":
        if to is None or out is None:
            raise ConfigError("map export needs a format and a folder; give --to and --out")
        return export(file, to, out, max_points, overwrite)
    from spark3r_stream.cli.maps import map_info_command

    return map_info_command(file, json)


def export(
    source: Positional[Path], to: Format, out: Path, max_points: int = MAX_POINTS, overwrite: bool = False
) -> int:
    """Write a map, or what else a run left, in the format of another tool (docs/export.md).

    Args:
        source: .s3rmap file; for tum, kitti, glb and laz also a result folder, for ros2bag also a recording; for
            foxglove a recording and nothing else.
        to: colmap, nerfstudio, tum, kitti, glb, laz, mesh, depth, exr, ros2bag, rrd or foxglove.
        out: folder for it, new or empty; for foxglove a file, FILE.mcap.
        max_points: of a cloud.
        overwrite: let files of the same names in a folder that is not empty, or an older recording, be replaced.
    """
    from spark3r_stream.cli.export import export_command

    return export_command(source, to, out, max_points, overwrite)
