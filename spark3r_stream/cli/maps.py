"""`spark3r run --map` and `spark3r map`: the map of a run in its file, and what is in one."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from spark3r_stream.clock import Clock
from spark3r_stream.config import ConfigError, RunConfig
from spark3r_stream.engine.map_saver import MapSaver
from spark3r_stream.engine.reopening import Reopening
from spark3r_stream.engine.tracking import TrackingReconstructor
from spark3r_stream.errors import MapFileError, RecordingError
from spark3r_stream.map_file.reading import read_map
from spark3r_stream.map_file.saved_map import MapFacts, SavedMap
from spark3r_stream.map_file.target import check_map_target
from spark3r_stream.plain_text import cleaned, unicode_text
from spark3r_stream.recording.reprocess import RecordedRun
from spark3r_stream.sources.base import Source
from spark3r_stream.sources.redact import redact_uri


def opened_map(config: RunConfig, run: RecordedRun | None) -> Reopening | None:
    """The saved map that a run goes on in, None where it begins one of its own. run: the recorded run to be made again,
    which begins from what it began from then.

    Raises ConfigError, MapFileError or RecordingError where that cannot be.
    """
    if config.map is None:
        return None
    if run is not None:
        if run.map_sha256 is None:
            check_map_target(config.map, config.overwrite)
            return None
    elif config.overwrite or not config.map.exists() or config.map.stat().st_size == 0:
        if config.localise:
            raise ConfigError(f"--localise needs a map to find the camera in; there is none in {config.map}")
        return None
    saved = read_map(config.map)
    if run is not None and saved.sha256 != run.map_sha256:
        raise RecordingError(
            f"{run.path} began from a map with sha256 {run.map_sha256}, and {config.map} has {saved.sha256}; give the"
            " file as it was then"
        )
    if config.loops == "off":
        raise ConfigError("a camera is found in a saved map by its places, and --loops off recognises none")
    if saved.facts.model != config.model:
        raise ConfigError(
            f"the map {config.map} was made with --model {saved.facts.model}, this run is with {config.model}; use the"
            " same, or name another map"
        )
    return Reopening.of(saved, str(config.map), is_read_only=config.localise)


def map_saver(
    config: RunConfig,
    reconstructor: TrackingReconstructor,
    source: Source,
    clock: Clock,
    reopening: Reopening | None = None,
) -> MapSaver:
    """What writes the map of a run. reopening: the one that it goes on in. Raises MapFileError where it would replace
    something."""
    if config.map is None:
        raise ConfigError("there is no file for the map; give one with --map")

    def facts_of(captured_ns: int) -> MapFacts:
        if reopening is not None:
            return replace(reopening.facts, program=version("spark3r-stream"))
        return MapFacts(
            source_id=unicode_text(redact_uri(config.source)),
            source_kind=source.info.kind.value,
            fps=source.info.nominal_fps,
            captured_ns=captured_ns,
            captured_clock="unix" if source.info.captured_is_unix else "source",
            model=config.model,
            program=version("spark3r-stream"),
        )

    def report(error: MapFileError) -> None:
        print(f"spark3r: the map is not written now, mapping goes on: {cleaned(error)}", file=sys.stderr)

    overwrite = config.overwrite or reopening is not None
    return MapSaver(config.map, reconstructor, facts_of, clock, overwrite=overwrite, on_error=report)


def map_info_command(path: Path, as_json: bool) -> int:
    """Print what is in a map file."""
    info = map_info(read_map(path))
    if as_json:
        print(json.dumps(info))
        return 0
    size = path.stat().st_size
    camera, source = info["camera"], info["source"]
    width, height = info["picture_size"]
    print(f"{cleaned(path)}: {size / 2**20:.1f} MiB, {info['keyframes']} keyframes over {info['seconds']:.1f} s")
    print(f"  source: {cleaned(source['source_id'])} ({cleaned(source['source_kind'])}), model {source['model']}")
    how = "given" if camera["given"] else f"known to {camera['focal_std']:.1%}" if camera["focal_std"] else "a guess"
    print(f"  camera: {width}x{height}, focal length {camera['focal']:.1f} px ({how})")
    print(f"  {info['features']} features, {info['tracks']} tracks of {info['sightings']} sightings")
    print(f"  {info['edges']} edges, path {info['path']:.3g} model units, {info['pictures']} pictures kept")
    return 0


def map_info(saved: SavedMap) -> dict[str, Any]:
    """What is in a map, as plain values. seconds: from its first to its last keyframe. path: through its cameras."""
    world = saved.world
    keyframes = [world.keyframes[frame_id] for frame_id in world.order]
    track, _, _ = world.tracks.seen_by(world.order, 2)
    centres = np.stack([keyframe.world_from_camera[:3, 3] for keyframe in keyframes])
    return {
        "keyframes": len(keyframes),
        "frame_ids": world.order,
        "seconds": keyframes[-1].time_s - keyframes[0].time_s,
        "path": float(np.linalg.norm(np.diff(centres, axis=0), axis=1).sum()),
        "features": sum(len(keyframe.features) for keyframe in keyframes),
        "tracks": len(np.unique(track)),
        "sightings": len(track),
        "edges": len(world.edges),
        "pictures": sum(bool(keyframe.picture) for keyframe in keyframes),
        "picture_size": [world.picture_hw[1], world.picture_hw[0]],
        "memory_bytes": world.nbytes,
        "camera": {
            "focal": world.focal,
            "focal_std": world.focal_std if np.isfinite(world.focal_std) else None,
            "given": world.given_camera is not None,
        },
        "source": vars(saved.facts).copy(),
    }
