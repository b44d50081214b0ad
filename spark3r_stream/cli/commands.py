"""The commands and their options. Each imports what it needs when it runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional

from spark3r_stream.cli.export import Format
from spark3r_stream.cli.grouped import run_config
from spark3r_stream.config import ConfigError, RunConfig
from spark3r_stream.threads import leave_a_core

Grouped = Annotated[RunConfig, tyro.conf.arg(name="", constructor=run_config)]
MAX_POINTS = 2_000_000


def run(config: Grouped) -> int:
    """Reconstruct a live camera, a stream or a recording: poses and geometry, live and as files."""
    if config.track == "on":  # before torch is loaded
        leave_a_core()
    if config.others:
        from spark3r_stream.cli.several import several_command

        return several_command(config)
    from spark3r_stream.cli.run import run_command

    return run_command(config)


def fleet(
    what: Positional[str], camera: Positional[str | None] = None, name: str | None = None, json: bool = False
) -> int:
    """Run many cameras from one file, on one machine or several, as one stream; or ask one that runs (docs/fleet.md).

    Args:
        what: FILE.yaml, which is run; or, of a fleet that runs on this machine, status, add or remove.
        camera: NAME=SOURCE to add, NAME to remove.
        name: of the fleet that is asked; default: the only one that runs here.
        json: the answer as one JSON object.
    """
    from spark3r_stream.cli.fleet import fleet_command

    return fleet_command(what, camera, name, json)


def echo(
    endpoint: Positional[str],
    topic: str = "/frame/",
    count: int | None = None,
    json: bool = False,
    timeout: float | None = None,
    keys: Path | None = None,
    server_key: str | None = None,
) -> int:
    """Print what a subscriber receives.

    Args:
        endpoint: where the publisher is, e.g. tcp://127.0.0.1:5555.
        topic: a topic such as /frame/ or /cloud/ (the slashes may be left away), /frame/left/ for one of several
            cameras, or "all".
        count: stop after so many messages.
        json: one JSON line per message.
        timeout: give up (exit 1) when nothing came for so many seconds.
        keys: folder of this client's keys, for a publisher that wants them (docs/security.md).
        server_key: public key of that publisher, or the file that holds it; default: the one in the folder of keys.
    """
    from spark3r_stream.cli.echo import echo_command
    from spark3r_stream.cli.keys import client_security

    return echo_command(endpoint, topic, count, json, timeout, client_security(keys, server_key))


def view(
    source: Positional[str],
    camera: str = "",
    host: str = "127.0.0.1",
    port: int | None = None,
    no_browser: bool = False,
    until_unwatched: float | None = None,
    offscreen: Path | None = None,
    seconds: float | None = None,
    keys: Path | None = None,
    server_key: str | None = None,
) -> int:
    """Show a running stream, a recording or a folder of results in 3D, on a page for the browser.

    Args:
        source: endpoint of a publisher, an .mcap recording, or a folder that `run --out` made.
        camera: of a stream of several cameras, the only one to show.
        host: address the page is served on; one that other machines can reach is given a token.
        port: of the page; default: 8080, or the next that is free.
        no_browser: print the page's address only. It is opened where there is a screen.
        until_unwatched: end when the stream is over and no page has been open for so many seconds; default: never.
        offscreen: draw a PNG to this file instead.
        seconds: how long to listen before the offscreen picture is made; default: until the stream ends.
        keys: folder of this client's keys, for a publisher that wants them (docs/security.md).
        server_key: public key of that publisher, or the file that holds it; default: the one in the folder of keys.
    """
    from spark3r_stream.cli.keys import client_security
    from spark3r_stream.cli.view import view_command

    return view_command(
        source,
        client_security(keys, server_key),
        camera=camera,
        offscreen=offscreen,
        seconds=seconds,
        host=host,
        port=port,
        opens_browser=not no_browser,
        unwatched_s=until_unwatched,
    )


def cameras() -> int:
    """List the cameras of this machine."""
    from spark3r_stream.cli.info import cameras_command

    return cameras_command()


def models(
    action: Positional[Literal["list", "get"]] = "list",
    name: Positional[str | None] = None,
    fit: bool = False,
    device: str = "auto",
    accept_licence: bool = False,
    json: bool = False,
) -> int:
    """List the backbones, say whether they fit this machine, or fetch released weights (docs/models.md).

    Args:
        action: list: parameters, licences, sizes, and where weights were found. get: fetch the weights of NAME from the
            hub; no other command calls it, and what was fetched before a break is kept.
        name: a model; list shows all without one.
        fit: list what each model takes of this machine's memory, and about how many keyframes it maps per second. The
            first time measures, which takes half a minute.
        device: of --fit: cpu, cuda, or auto.
        accept_licence: of get: needed for weights that may not be used commercially.
        json: one JSON line per model.
    """
    from spark3r_stream.cli.info import get_command, models_command

    if action == "get":
        return get_command(name, accept_licence)
    if fit:
        from spark3r_stream.cli.fit import fit_command

        return fit_command(name, device, json)
    return models_command(name, json)


def doctor() -> int:
    """Check this installation and say what to install."""
    from spark3r_stream.cli.doctor import doctor_command

    return doctor_command()


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


def reconstruct(
    config: Grouped,
    reduction: Literal["spark3r", "dense", "kv-stride"] = "spark3r",
) -> int:
    """Reconstruct all frames of a source jointly (offline), with Spark3R's token reduction.

    Args:
        config: as for run; --out is needed, options of streams are refused.
        reduction: spark3r, dense (the reference), or kv-stride (keys and values only).
    """
    from spark3r_stream.cli.offline import reconstruct_command

    if config.out is None:
        raise ConfigError("reconstruct writes files; give a folder with --out")
    return reconstruct_command(config, reduction, config.out)


def probe(config: Grouped, save: Path | None = None) -> int:
    """Measure which global layers of a model are sensitive to pruned keys and values (Spark3R's table).

    Args:
        config: as for run; options of streams and of results are refused.
        save: JSON file for the table.
    """
    from spark3r_stream.cli.offline import probe_command

    return probe_command(config, save)


def ros2_bridge(
    endpoint: Positional[str],
    camera: str = "",
    prefix: str = "",
    map_frame: str = "map",
    odom_frame: str = "odom",
    base_frame: str = "camera_link",
    camera_frame: str = "camera_optical_frame",
    scale: float = 1.0,
    gravity: tuple[float, float, float] = (0.0, 1.0, 0.0),
    no_tf: bool = False,
    clock: bool = False,
    keys: Path | None = None,
    server_key: str | None = None,
) -> int:
    """Republish a running stream in ROS 2: odometry, tf, points, pictures (docs/ros2_bridge.md).

    Args:
        endpoint: of the publisher, e.g. tcp://127.0.0.1:5555. It need not run yet, and may restart.
        camera: of a stream of several cameras, the one to bridge.
        prefix: before the names of frames and topics, for several cameras in one system.
        map_frame: REP 105's map.
        odom_frame: REP 105's odom.
        base_frame: the camera's body frame, x ahead, y left, z up.
        camera_frame: the camera's optical frame, z ahead.
        scale: metres per unit of the stream.
        gravity: direction down in the axes of the first picture (x right, y down, z ahead), of any length.
        no_tf: publish no transforms, where something else places the camera.
        clock: publish /clock from the stamps, for files and recordings (use_sim_time).
        keys: folder of this client's keys, for a publisher that wants them (docs/security.md).
        server_key: public key of that publisher, or the file that holds it; default: the one in the folder of keys.
    """
    from spark3r_stream.cli.keys import client_security
    from spark3r_stream.cli.ros2 import ros2_bridge_command
    from spark3r_stream.ros2.naming import Naming

    names = Naming(prefix, map_frame, odom_frame, base_frame, camera_frame)
    security = client_security(keys, server_key)
    return ros2_bridge_command(
        endpoint, names, scale, gravity, security, camera=camera, with_tf=not no_tf, with_clock=clock
    )


def foxglove(
    endpoint: Positional[str],
    host: str = "127.0.0.1",
    port: int = 8765,
    insecure: bool = False,
    keys: Path | None = None,
    server_key: str | None = None,
) -> int:
    """Serve a running stream to the Foxglove app (Open connection, Foxglove WebSocket).

    Args:
        endpoint: of the publisher, e.g. tcp://127.0.0.1:5555. It need not run yet, and may restart.
        host: address to serve on.
        port: to serve on; 0 takes any free one.
        insecure: allow an address that other machines can reach; the protocol has no keys.
        keys: folder of this client's keys, for a publisher that wants them (docs/security.md).
        server_key: public key of that publisher, or the file that holds it; default: the one in the folder of keys.
    """
    from spark3r_stream.cli.foxglove import foxglove_command
    from spark3r_stream.cli.keys import client_security

    return foxglove_command(endpoint, host, port, client_security(keys, server_key), insecure=insecure)


def keys(action: Positional[Literal["new", "show"]], dir: Path | None = None) -> int:
    """Make a pair of keys for this machine, or show its public key and the clients it admits (docs/security.md).

    Args:
        action: new or show.
        dir: folder of the keys; default: keys in the folder that `spark3r config` names.
    """
    from spark3r_stream.cli.keys import keys_command

    return keys_command(action, dir)


def tag(
    out: Positional[Path],
    tag: str = "36h11:0.16:0",
    dpi: int = 300,
) -> int:
    """Make a tag to print, of true size: one whose edge says how long a metre is (docs/metres.md).

    Args:
        out: .pdf or .png file; one that is there is never replaced.
        tag: FAMILY:METRES:ID, where METRES is the edge of the black square.
        dpi: of a PNG, which a printer has to be told; a PDF has its size.
    """
    from spark3r_stream.cli.tag import tag_command

    return tag_command(out, tag, dpi)


def board(out: Positional[Path], board: str = "8x5:32") -> int:
    """Make a board to print, by which spark3r calibrate knows a camera (docs/camera.md).

    Args:
        out: .pdf or .png file; one that is there is never replaced.
        board: COLUMNSxROWS of squares, and their edge in millimetres; 8x5:32 fits on A4 and Letter.
    """
    from spark3r_stream.cli.board import board_command

    return board_command(out, board)


def calibrate(
    source: Positional[str],
    out: Path = Path("camera.json"),
    board: str = "8x5",
    fisheye: bool = False,
    no_board: bool = False,
    overwrite: bool = False,
    no_remember: bool = False,
) -> int:
    """Calibrate a camera: show it the board of spark3r board, near and far, tilted, everywhere in the picture.

    Ends by itself when it has seen enough, or with Ctrl-C; then focal length, centre and lens are written with their
    deviations. Without a board, move it through a room instead.

    Args:
        source: as for run: webcam:0, rtsp://…, a video, a folder of pictures.
        out: JSON file for --camera; OpenCV's YAML is written beside it.
        board: COLUMNSxROWS of its squares.
        fisheye: the lens is a fisheye (equidistant), about 110 degrees or more.
        no_board: by the camera's motion past a scene that stands still: focal length, centre, k1 and k2.
        overwrite: replace those files.
        no_remember: do not keep it for this camera; spark3r run takes what was kept unless --camera says otherwise.
    """
    if no_board:
        from spark3r_stream.cli.calibrate_by_motion import calibrate_by_motion_command
        from spark3r_stream.config import ConfigError

        if fisheye:
            raise ConfigError("--no-board knows k1 and k2 of a radial lens only; calibrate a fisheye by a board")
        return calibrate_by_motion_command(source, out, overwrite=overwrite, keeps=not no_remember)
    from spark3r_stream.cli.calibrate import calibrate_command

    return calibrate_command(source, out, board, fisheye=fisheye, overwrite=overwrite, keeps=not no_remember)


def config(json: bool = False) -> int:
    """Show which options come from the configuration file and from SPARK3R_* variables (docs/configuration.md).

    Args:
        json: one JSON object.
    """
    from spark3r_stream.cli.config import config_command

    return config_command(COMMANDS, json)


def demo(out: Path = Path("out/demo"), frames: int = 120) -> int:
    """Map a synthetic room, receive the result in a second process, and compare it with the truth.

    Args:
        out: where results go.
        frames: length of the stream.
    """
    from spark3r_stream.cli.demo import demo_command

    return demo_command(out, frames)


COMMANDS: dict[str, Callable[..., int]] = {
    "run": run,
    "fleet": fleet,
    "echo": echo,
    "view": view,
    "replay": replay,
    "inspect": inspect,
    "compare": compare,
    "map": map_,
    "export": export,
    "ros2-bridge": ros2_bridge,
    "foxglove": foxglove,
    "reconstruct": reconstruct,
    "probe": probe,
    "cameras": cameras,
    "models": models,
    "doctor": doctor,
    "tag": tag,
    "keys": keys,
    "board": board,
    "calibrate": calibrate,
    "config": config,
    "demo": demo,
}
