"""`spark3r run FILE.mcap`: the settings of a recorded run, so that it can be repeated exactly, and what was recorded of
them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from typing import Any

from spark3r_core.geometry.camera import Intrinsics
from spark3r_core.geometry.camera_files import read_camera
from spark3r_core.user_paths import expand_home
from spark3r_stream.config import NO_CAMERA, ConfigError, RunConfig, option_name, parse_bytes
from spark3r_stream.engine.loop import AnyReconstructor
from spark3r_stream.engine.reopening import Reopening
from spark3r_stream.errors import RecordingError
from spark3r_stream.plain_text import cleaned, unicode_text
from spark3r_stream.recording.records import MAX_WINDOW
from spark3r_stream.recording.reprocess import RecordedRun
from spark3r_stream.recording.schema import MAX_THREADS, checked_camera, checked_number

# These decide the numbers; a user may leave them away or repeat them. The rest says how a source is read.
_NUMERIC = (
    "model", "size", "window", "memory", "map_memory", "fill", "eviction", "track", "loops", "localise", "refine",
    "device", "dtype", "tag", "tag_up", "tag_origin", "camera_height", "baseline", "distance",
    "gps_frame", "gps_offset",
)  # fmt: skip
UNASKED_SIZE = 1024  # pixels
UNASKED_MEMORY_BYTES = 2 << 30
_HINTS = (
    "gyro", "gyro_offset", "gyro_axes", "odometry", "odometry_offset", "depth_images", "depth_scale",
    "depth_offset", "gps", "gps_clock",
)  # fmt: skip
_READING = ("pace", "live", "rtsp_transport", "max_restarts", "fps", "low_latency")


def run_metadata(
    settings: Mapping[str, Any], reconstructor: AnyReconstructor, end: RunEnd, reopening: Reopening | None
) -> dict[str, str]:
    """What a recording says about its run: enough to build the same network again. Imports torch."""
    import torch

    facts, camera = reconstructor.facts, reconstructor.camera
    return {
        "settings": json.dumps(dict(settings)),
        "weights_sha256": facts.weights_sha256 or "random",
        "device": facts.device,
        "dtype": facts.dtype,
        "max_new_frames": str(reconstructor.memory.max_new_frames),
        "intrinsics": "" if camera is None else json.dumps(asdict(camera)),
        "spark3r_stream": version("spark3r-stream"),
        "torch": str(torch.__version__),
        "threads": str(torch.get_num_threads()),
        "adjusts_all": str(int(end.adjusts_all)),
        "refines": str(int(end.refines)),
        "map_file": "" if reopening is None else unicode_text(reopening.name),
        "map_sha256": "" if reopening is None else reopening.sha256,
    }


def recorded_config(given: RunConfig, run: RecordedRun) -> RunConfig:
    """The settings of the recorded run with the outputs that are asked for now.

    Raises ConfigError for an option that contradicts the recording or has no meaning for one, RecordingError if the
    recording does not say how it was made.
    """
    plain = RunConfig(source=given.source)
    for name in _READING:
        if getattr(given, name) != getattr(plain, name):
            raise ConfigError(
                f"{option_name(name)} is about live sources and folders of images;"
                f" {run.path} is read as it was recorded"
            )
    for name in _HINTS:
        if getattr(given, name) != getattr(plain, name):
            raise ConfigError(
                f"{option_name(name)} is about a sensor, and {run.path} holds what that said; leave it away"
            )
    recorded = run.settings
    missing = [name for name in (*_NUMERIC, "weights") if name not in recorded]
    if missing:
        raise RecordingError(
            f"{run.path} does not say what {option_name(missing[0])} was; it was made by another version"
        )
    for name in _NUMERIC:
        value = getattr(given, name)
        if value != getattr(plain, name) and _meaning(name, value) != _meaning(name, recorded[name]):
            raise ConfigError(
                f"{option_name(name)} {value}, but {run.path} was made with {recorded[name]}; leave the option away to"
                " repeat that run"
            )
    _refuse_unasked(given, run)
    if run.map_sha256 is not None and given.map is None:
        name = cleaned(run.recording.metadata.get("map_file", ""), 256)
        raise ConfigError(f"{run.path} began from the map {name}, sha256 {run.map_sha256}; give that file with --map")
    file = given.camera_file
    if given.wants_no_camera or file is not None:
        camera = None if file is None else read_camera(expand_home(file))
        if camera != recorded_camera(run):
            raise ConfigError(f"--camera {file or NO_CAMERA} is not the camera {run.path} was made with; leave it away")
    config = replace(
        given,
        source=str(run.settings.get("source", run.source_id)),
        # a recording from a stranger names no file that is loaded; the hash says whether the right one was found
        weights=given.weights or ("random" if recorded["weights"] == "random" else None),
        **{name: recorded[name] for name in _NUMERIC},
    )
    try:
        config.check()
    except (TypeError, ValueError) as error:
        raise RecordingError(f"{run.path}: the settings in it are damaged: {error}") from None
    return config


def _refuse_unasked(given: RunConfig, run: RecordedRun) -> None:
    """A recording decides alone what is small; what takes gigabytes has to be named by the user, too."""
    recorded, plain = run.settings, RunConfig(source=given.source)
    memory = 0 if recorded["memory"] is None else parse_bytes(recorded["memory"])
    for name, is_large in (
        ("model", recorded["model"] != plain.model),
        ("size", (recorded["size"] or 0) > UNASKED_SIZE),
        ("memory", memory > UNASKED_MEMORY_BYTES),
        ("map_memory", parse_bytes(recorded["map_memory"]) > UNASKED_MEMORY_BYTES),
    ):
        if is_large and getattr(given, name) == getattr(plain, name):
            raise ConfigError(
                f"{run.path} was made with {option_name(name)} {recorded[name]}, which may take much memory; repeat the"
                " option if you trust the file"
            )


def recorded_camera(run: RecordedRun) -> Intrinsics | None:
    """The user's camera of the recorded run, None if there was none."""
    text = run.recording.metadata.get("intrinsics", "")
    if not text:
        return None
    fields = checked_camera(run.path, text)
    return Intrinsics(**{**fields, "distortion": tuple(fields["distortion"])})


