"""`spark3r calibrate`: a camera's focal length, centre and lens from pictures of a printed board."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.live import Live
from rich.text import Text

from spark3r_core.calibration.board import Board
from spark3r_core.calibration.coverage import BoardView, Coverage
from spark3r_core.calibration.solve import FISHEYE, RADIAL_TANGENTIAL, Calibrated, calibrate
from spark3r_core.errors import GeometryError
from spark3r_core.geometry.camera import Intrinsics
from spark3r_core.geometry.camera_files import camera_as_json
from spark3r_core.geometry.camera_writing import opencv_yaml
from spark3r_stream.cli.board import board_of
from spark3r_stream.cli.stop import Stop
from spark3r_stream.clock import SystemClock
from spark3r_stream.config import ConfigError
from spark3r_stream.engine.frame_buffer import DropPolicy, FrameBuffer
from spark3r_stream.engine.producer import Producer
from spark3r_stream.errors import EndOfStream, OutputError, StreamError
from spark3r_stream.files import write_whole
from spark3r_stream.plain_text import cleaned
from spark3r_stream.running.remembered import remember
from spark3r_stream.sources.base import Source
from spark3r_stream.sources.open import is_recording, open_source
from spark3r_stream.sources.options import SourceOptions

ENOUGH_VIEWS = 25  # with nothing missing: then it ends by itself
MOST_DEVIATION = 0.01  # of a focal length, beyond which the views said too little of it
_POLL_S = 0.25


def calibrate_command(source: str, out: Path, words: str, *, fisheye: bool, overwrite: bool, keeps: bool) -> int:
    """0 when the files are written."""
    board = board_of(words)
    check_targets(source, out, overwrite)
    stop = Stop()
    with stop.on_signals():
        with stop.interrupting():
            opened = open_source(source, SourceOptions(), SystemClock())
        with contextlib.closing(opened):
            coverage = gathered(opened, board, stop.event)
    if coverage is None or coverage.missing:
        wanted = ["the board: nothing was seen of it"] if coverage is None else coverage.missing
        raise StreamError(f"not enough to calibrate by, so nothing is written; missing: {'; '.join(wanted)}")
    try:
        found = calibrate(coverage.views, coverage.size_wh, fisheye=fisheye)
    except GeometryError as error:
        raise StreamError(f"nothing is written: {error}") from None
    sigma = found.deviations["fx"] / found.camera.fx
    if not sigma <= MOST_DEVIATION:
        raise StreamError(
            f"nothing is written: the focal length is known to {100 * sigma:.1f} % only; tilt the board more"
        )
    content = (json.dumps(as_json(found, board), indent=2) + "\n").encode()
    kept = keep_camera(source, out, found.camera, content, keeps=keeps)
    size, count = f"{found.camera.width}x{found.camera.height}", len(coverage.views)
    used = f"{len(found.used)} of {count} views" if len(found.used) < count else f"{count} views"
    print(f"{size}, {used}, error {found.rms:.2f} pixels")
    for line in [*told(found.camera, found.deviations), *kept.lines(opened.info.name)]:
        print(line)
    return 0


def check_targets(source: str, out: Path, overwrite: bool) -> None:
    """Raises ConfigError or OutputError where a calibration of this source cannot be written there."""
    if out.suffix.lower() != ".json":
        raise ConfigError(f"--out {out} is a JSON file; give it a name that ends in .json")
    for path in (out, out.with_suffix(".yaml")):
        if (path.exists() or path.is_symlink()) and not overwrite:
            raise OutputError(f"{path} is there already; --overwrite replaces it")
    if is_recording(source):
        raise ConfigError(f"{source} is a recording; calibrate from a camera, a video or a folder of pictures")


@dataclass(frozen=True)
class KeptCamera:
    """out, yaml: files that were written. remembered: the one that `spark3r run` takes for this source, if any."""

    out: Path
    yaml: Path
    remembered: Path | None

    def lines(self, source_name: str) -> list[str]:
        """For people."""
        found = [f"written: {self.out}, {self.yaml} (OpenCV)"]
        if self.remembered is not None:
            run = f"spark3r run {cleaned(source_name)}"
            found.append(f"kept for this camera: {self.remembered}; {run} takes it from there")
        return found


def keep_camera(source: str, out: Path, camera: Intrinsics, content: bytes, *, keeps: bool) -> KeptCamera:
    """Write a camera in two forms. content: our own; keeps: remember it for its source, too. Raises OutputError."""
    yaml, remembered = out.with_suffix(".yaml"), None
    try:
        write_whole(out, content)
        write_whole(yaml, opencv_yaml(camera).encode())
        if keeps:
            remembered = remember(source, content)
    except OSError as error:
        raise OutputError(f"cannot write {cleaned(error.filename or out)}: {error.strerror}") from error
    return KeptCamera(out, yaml, remembered)


def gathered(source: Source, board: Board, stop: threading.Event) -> Coverage | None:
    """Views of the board until there are enough, the source ends, or `stop` is set; None where none was seen. Says how
    far it is."""
    coverage, frames = None, 0
    console = Console(stderr=True, highlight=False)
    on_terminal = Live(console=console, refresh_per_second=4, transient=True) if console.is_terminal else None
    with on_terminal or contextlib.nullcontext() as live:
        for image in _images(source, stop):
            frames += 1
            size_wh = (image.shape[1], image.shape[0])
            if coverage is not None and coverage.size_wh != size_wh:
                raise StreamError(
                    f"pictures of {size_wh} after such of {coverage.size_wh}; calibrate one mode at a time"
                )
            seen = board.find(np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8))
            view = None if seen is None else BoardView.of(*seen, size_wh)
            coverage = coverage or Coverage(size_wh)
            is_new = view is not None and coverage.add(view)
            if live is not None:
                live.update(status(coverage, view, frames))
            elif is_new:
                missing = "; ".join(coverage.missing)
                print(f"view {len(coverage.views)}, frame {frames}; missing: {missing or 'nothing'}", file=sys.stderr)
            if len(coverage.views) >= ENOUGH_VIEWS and not coverage.missing:
                break
    return coverage if coverage is not None and coverage.views else None


def _images(source: Source, stop: threading.Event) -> Iterator[np.ndarray]:
    """Of a live source the newest, of a file all."""
    buffer = FrameBuffer(2, DropPolicy.for_source(source.info.is_live))
    with Producer(source, buffer):
        while not stop.is_set():
            try:
                frames = buffer.get(1, _POLL_S).frames
            except EndOfStream:
                return
            yield from (frame.image for frame in frames)


def status(coverage: Coverage, view: BoardView | None, frames: int) -> Text:
    """Where the board was seen, whether it is seen now, and what is missing."""
    text = Text(f"frame {frames}, {len(coverage.views)} views; ")
    text.append("the board is seen\n" if view is not None else "no board\n", "green" if view is not None else "yellow")
    for row in coverage.cells:
        for is_seen in row:
            text.append(" ■" if is_seen else " ·", "green" if is_seen else "dim")
        text.append("\n")
    missing = coverage.missing
    text.append(f"missing: {'; '.join(missing)}" if missing else "enough; Ctrl-C ends, more views make it better")
    return text


def as_json(found: Calibrated, board: Board) -> dict[str, object]:
    """Our own form, with what is known of its numbers."""
    return camera_as_json(found.camera) | {
        "deviations": {name: float(f"{value:.3g}") for name, value in found.deviations.items()},
        "rms_pixels": round(found.rms, 4),
        "views": len(found.used),
        "board": f"{board.columns}x{board.rows}",
    }


def told(camera: Intrinsics, deviations: Mapping[str, float]) -> list[str]:
    """The numbers with their deviations, for people."""
    names = ("fx", "fy", "cx", "cy", *(FISHEYE if camera.fisheye else RADIAL_TANGENTIAL))
    values = dict(zip(names, (camera.fx, camera.fy, camera.cx, camera.cy, *camera.distortion), strict=False))
    return [f"  {name} {values[name]:.5g} ± {deviations[name]:.2g}" for name in deviations]
