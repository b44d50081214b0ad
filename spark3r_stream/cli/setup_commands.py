"""Commands that come before a run: what this machine has, its keys, and what is printed and shown to a camera."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from tyro.conf import Positional


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