def recorded_new_frames(run: RecordedRun) -> int:
    """New frames per window that the recorded run reserved memory for: how many pages fit depends on it."""
    count = checked_number(run.path, run.recording.metadata, "max_new_frames", 1, MAX_WINDOW)
    if count is None:
        raise RecordingError(
            f"{run.path} does not say how many new frames a window could have; it was made by another version"
        )
    return count


def check_weights(run: RecordedRun, reconstructor: AnyReconstructor) -> None:
    """Raises RecordingError, naming both hashes, if the model is not the one that was recorded."""
    loaded = reconstructor.facts.weights_sha256 or "random"
    if loaded != run.weights_sha256:
        raise RecordingError(
            f"{run.path} was made with weights {run.weights_sha256}, those loaded are {loaded}; name the right file"
            " with --weights"
        )


@contextlib.contextmanager
def recorded_threads(run: RecordedRun) -> Iterator[None]:
    """Let torch use as many threads as then: sums in another order are other sums."""
    import torch

    before = torch.get_num_threads()
    threads = checked_number(run.path, run.recording.metadata, "threads", 1, MAX_THREADS)
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def notes_of(run: RecordedRun) -> list[str]:
    """What the user should know before the run is repeated, one line each."""
    import torch

    notes = []
    if run.cut:
        notes.append(f"{run.path} is not complete ({run.cut}); {run.frame_count} frames before that are repeated")
    for name, now in (("spark3r_stream", version("spark3r-stream")), ("torch", str(torch.__version__))):
        then = run.recording.metadata.get(name, "unknown")
        if then != now:
            notes.append(f"{run.path} was made with {name} {then}, this is {now}; the last bits may differ")
    return notes


def _meaning(name: str, value: Any) -> Any:
    """Values that mean the same compare equal: 64MiB and 65536KiB, cuda and cuda:0."""
    if name in ("memory", "map_memory") and value is not None:
        return parse_bytes(value)
    if name in ("baseline", "distance") and value is not None:
        return tuple(value)
    return value.removesuffix(":0") if name == "device" else value


@dataclass(frozen=True)
class RunEnd:
    """adjusts_all: whether all keyframes are adjusted together after the last frame. refines: whether their depth is
    read off several views as the map grows (live) and not then (files)."""

    adjusts_all: bool
    refines: bool


def recorded_end(run: RecordedRun) -> RunEnd:
    """Of the recorded run. Recordings of schema 2.1 and before say it in one: live runs ended without adjustment."""
    adjusts_all = run.recording.metadata.get("adjusts_all") == "1"
    refines = run.recording.metadata.get("refines", "" if adjusts_all else "1")
    return RunEnd(adjusts_all, refines == "1")
