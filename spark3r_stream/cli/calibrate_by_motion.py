"""`spark3r calibrate --no-board`: a camera by its own motion past a scene that stands still."""

from __future__ import annotations

import json
import logging
import tempfile
from pathlib import Path

from spark3r_core.calibration.from_motion import MotionCalibration
from spark3r_core.errors import GeometryError
from spark3r_core.geometry.camera_files import camera_as_json
from spark3r_stream.cli.calibrate import check_targets, keep_camera, told
from spark3r_stream.cli.progress import LiveLine, LiveLines
from spark3r_stream.cli.stop import Stop
from spark3r_stream.config import RunConfig
from spark3r_stream.errors import StreamError
from spark3r_stream.map_file.reading import read_map
from spark3r_stream.running.run import opened_run

log = logging.getLogger(__name__)

# Standard deviations beyond which motion said too little: of the focal length as a share, of the centre as a share of
# the width, and of k1.
MOST_FOCAL, MOST_CENTRE, MOST_LENS = 0.02, 0.02, 0.05
ADVICE = "move sideways as well as ahead, past things that are near, and turn"


def calibrate_by_motion_command(source: str, out: Path, *, overwrite: bool, keeps: bool) -> int:
    """0 when the files are written."""
    check_targets(source, out, overwrite)
    found, name = _learned(source)
    why = too_little(found)
    if why:
        raise StreamError(f"nothing is written: {why}; {ADVICE}, or show it a board")
    kept = keep_camera(source, out, found.camera, (json.dumps(as_json(found), indent=2) + "\n").encode(), keeps=keeps)
    size = f"{found.camera.width}x{found.camera.height}"
    print(f"{size}, {found.sightings} sightings in {found.pictures} keyframes, error {found.rms:.2f} pixels")
    for line in [*told(found.camera, found.deviations), *kept.lines(name)]:
        print(line)
    return 0


def _learned(source: str) -> tuple[MotionCalibration, str]:
    """By the map that a run without a calibration makes, and the name of the source."""
    from spark3r_core.stream.self_calibration import calibrated_by_map

    stop = Stop()
    with tempfile.TemporaryDirectory() as folder, stop.on_signals():
        path = Path(folder) / "map.safetensors"
        config = RunConfig(source=source, camera=Path("none"), map=path)
        with opened_run(config, stop.event, stop.interrupting) as run:
            name = run.source.info.name
            with LiveLines(LiveLine(run.stats, run.source.info.frame_count, None)):
                for _ in run.steps():
                    pass
        if not path.exists():
            raise StreamError("nothing is written: no map came of it, and so nothing to calibrate by")
        world = read_map(path).world
    try:
        return calibrated_by_map(world), name
    except GeometryError as error:
        raise StreamError(f"nothing is written: {error}; {ADVICE}, or show it a board") from None


def too_little(found: MotionCalibration) -> str:
    """What motion did not say well enough; empty where it did."""
    camera, deviations = found.camera, found.deviations
    known = {
        "the focal length": (deviations["fx"] / camera.fx, MOST_FOCAL),
        "the centre, as a share of the width,": (max(deviations["cx"], deviations["cy"]) / camera.width, MOST_CENTRE),
    }
    for what, (share, most) in known.items():
        if not share <= most:
            return f"{what} is known to {share:.1%} only, and {most:.0%} are needed"
    if not deviations["k1"] <= MOST_LENS:
        return f"the lens is known to {deviations['k1']:.2g} in k1 only, and {MOST_LENS:g} are needed"
    return ""


def as_json(found: MotionCalibration) -> dict[str, object]:
    """Our own form, with what is known of its numbers."""
    return camera_as_json(found.camera) | {
        "deviations": {name: float(f"{value:.3g}") for name, value in found.deviations.items()},
        "rms_pixels": round(found.rms, 4),
        "keyframes": found.pictures,
        "sightings": found.sightings,
    }
